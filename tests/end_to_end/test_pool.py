"""`invoker pool`: what the running invoker holds, asked from beside it."""

import asyncio
import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.functions import VISITORS, python
from tests.end_to_end.meeting import meeting
from tests.end_to_end.messages import message
from tests.end_to_end.program import Called, Home, Running, annotations_of

MB = 1 << 20


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(python("echo", "def main(args): return args"), *VISITORS)
    with home.running("pool.memory=1 GB") as running:
        yield running


async def call(home: Home, *arguments: str) -> Called:
    """Run a command beside the event loop."""
    return await asyncio.to_thread(home.call, *arguments)


async def pool(program: Running) -> dict[str, Any]:
    """Return what the command says to programs."""
    called = await call(program.home, "pool", "--json", "--url", program.operators_url)
    assert called.code == 0, called
    view: dict[str, Any] = called.json
    return view


async def test_a_container_is_shown_with_what_it_is_for_and_why(program: Running) -> None:
    for _ in range(2):
        await program.invoke(message("echo", namespace="shown"))
    await program.idle_containers()

    view = await pool(program)

    (container,) = (one for one in view["containers"] if one["namespace"] == "shown")
    assert container["action"] == "guest/echo"
    assert container["kind"].startswith("python:")
    assert (container["state"], container["memory"], container["reason"]) == ("idle", 128 * MB, "new")
    assert (container["activations"], container["served"]) == (0, 2)
    assert container["age"] >= container["since"] >= 0
    assert view["memory"] == 1024 * MB
    assert view["used"] >= 128 * MB
    assert view["starts"]["new"] >= 1


async def test_an_action_is_shown_with_what_it_takes(program: Running) -> None:
    for _ in range(2):
        await program.invoke(message("echo", namespace="measured"))

    view = await pool(program)

    (action,) = (one for one in view["actions"] if one["namespace"] == "measured")
    assert (action["action"], action["containers"], action["waiting"]) == ("guest/echo", 1, 0)
    assert action["start_time"] > 0
    assert action["service_time"] > 0


async def test_the_last_cold_start_is_the_first_that_is_told(program: Running) -> None:
    await program.invoke(message("echo", namespace="first"))
    await program.invoke(message("echo", namespace="second"))

    second, first, *_ = (await pool(program))["recent"]

    assert (first["namespace"], second["namespace"]) == ("first", "second")
    assert (second["action"], second["reason"], second["prewarmed"]) == ("guest/echo", "new", False)
    assert second["at"] >= first["at"]


async def test_a_container_at_work_is_busy(program: Running) -> None:
    async with meeting() as place:
        running = asyncio.create_task(program.invoke(message("waits", {"port": place.port}, namespace="works")))
        visitor = await place.visitor()
        view = await pool(program)
        await visitor.let_go()
        await running

    (container,) = (one for one in view["containers"] if one["namespace"] == "works")
    assert (container["state"], container["activations"], container["served"]) == ("busy", 1, 0)


async def test_people_are_shown_tables_with_reasons_in_words(program: Running) -> None:
    await program.invoke(message("echo", namespace="worded"))

    called = await call(program.home, "pool", "--url", program.operators_url)

    assert called.code == 0, called
    lines = called.output.splitlines()
    assert lines[0].startswith("memory: ")
    assert lines[0].endswith(" of 1 GB used; activations without a container: 0")
    for title in ("containers", "actions", "last cold starts", "cold starts so far"):
        assert title in lines
    (cold,) = (line for line in lines if " worded " in line and "new: " in line)
    assert cold.endswith("new container  new: there was no container of its action")
    assert "Traceback" not in called.errors


async def test_the_same_is_at_the_door_for_operators(program: Running) -> None:
    answer = await program.operator("/pool")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == (await pool(program)).keys()


async def test_it_can_be_watched(program: Running) -> None:
    watcher = await program.home.begin("pool", "--json", "--watch", "0.1", "--url", program.operators_url)
    assert watcher.stdout is not None
    views = [json.loads(await watcher.stdout.readline()) for _ in range(3)]
    watcher.send_signal(signal.SIGINT)
    _, errors = await watcher.communicate()

    assert [view["memory"] for view in views] == [1024 * MB] * 3
    assert watcher.returncode == 130
    assert b"Traceback" not in errors


async def test_the_reason_is_in_metrics_record_and_log(program: Running) -> None:
    before = await program.metrics()
    cold = await program.invoke(message("echo", namespace="traced"))
    warm = await program.invoke(message("echo", namespace="traced"))
    after = await program.metrics()

    name = 'counter_invoker_coldStart_counter_total{reason="new"}'
    records = [await program.home.record(one["response"]["activationId"], "traced") for one in (cold, warm)]
    lines = [program.log.of_activation(one["response"]["activationId"]) for one in (cold, warm)]
    assert after[name] - before[name] == 1
    assert [annotations_of(record).get("coldStart") for record in records] == ["new", None]
    assert [line.get("coldStart") for line in lines] == ["new", None]
    assert [line["containerType"] for line in lines] == ["cold", "warm"]


async def test_the_reason_is_shown_with_the_record(program: Running) -> None:
    acknowledgement = await program.invoke(message("echo", namespace="looked-up"))
    activation_id = acknowledgement["response"]["activationId"]
    await program.home.record(activation_id, "looked-up")

    called = await call(program.home, "activation", "get", activation_id, "--namespace", "looked-up")

    assert annotations_of(json.loads(called.output))["coldStart"] == "new"
