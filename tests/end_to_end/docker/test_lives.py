"""Invokers that end, politely or not, and what they leave to their next lives; and several on one engine."""

import asyncio
import itertools
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.end_to_end.caller import connected
from tests.end_to_end.docker.place import (
    MB,
    VISIT,
    DockerHome,
    a_name,
    container_of,
    invoke,
    pool_is,
    running,
    settled,
    works,
)
from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Running
from tests.services.images import Images

KILLED = -signal.SIGKILL
WAITS = f"""{VISIT}
def main(args):
    visit(args["place"]).recv(1)
    return {{}}
"""
LIVES = 10
CLIENTS = 4
MOMENTS = 40
"""What happens to containers in a life, at most."""
CROWD = 50


async def ended(program: Running) -> int:
    return await asyncio.to_thread(program.ended)


async def leaves_three(home: DockerHome) -> set[str]:
    """Kill an invoker that has a container at work, one that is idle, and one that is paused; return their names."""
    home.put(python("waits", WAITS), python("paused", "def main(args): return {}"))
    pauses = ("pool.pause=true", "pool.pause_grace=1 s")
    async with running(home, *pauses, code=KILLED) as program, home.meeting() as place:
        paused = await invoke(program, "paused")
        await pool_is(program, lambda view: container_of(view, "paused")["state"] == "paused")
        async with connected(program.data) as caller:
            await caller.send("POST", "/invoke", message("waits", {"place": place.address}))
            await place.visitor()
            idle = await invoke(program, "fine")
            names = set(home.engine.containers())
            assert {paused.line["cid"], idle.line["cid"]} < names
            program.signal(signal.SIGKILL)
            await ended(program)
    assert home.engine.containers().keys() == names, "nobody was there to remove them"
    return names


async def test_what_a_killed_invoker_leaves_can_be_reaped(own_home: DockerHome) -> None:
    names = await leaves_three(own_home)

    reaped = await asyncio.to_thread(own_home.call, "reap")
    left = own_home.engine.containers()
    again = await asyncio.to_thread(own_home.call, "reap", "--json")

    assert reaped.code == 0, reaped
    assert sorted(reaped.output.splitlines()) == [f"removed {name}" for name in sorted(names)]
    assert left == {}
    assert again.json == {"runtime": "docker", "sweeps": True, "removed": []}


async def test_what_a_killed_invoker_leaves_is_gone_when_the_next_one_is_ready(own_home: DockerHome) -> None:
    names = await leaves_three(own_home)

    async with running(own_home) as program:
        left = own_home.engine.containers()
        await works(program)
        told = [text for text in program.log.messages() if "an earlier life left" in text]

    assert left == {}
    assert told == [f"removed containers that an earlier life left: {', '.join(sorted(names))}"]


async def test_nothing_is_reaped_beside_an_invoker_that_runs(own_home: DockerHome) -> None:
    async with running(own_home) as program:
        await works(program)
        reaped = await asyncio.to_thread(own_home.call, "reap")
        second = await asyncio.to_thread(own_home.call, "run")
        await settled(program, own_home.engine)
        again = await invoke(program, "fine")

    mine = f"'0/{own_home.unique_name}' has locked"
    for called, why in ((reaped, mine), (second, "which is the same invoker")):
        assert (called.code, called.output) == (2, "")
        assert why in called.errors.replace(" as well", "")
    assert again.line["containerType"] == "warm"


async def test_who_has_another_state_directory_leaves_what_runs_alone_and_names_it(
    own_home: DockerHome, tmp_path: Path
) -> None:
    elsewhere = DockerHome(tmp_path / "elsewhere", own_home.engine.url, own_home.images, own_home.unique_name)
    async with running(own_home, code=KILLED) as first:
        name = (await invoke(first, "fine")).line["cid"]
        reaped = await asyncio.to_thread(elsewhere.call, "reap")
        async with running(elsewhere) as second:
            await works(second)
            told = [text for text in second.log.messages() if "with another node.state_dir" in text]
        again = await invoke(first, "fine")
        first.signal(signal.SIGKILL)
        await ended(first)
    by_force = await asyncio.to_thread(elsewhere.call, "reap", "--force")

    assert (reaped.code, reaped.output) == (0, "nothing was left\n")
    assert f"`invoker reap --force` removes them: {name}" in " ".join(reaped.errors.split())
    assert len(told) == 1
    assert told[0].endswith(name)
    assert (again.line["containerType"], again.line["cid"]) == ("warm", name)
    assert (by_force.code, by_force.output) == (0, f"removed {name}\n")


@pytest.fixture
def neighbours(engine_url: str, docker_images: Images, tmp_path: Path) -> tuple[DockerHome, DockerHome]:
    """Two invokers on one engine that have every chance to be mistaken for each other."""
    name = a_name()
    one, other = name, f"{name}/"  # without what no container's name can have, they are equal
    return (
        DockerHome(tmp_path / "one", engine_url, docker_images, one),
        DockerHome(tmp_path / "other", engine_url, docker_images, other),
    )


async def test_two_invokers_on_one_engine_let_each_other_alone(neighbours: tuple[DockerHome, DockerHome]) -> None:
    one, other = neighbours
    async with running(one) as stays:
        async with running(other, code=KILLED) as goes:
            first = await invoke(stays, "fine")
            second = await invoke(goes, "fine")
            mine, theirs = one.engine.containers(), other.engine.containers()
            goes.signal(signal.SIGKILL)
            await ended(goes)
        async with running(other) as comes_back:
            left = other.engine.containers()
            await works(comes_back)
            await settled(comes_back, other.engine)
        again = await invoke(stays, "fine")

    assert mine.keys() == {first.line["cid"]}
    assert theirs.keys() == {second.line["cid"]}
    assert left == {}
    assert (again.line["containerType"], again.line["cid"]) == ("warm", first.line["cid"])
    assert one.engine.containers() == other.engine.containers() == {}


async def test_whenever_an_invoker_is_killed_the_next_one_goes_on(own_home: DockerHome) -> None:
    names = ["one", "two", "three", "four"]
    own_home.put(*(python(name, f"def main(args): return {{'name': {name!r}}}") for name in names))
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    settings = ("pool.memory=384 MB", "docker.reconcile_interval=2 s", "pool.patience=10 ms")

    for life in range(LIVES):
        moment = chance.randrange(1, MOMENTS)
        async with running(own_home, *settings, code=KILLED) as program:
            await settled(program, own_home.engine)  # nothing is left of the life before
            with own_home.engine.events() as events:
                orders = [names[number:] + names[:number] for number in range(CLIENTS)]
                clients = [asyncio.create_task(asks(program, order)) for order in orders]
                await asyncio.to_thread(events.wait, lambda _, n=moment: len(events.lines) >= n, 30)
                program.signal(signal.SIGKILL)
                await ended(program)
                statuses = [status for client in clients for status in await client]
        assert set(statuses) <= {0}, f"seed {seed}, life {life}, killed at moment {moment}: {statuses}"

    async with running(own_home, *settings) as program:
        await settled(program, own_home.engine)
        await works(program)


async def asks(program: Running, names: list[str]) -> list[int]:
    """Ask for one action after the other until nobody answers; return the statuses of the answers."""
    statuses = []
    with suppress(OSError, asyncio.IncompleteReadError):
        for name in itertools.cycle(names):
            answer = await program.invoke(message(name))
            statuses.append(answer["response"]["response"]["statusCode"])
    return statuses


async def test_an_invoker_that_stops_leaves_none_of_many_containers(own_home: DockerHome) -> None:
    async with running(own_home) as program:
        callers = [invoke(program, "fine", namespace=f"caller-{number}") for number in range(CROWD)]
        ends = await asyncio.gather(*callers)
        view = await settled(program, own_home.engine)
        program.signal(signal.SIGTERM)
        code = await ended(program)
        left = own_home.engine.containers()

    assert [end.status for end in ends] == [0] * CROWD
    assert view["used"] == CROWD * 128 * MB
    assert (code, left) == (0, {})
