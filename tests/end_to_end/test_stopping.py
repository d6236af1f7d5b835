"""How it stops: politely, in a hurry, and not at all; and that nothing is left of it."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Address, ask, connected
from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.meeting import NODEJS, PYTHON, Visitor, meeting
from tests.end_to_end.messages import message
from tests.end_to_end.processes import descendants, gone, held, of_actions, wait_for
from tests.end_to_end.program import Home, Running

ABNORMAL = {"error": "The action did not produce a valid response and exited unexpectedly."}
BROKEN_OFF = 3

WAITS = f"""{PYTHON}
def main(args):
    print("it begins")
    visit(args["port"], daemon=daemon()).recv(1)
    return {{"waited": True}}
"""
WAITS_NODEJS = f"""{NODEJS}
async function main(args) {{
  await visit(args.port, {{ daemon: daemon() }});
  return {{ waited: true }};
}}
"""
IGNORES = f"""{PYTHON}
import signal

def main(args):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    visit(args["port"], daemon=daemon())
    while True:
        pass
"""
FINE = "def main(args): return {'fine': True}"


def with_functions(home: Home) -> Home:
    home.put(
        python("waits", WAITS), nodejs("waits-nodejs", WAITS_NODEJS), python("ignores", IGNORES), python("fine", FINE)
    )
    return home


def pids(visitor: Visitor) -> list[int]:
    return [visitor.facts["pid"], visitor.facts["daemon"]]


async def ended(program: Running) -> int:
    return await asyncio.to_thread(program.ended)


async def test_what_runs_may_end_and_its_answer_arrives(own_home: Home) -> None:
    with with_functions(own_home).running() as program:
        async with meeting() as place, connected(program.data) as caller:
            sent = message("waits", {"port": place.port})
            await caller.send("POST", "/invoke", sent)
            visitor = await place.visitor()
            processes = [*descendants(program.process.pid), *pids(visitor)]

            program.signal(signal.SIGTERM)
            await asyncio.to_thread(program.log.wait, lambda line: "stopping" in str(line.get("message")), 30)
            refused = await program.operator("/readyz")
            await visitor.let_go()
            await caller.head()
            acknowledgement = json.loads(await caller.body())

            assert await ended(program) == 0
            await gone(processes)

    assert refused.status == 503
    assert "stopping" in refused.json
    assert acknowledgement["response"]["response"]["result"] == {"waited": True}
    record = await own_home.record(json.loads(sent)["activationId"])
    assert record["response"]["result"] == {"waited": True}
    assert [line[31:] for line in record["logs"]] == ["stdout: it begins"]
    assert of_actions(own_home.work) == []
    assert list(own_home.work.iterdir()) == []


async def test_no_new_work_is_taken_meanwhile(own_home: Home) -> None:
    with with_functions(own_home).running() as program:
        async with meeting() as place, connected(program.data) as kept, connected(program.data) as caller:
            await caller.send("POST", "/invoke", message("waits", {"port": place.port}))
            visitor = await place.visitor()
            await kept.ask("GET", "/ping")

            program.signal(signal.SIGTERM)
            await asyncio.to_thread(program.log.wait, lambda line: "stopping" in str(line.get("message")), 30)
            answer = await kept.ask("POST", "/invoke", message("fine"))
            with pytest.raises(ConnectionRefusedError):
                await ask(program.data, "POST", "/invoke", message("fine"))
            await visitor.let_go()
            assert await ended(program) == 0

    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert len(await own_home.recorded()) == 1


async def broken_off(program: Running, sent: bytes, record: dict[str, Any], acknowledgement: dict[str, Any]) -> None:
    """Check that an activation ended as our failure, for its caller and in the store."""
    assert acknowledgement["isSystemError"] is True
    assert acknowledgement["response"]["activationId"] == json.loads(sent)["activationId"]
    assert acknowledgement["response"]["response"] == {"statusCode": 3, "result": ABNORMAL}
    assert record["response"] == {"statusCode": 3, "result": ABNORMAL}


@pytest.mark.parametrize("name", ["waits", "waits-nodejs", "ignores"])
async def test_what_runs_when_the_grace_is_over_is_answered_and_recorded_as_our_failure(
    own_home: Home, node: str, name: str
) -> None:
    with with_functions(own_home).running("shutdown.grace=200 ms", code=BROKEN_OFF) as program:
        async with meeting() as place, connected(program.data) as caller:
            sent = message(name, {"port": place.port})
            await caller.send("POST", "/invoke", sent)
            visitor = await place.visitor()
            processes = [*descendants(program.process.pid), *pids(visitor)]

            program.signal(signal.SIGTERM)
            await caller.head()
            acknowledgement = json.loads(await caller.body())

            assert await ended(program) == BROKEN_OFF
            await gone(processes)

    record = await own_home.record(json.loads(sent)["activationId"])
    await broken_off(program, sent, record, acknowledgement)
    assert of_actions(own_home.work) == []


async def test_what_waits_for_a_container_is_broken_off_too(own_home: Home) -> None:
    settings = ("shutdown.grace=200 ms", "pool.memory=128 MB")
    with with_functions(own_home).running(*settings, code=BROKEN_OFF) as program:
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
    await broken_off(program, sent, record, acknowledgement)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_means_now(own_home: Home, second: signal.Signals) -> None:
    with with_functions(own_home).running(code=BROKEN_OFF) as program:
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
            await gone(pids(visitor))

    record = await own_home.record(json.loads(sent)["activationId"])
    await broken_off(program, sent, record, acknowledgement)


async def test_an_interrupt_from_the_terminal_reaches_all_processes_and_is_a_polite_one(own_home: Home) -> None:
    with with_functions(own_home).running() as program:
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
    with with_functions(own_home).running() as program:
        async with meeting() as place:
            acknowledgement = asyncio.create_task(program.invoke(message("waits", {"port": place.port})))
            visitor = await place.visitor()
            await visitor.let_go()
            await acknowledgement
            os.kill(visitor.facts["daemon"], 0)

            program.signal(signal.SIGTERM)
            assert await ended(program) == 0
            await gone(pids(visitor))

    assert list(own_home.work.iterdir()) == []


async def test_a_signal_at_once_after_the_start_is_heard(own_home: Home) -> None:
    with own_home.running() as program:
        program.signal(signal.SIGTERM)

        assert await ended(program) == 0


@pytest.mark.parametrize("name", ["waits", "waits-nodejs", "ignores"])
async def test_nothing_is_left_of_an_invoker_that_was_killed_and_the_next_one_works(
    own_home: Home, node: str, name: str
) -> None:
    with with_functions(own_home).running(code=-signal.SIGKILL) as program:
        async with meeting() as place, connected(program.data) as caller:
            fine = await program.invoke(message("fine"))
            await own_home.record(fine["response"]["activationId"])
            await caller.send("POST", "/invoke", message(name, {"port": place.port}))
            visitor = await place.visitor()
            with held([*descendants(program.process.pid), *pids(visitor)]) as processes:
                program.signal(signal.SIGKILL)

                await asyncio.to_thread(wait_for, processes)
            assert await ended(program) == -signal.SIGKILL

    assert of_actions(own_home.work) == []
    with own_home.running() as program:
        acknowledgement = await program.invoke(message("fine"))
        assert acknowledgement["response"]["response"]["result"] == {"fine": True}
    assert set(await own_home.recorded()) == {fine["response"]["activationId"], record_id(acknowledgement)}
    assert list(own_home.work.iterdir()) == []


def record_id(acknowledgement: dict[str, Any]) -> str:
    found: str = acknowledgement["response"]["activationId"]
    return found


async def test_a_warden_that_is_killed_costs_its_containers_and_no_more(own_home: Home) -> None:
    with with_functions(own_home).running() as program:
        async with meeting() as place:
            sent = message("waits", {"port": place.port})
            invocation = asyncio.create_task(program.invoke(sent))
            visitor = await place.visitor()
            (warden,) = (pid for pid in descendants(program.process.pid) if parent(pid) == program.process.pid)

            os.kill(warden, signal.SIGKILL)
            acknowledgement = await invocation
            await gone(pids(visitor))
            again = await program.invoke(message("fine"))

    assert acknowledgement["response"]["response"] == {"statusCode": 2, "result": ABNORMAL}
    assert again["response"]["response"]["result"] == {"fine": True}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_log_that_nobody_reads_any_more_costs_neither_answers_nor_the_exit_code(own_home: Home) -> None:
    with with_functions(own_home).start("--set", "http.admin=", "run") as process:
        assert process.stderr is not None
        url = next(line["url"] for line in map(json.loads, process.stderr) if "url" in line)
        process.stderr.close()

        answers = [await ask(Address.parse(url), "POST", "/invoke", message("fine")) for _ in range(3)]
        process.terminate()
        code = await asyncio.to_thread(process.wait)

    assert [answer.json["response"]["response"]["result"] for answer in answers] == [{"fine": True}] * 3
    assert code == 0
