"""Containers that are killed from outside in every state they can be in: what activations end as, what is left."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.end_to_end.docker.place import (
    NETWORK,
    VISIT,
    DockerHome,
    action,
    container_of,
    invoke,
    pool_is,
    running,
    seen,
    settled,
    unharmed,
)
from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Running
from tests.services.troubled_socket import troubled

ABNORMAL_RUN = {"error": "The action did not produce a valid response and exited unexpectedly."}
ABNORMAL_INIT = {"error": "The action did not initialize and exited unexpectedly."}
WARNING = "stderr: The action did not initialize or run as expected. Log data might be missing."
KILLED = "stderr: The container was killed by signal SIGKILL."
LOG_FAILURE = "stderr: There was an issue while collecting your logs. Data might be missing."

INITIALISES = f"""{VISIT}
print("initialises", flush=True)
visit(PLACE).recv(1)
def main(args): return {{}}
"""
RUNS = f"""{VISIT}
def main(args):
    print("runs", flush=True)
    visit(args["place"]).recv(1)
    return {{}}
"""
PAUSES = ("pool.pause=true", "pool.pause_grace=50 ms")
WHO = "import os\ndef main(args): return {'host': os.uname().nodename}"


@pytest.fixture(scope="module")
def program(home: DockerHome, odd: dict[str, str]) -> Iterator[Running]:
    home.offer({"python:3": odd["plain"], "odd:1": odd["odd"], "mute:1": odd["mute"]})
    home.put(
        action("mute", "mute:1", ""),
        python("runs", RUNS),
        python("who", WHO),
        action("ends-its-logs-late", "odd:1", "ends-its-logs-late"),
    )
    with home.running("logs.timeout=20 s") as running:
        yield running


async def test_right_after_its_start_before_it_listens(program: Running, home: DockerHome) -> None:
    with home.engine.events() as events:
        invocation = asyncio.create_task(invoke(program, "mute"))
        name = await asyncio.to_thread(events.wait_for, "start")
        await asyncio.to_thread(home.engine.kill, name)
        ended = await invocation

    assert (ended.status, ended.result, ended.logs) == (2, ABNORMAL_INIT, [WARNING, KILLED])
    assert ended.line["cid"] == name
    await unharmed(program, home.engine)


async def test_while_the_invoker_tries_to_reach_it(program: Running, home: DockerHome) -> None:
    invocation = asyncio.create_task(invoke(program, "mute"))
    view = await pool_is(program, lambda view: any(one["state"] == "busy" for one in view["containers"]))
    await asyncio.to_thread(home.engine.kill, container_of(view, "mute")["name"])
    ended = await invocation

    assert (ended.status, ended.result, ended.logs) == (2, ABNORMAL_INIT, [WARNING, KILLED])
    await unharmed(program, home.engine)


async def test_in_init(program: Running, home: DockerHome) -> None:
    async with home.meeting() as place:
        home.put(python("initialises", INITIALISES.replace("PLACE", repr(place.address))))
        invocation = asyncio.create_task(invoke(program, "initialises"))
        await place.visitor()
        view = await pool_is(program, lambda view: True)
        await asyncio.to_thread(home.engine.kill, container_of(view, "initialises")["name"])
        ended = await invocation

    assert (ended.status, ended.result) == (2, ABNORMAL_INIT)
    assert ended.logs == ["stdout: initialises", WARNING, KILLED]
    await unharmed(program, home.engine)


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_in_run(program: Running, home: DockerHome, how: str) -> None:
    async with home.meeting() as place:
        invocation = asyncio.create_task(invoke(program, "runs", {"place": place.address}))
        await place.visitor()
        view = await pool_is(program, lambda view: True)
        await asyncio.to_thread(getattr(home.engine, how), container_of(view, "runs")["name"])
        ended = await invocation

    assert (ended.status, ended.result) == (2, ABNORMAL_RUN)
    assert ended.logs == ["stdout: runs", WARNING, *([KILLED] if how == "kill" else [])]
    await unharmed(program, home.engine)


async def test_between_the_answer_and_the_end_of_its_logs(program: Running, home: DockerHome) -> None:
    async with home.meeting() as place:
        invocation = asyncio.create_task(invoke(program, "ends-its-logs-late", {"place": place.address}))
        while "late" not in (await place.visitor()).facts:
            pass
        view = await pool_is(program, lambda view: True)
        await asyncio.to_thread(home.engine.kill, container_of(view, "ends-its-logs-late")["name"])
        ended = await invocation

    assert (ended.status, ended.result) == (0, {"count": 1})
    assert sorted(ended.logs, reverse=True) == ["stdout: out", "stderr: err", LOG_FAILURE]
    await unharmed(program, home.engine)


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_while_it_is_idle(program: Running, home: DockerHome, how: str) -> None:
    first = await invoke(program, "who")
    await settled(program, home.engine)

    await asyncio.to_thread(getattr(home.engine, how), first.line["cid"])
    await pool_is(program, lambda view: first.line["cid"] not in {one["name"] for one in view["containers"]})
    second = await invoke(program, "who")

    assert second.result["host"] != first.result["host"]
    assert (second.line["containerType"], second.line["coldStart"]) == ("cold", "died")
    await unharmed(program, home.engine)


async def test_one_that_is_cut_from_its_network_is_replaced(program: Running, home: DockerHome) -> None:
    first = await invoke(program, "who")
    cut = {"Container": first.line["cid"], "Force": True}
    await asyncio.to_thread(home.engine.ask, "POST", f"/networks/{NETWORK}/disconnect", cut)
    second = await invoke(program, "who")

    assert (second.status, second.line["containerType"]) == (0, "cold")
    assert second.result["host"] != first.result["host"]
    await unharmed(program, home.engine)


async def test_one_that_is_paused_by_hand_is_resumed(program: Running, home: DockerHome) -> None:
    first = await invoke(program, "who")
    await asyncio.to_thread(home.engine.ask, "POST", f"/containers/{first.line['cid']}/pause")
    second = await invoke(program, "who")

    assert (second.status, second.line["containerType"]) == (0, "warm")
    assert second.result["host"] == first.result["host"]
    await unharmed(program, home.engine)


async def test_while_it_is_idle_and_the_next_call_is_on_its_way(program: Running, home: DockerHome) -> None:
    for _ in range(5):
        first = await invoke(program, "who")
        killing = asyncio.create_task(asyncio.to_thread(home.engine.kill, first.line["cid"]))
        ends = []
        while not killing.done():
            ends.append(await invoke(program, "who"))
        ends.append(await invoke(program, "who"))

        hit = [end for end in ends if end.status]
        assert len(hit) <= 1, "one may have been in it"
        assert [end.result for end in hit] == [ABNORMAL_RUN] * len(hit)
        assert ends[-1].status == 0
        assert ends[-1].result["host"] != first.result["host"]
    await unharmed(program, home.engine)


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_while_it_is_paused(own_home: DockerHome, how: str) -> None:
    own_home.put(python("who", WHO))
    async with running(own_home, *PAUSES) as program:
        first = await invoke(program, "who")
        name = first.line["cid"]
        await pool_is(program, lambda view: view["containers"][0]["state"] == "paused")
        await asyncio.to_thread(getattr(own_home.engine, how), name)
        second = await invoke(program, "who")

        assert second.status == 0
        assert second.result["host"] != first.result["host"]
        await unharmed(program, own_home.engine)


async def test_while_it_is_paused_so_that_it_dies_as_it_is_resumed(own_home: DockerHome) -> None:
    own_home.put(python("who", WHO))
    async with running(own_home, *PAUSES) as program:
        first = await invoke(program, "who")
        await pool_is(program, lambda view: view["containers"][0]["state"] == "paused")
        state = await asyncio.to_thread(own_home.engine.inspect, first.line["cid"])
        os.kill(state["State"]["Pid"], signal.SIGKILL)  # it is told when it goes on
        second = await invoke(program, "who")
        third = await invoke(program, "who")

        assert second.status == 0 or second.result == ABNORMAL_RUN, "its last connections are taken"
        assert third.result["host"] != first.result["host"]
        await unharmed(program, own_home.engine)


async def test_while_it_is_being_paused(own_home: DockerHome) -> None:
    own_home.put(python("who", WHO))
    async with (
        troubled(own_home.engine.url) as socket,
        running(own_home, f"docker.url={socket.url}", *PAUSES) as program,
    ):
        with socket.holding("POST .*/pause") as hold:
            first = await invoke(program, "who")
            await hold.reached()
            await asyncio.to_thread(own_home.engine.kill, first.line["cid"])
            await pool_is(program, lambda view: view["containers"][0]["state"] == "removing")
        second = await invoke(program, "who")

        assert second.result["host"] != first.result["host"]
        assert second.line["coldStart"] == "died"
        await settled(program, own_home.engine)


async def test_while_it_is_being_resumed(own_home: DockerHome) -> None:
    own_home.put(python("who", WHO))
    async with (
        troubled(own_home.engine.url) as socket,
        running(own_home, f"docker.url={socket.url}", *PAUSES) as program,
    ):
        first = await invoke(program, "who")
        await pool_is(program, lambda view: view["containers"][0]["state"] == "paused")
        with socket.holding("POST .*/unpause") as hold:
            invocation = asyncio.create_task(invoke(program, "who"))
            await hold.reached()
            await asyncio.to_thread(own_home.engine.kill, first.line["cid"])
        second = await invocation

        assert (second.status, second.line["coldStart"]) == (0, "moved")
        assert second.result["host"] != first.result["host"]
        await unharmed(program, own_home.engine)


async def test_before_it_is_started(own_home: DockerHome) -> None:
    async with troubled(own_home.engine.url) as socket, running(own_home, f"docker.url={socket.url}") as program:
        with socket.holding("POST .*/start") as hold, own_home.engine.events() as events:
            invocation = asyncio.create_task(program.invoke(message("fine")))
            await hold.reached()
            name = await asyncio.to_thread(events.wait_for, "create")
            await asyncio.to_thread(own_home.engine.remove, name)
        ended = await seen(program, await invocation)

        assert (ended.result, ended.logs) == ({"fine": True}, []), "it was created once more"
        assert container_of(await settled(program, own_home.engine), "fine")["name"] == name
        await unharmed(program, own_home.engine)
