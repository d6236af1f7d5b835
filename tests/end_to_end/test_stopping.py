"""How it stops: politely, in a hurry, and not at all; and that nothing is left of it."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Address, ask, connected
from tests.end_to_end.distributions import search_path
from tests.end_to_end.functions import VISITORS, python
from tests.end_to_end.meeting import PYTHON, meeting
from tests.end_to_end.messages import message
from tests.end_to_end.processes import descendants, gone, of_actions
from tests.end_to_end.program import Home, Running

ABNORMAL = {"error": "The action did not produce a valid response and exited unexpectedly."}
BROKEN_OFF = 3


async def ended(program: Running) -> int:
    return await asyncio.to_thread(program.ended)


async def test_what_runs_may_end_and_its_answer_arrives(own_home: Home) -> None:
    with own_home.with_functions(*VISITORS).running() as program:
        async with meeting() as place, connected(program.data) as caller:
            sent = message("waits", {"port": place.port})
            await caller.send("POST", "/invoke", sent)
            visitor = await place.visitor()
            processes = [*descendants(program.process.pid), *visitor.pids]

            program.signal(signal.SIGTERM)
            await asyncio.to_thread(program.log.wait, lambda line: "stopping" in str(line.get("message")), 30)
            refused = await program.operator("/readyz")
            await visitor.let_go()
            await caller.head()
            acknowledgement = json.loads(await caller.body())

            assert await ended(program) == 0
            await gone(processes)

    assert refused.status == 503
    assert refused.json == ["draining"]
    assert acknowledgement["response"]["response"]["result"] == {"waited": True}
    record = await own_home.record(json.loads(sent)["activationId"])
    assert record["response"]["result"] == {"waited": True}
    assert [line[31:] for line in record["logs"]] == ["stdout: it begins"]
    assert of_actions(own_home.work) == []
    assert list(own_home.work.iterdir()) == []


async def test_no_new_work_is_taken_meanwhile(own_home: Home) -> None:
    with own_home.with_functions(*VISITORS).running() as program:
        async with meeting() as place, connected(program.data) as kept, connected(program.data) as caller:
            await caller.send("POST", "/invoke", message("waits", {"port": place.port}))
            visitor = await place.visitor()
            await kept.ask("GET", "/ping")

            program.signal(signal.SIGTERM)
            await asyncio.to_thread(program.log.wait, lambda line: "stopping" in str(line.get("message")), 30)
            answer = await kept.ask("POST", "/invoke", message("fine"))
            stranger = await ask(program.data, "POST", "/invoke", message("fine"))
            await visitor.let_go()
            assert await ended(program) == 0
            with pytest.raises(ConnectionRefusedError):
                await ask(program.data, "POST", "/invoke", message("fine"))

    assert [each.status for each in (answer, stranger)] == [503, 503]
    assert [each.headers["retry-after"] for each in (answer, stranger)] == ["1", "1"]
    assert len(await own_home.recorded()) == 1


def broken_off(sent: bytes, record: dict[str, Any], acknowledgement: dict[str, Any]) -> None:
    """Check that an activation ended as our failure, for its caller and in the store."""
    assert acknowledgement["isSystemError"] is True
    assert acknowledgement["response"]["activationId"] == json.loads(sent)["activationId"]
    assert acknowledgement["response"]["response"] == {"statusCode": 3, "result": ABNORMAL}
    assert record["response"] == {"statusCode": 3, "result": ABNORMAL}


async def test_what_runs_when_the_grace_is_over_is_answered_and_recorded_as_our_failure(
    own_home: Home, visitor_name: str
) -> None:
    with own_home.with_functions(*VISITORS).running("shutdown.grace=200 ms", code=BROKEN_OFF) as program:
        async with meeting() as place, connected(program.data) as caller:
            sent = message(visitor_name, {"port": place.port})
            await caller.send("POST", "/invoke", sent)
            visitor = await place.visitor()
            processes = [*descendants(program.process.pid), *visitor.pids]

            program.signal(signal.SIGTERM)
            await caller.head()
            acknowledgement = json.loads(await caller.body())

            assert await ended(program) == BROKEN_OFF
            await gone(processes)

    record = await own_home.record(json.loads(sent)["activationId"])
    broken_off(sent, record, acknowledgement)
    assert of_actions(own_home.work) == []


async def test_what_still_loads_is_broken_off_too(own_home: Home) -> None:
    async with meeting() as place:
        own_home.put(python("loads", f"{PYTHON}\nvisit({place.port}).recv(1)\ndef main(args): return {{}}"))
        with own_home.running("shutdown.grace=200 ms", code=BROKEN_OFF) as program:
            sent = message("loads")
            invocation = asyncio.create_task(program.invoke(sent))
            visitor = await place.visitor()

            program.signal(signal.SIGTERM)
            acknowledgement = await invocation
            assert await ended(program) == BROKEN_OFF
            await gone([visitor.facts["pid"]])

    record = await own_home.record(json.loads(sent)["activationId"])
    broken_off(sent, record, acknowledgement)


async def test_the_standard_event_loop_does_as_well(own_home: Home, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "uvloop.py").write_text("raise ImportError('not installed')")
    path = search_path(own_home, tmp_path / "without")
    settings = ("shutdown.grace=200 ms",)

    with own_home.with_functions(*VISITORS).running(*settings, code=BROKEN_OFF, PYTHONPATH=path) as program:
        async with meeting() as place:
            fine = await program.invoke(message("fine"))
            sent = message("waits", {"port": place.port})
            invocation = asyncio.create_task(program.invoke(sent))
            visitor = await place.visitor()

            program.signal(signal.SIGTERM)
            acknowledgement = await invocation
            assert await ended(program) == BROKEN_OFF
            await gone(visitor.pids)

    assert fine["response"]["response"]["result"] == {"fine": True}
    record = await own_home.record(json.loads(sent)["activationId"])
    broken_off(sent, record, acknowledgement)


async def test_what_waits_for_a_container_is_broken_off_too(own_home: Home) -> None:
    settings = ("shutdown.grace=200 ms", "pool.memory=128 MB")
    with own_home.with_functions(*VISITORS).running(*settings, code=BROKEN_OFF) as program:
        async with meeting() as place:
            running = asyncio.create_task(program.invoke(message("waits", {"port": place.port})))
            await place.visitor()
            sent = message("fine")
            waiting = asyncio.create_task(program.invoke(sent))
            await program.reaches(lambda info: info["waiting"] == 1)

            program.signal(signal.SIGTERM)
            await running
            acknowledgement = await waiting
            assert await ended(program) == BROKEN_OFF

    record = await own_home.record(json.loads(sent)["activationId"])
    broken_off(sent, record, acknowledgement)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_means_now(own_home: Home, second: signal.Signals) -> None:
    with own_home.with_functions(*VISITORS).running(code=BROKEN_OFF) as program:
        async with meeting() as place, connected(program.data) as caller:
            sent = message("waits", {"port": place.port})
            await caller.send("POST", "/invoke", sent)
            visitor = await place.visitor()

            program.signal(signal.SIGINT)
            await asyncio.to_thread(program.log.wait, lambda line: "stopping" in str(line.get("message")), 30)
            program.signal(second)
            await caller.head()
            acknowledgement = json.loads(await caller.body())

            assert await ended(program) == BROKEN_OFF
            await gone(visitor.pids)

    record = await own_home.record(json.loads(sent)["activationId"])
    broken_off(sent, record, acknowledgement)


async def test_an_interrupt_from_the_terminal_reaches_all_processes_and_is_a_polite_one(own_home: Home) -> None:
    with own_home.with_functions(*VISITORS).running() as program:
        async with meeting() as place:
            invocation = asyncio.create_task(program.invoke(message("waits", {"port": place.port})))
            visitor = await place.visitor()

            os.killpg(program.process.pid, signal.SIGINT)
            await asyncio.to_thread(program.log.wait, lambda line: "stopping" in str(line.get("message")), 30)
            await visitor.let_go()
            acknowledgement = await invocation

            assert await ended(program) == 0

    assert acknowledgement["response"]["response"]["result"] == {"waited": True}


async def test_idle_containers_and_their_daemons_are_gone_when_it_has_stopped(own_home: Home) -> None:
    with own_home.with_functions(*VISITORS).running() as program:
        async with meeting() as place:
            acknowledgement = asyncio.create_task(program.invoke(message("waits", {"port": place.port})))
            visitor = await place.visitor()
            await visitor.let_go()
            await acknowledgement
            os.kill(visitor.facts["daemon"], 0)

            program.signal(signal.SIGTERM)
            assert await ended(program) == 0
            await gone(visitor.pids)

    assert list(own_home.work.iterdir()) == []


def test_the_first_word_says_who_takes_work_and_the_last_how_it_ended(own_home: Home) -> None:
    with own_home.running("node.unique_name=ada", "pool.memory=1536 MB", "telemetry.level=debug") as program:
        ready = next(line for line in program.log.lines if line.get("event") == "ready")
        program.stop()

    assert (ready["invoker"], ready["memory"], ready["runtime"]) == ("invoker0/ada", "1536 MB", "process")
    assert ready["message"] == "ready: invoker0/ada, 1536 MB for containers, runtime process"
    assert program.log.lines[-1]["event"] == "stopped"
    stopped = "stopped; activations broken off: 0, activation records lost: 0, answers not delivered: 0"
    assert program.log.messages()[-1] == stopped
    assert {line["logger"].partition(".")[0] for line in program.log.lines} == {"invoker"}


@pytest.mark.parametrize(
    ("settings", "why"),
    [(["shutdown.grace=200 ms"], "the grace of 0.2 s is over"), ([], "a second signal came")],
)
async def test_how_many_are_broken_off_is_told(own_home: Home, settings: list[str], why: str) -> None:
    with own_home.with_functions(*VISITORS).running(*settings, code=BROKEN_OFF) as program:
        async with meeting() as place:
            sent = [asyncio.create_task(program.invoke(message("waits", {"port": place.port}))) for _ in range(2)]
            await place.visitor()
            await program.reaches(lambda info: info["waiting"] + info["containers"]["busy"] >= 2)

            program.signal(signal.SIGTERM)
            await asyncio.to_thread(program.log.wait, lambda line: "stopping" in str(line.get("message")), 30)
            if not settings:
                program.signal(signal.SIGTERM)
            await asyncio.gather(*sent)
            assert await ended(program) == BROKEN_OFF

    assert f"{why}: activations that are broken off: 2" in program.log.messages()
    stopped = "stopped; activations broken off: 2, activation records lost: 0, answers not delivered: 0"
    assert program.log.messages()[-1] == stopped


async def test_a_signal_at_once_after_the_start_is_heard(own_home: Home) -> None:
    with own_home.running() as program:
        program.signal(signal.SIGTERM)

        assert await ended(program) == 0


async def test_a_log_that_nobody_reads_any_more_costs_neither_answers_nor_the_exit_code(own_home: Home) -> None:
    with own_home.with_functions(*VISITORS).start("--set", "http.admin=", "run") as process:
        assert process.stderr is not None
        url = next(line["url"] for line in map(json.loads, process.stderr) if "url" in line)
        process.stderr.close()

        answers = [await ask(Address.parse(url), "POST", "/invoke", message("fine")) for _ in range(3)]
        process.terminate()
        code = await asyncio.to_thread(process.wait)

    assert [answer.json["response"]["response"]["result"] for answer in answers] == [{"fine": True}] * 3
    assert code == 0
