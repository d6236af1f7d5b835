"""How containers end, what is told of it, and what becomes of requests."""

import asyncio
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from unittest.mock import ANY

import pytest

from invoker.config import Seconds
from invoker.contracts import Container
from invoker.entities.container import ContainerState
from invoker.errors import ContainerError, Lost, Unreachable
from invoker.testing.containers import PATIENCE, RecordedOutput
from invoker_docker.container import DockerContainer
from invoker_docker.engine import EngineClient
from invoker_docker.runtime import docker_runtime
from tests.plugins.runtime_docker.invoker_place import ECHO, MEMORY, InvokerPlace, in_trouble, loaded, run, until
from tests.plugins.runtime_docker.tiny_image import asked

GREEDY = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"


GREEDY_CHILD = f"""
import os, subprocess, sys

def main(args):
    child = subprocess.run([sys.executable, "-c", {GREEDY!r}])
    if "exit" in args:
        os._exit(args["exit"])
    if "fail" in args:
        raise ValueError("the child is gone")
    return {{"child": child.returncode}}
"""


FAILING = """
hoards = main

def main(args):
    if "only fail" in args:
        raise ValueError("nothing to do with memory")
    return hoards(args)
"""


DYING = "import os\ndef main(args):\n    os.kill(os.getpid(), args['signal'])\n    while True: pass\n"


FILLING = "def main(args):\n    return {'length': len(b'x' * args['n'])}\n"


HANGING = "def main(args):\n    print('here', flush=True)\n    while True: pass\n"


CUTTING = """
import os, socket, stat

def main(args):
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and stat.S_ISSOCK(os.stat(int(name)).st_mode):
            with socket.socket(fileno=os.dup(int(name))) as one:
                if one.type == socket.SOCK_STREAM and not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    one.shutdown(socket.SHUT_RDWR)
    while True: pass
"""


async def lost(container: Container, **arguments: Any) -> ContainerState:
    """Return what is told of a container that doesn't survive a run."""
    body = json.dumps({"value": arguments}).encode()
    with pytest.raises(Lost) as caught:
        await container.post("/run", body, timeout=PATIENCE, limit=1 << 20)
    return caught.value.state


async def test_a_container_that_exhausts_its_memory_is_told_from_one_that_is_killed(place: InvokerPlace) -> None:
    code = f"def main(args):\n    exec({GREEDY!r})\n"
    async with docker_runtime(place.settings) as runtime:
        state = await lost(await loaded(runtime, place.spec(), code))

    assert state == ContainerState(running=False, exit_code=-9, memory_exhausted=True, peak_memory=MEMORY)


async def test_memory_that_only_a_child_exhausted_is_not_what_ended_the_container(place: InvokerPlace) -> None:
    async with docker_runtime(place.settings) as runtime:
        container = await loaded(runtime, place.spec(), GREEDY_CHILD)
        assert await run(container) == {"child": -9}

        state = await lost(container, exit=3)

    assert (state.running, state.exit_code, state.memory_exhausted) == (False, 3, False)


async def test_a_request_that_fails_for_a_child_that_exhausted_the_memory_is_lost_to_that(place: InvokerPlace) -> None:
    async with docker_runtime(place.settings) as runtime:
        state = await lost(await loaded(runtime, place.spec(), GREEDY_CHILD), fail=True)

    assert state == ContainerState(running=True, memory_exhausted=True, peak_memory=MEMORY)


async def test_a_child_that_was_killed_in_an_earlier_request_is_no_reason_for_a_later_ones_failure(
    docker_place: InvokerPlace,
) -> None:
    async with docker_runtime(docker_place.settings) as runtime:
        container = await loaded(runtime, docker_place.spec(), f"{GREEDY_CHILD}\n{FAILING}")
        assert isinstance(container, DockerContainer)
        assert await run(container) == {"child": -9}
        await until(lambda: container._memory.kills == 1)

        reply = await container.post("/run", b'{"value": {"only fail": true}}', timeout=PATIENCE, limit=1 << 20)

    assert reply.status != HTTPStatus.OK


@pytest.mark.parametrize("number", [11, 15])
async def test_the_signal_that_ended_a_container_is_told(place: InvokerPlace, number: int) -> None:
    async with docker_runtime(place.settings) as runtime:
        state = await lost(await loaded(runtime, place.spec(), DYING), signal=number)

    assert (state.exit_code, state.memory_exhausted) == (-number, False)


async def test_a_container_that_somebody_kills_has_not_exhausted_its_memory(place: InvokerPlace) -> None:
    output = RecordedOutput()
    async with docker_runtime(place.settings) as runtime, asyncio.TaskGroup() as tasks:
        container = await loaded(runtime, place.spec(), HANGING, output)
        request = tasks.create_task(lost(container))
        await output.says(b"here")

        place.ask("POST", f"/containers/{place.name}/kill")

        state = await request
        assert await container.inspect() == state
    assert (state.running, state.exit_code, state.memory_exhausted) == (False, -9, False)


async def test_a_connection_that_is_cut_by_a_container_that_lives_on_is_lost(
    place: InvokerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_docker.container.LAST_WORDS", 0.5)
    async with docker_runtime(place.settings) as runtime:
        state = await lost(await loaded(runtime, place.spec(), CUTTING))

    assert state.running


async def test_a_living_container_tells_its_peak_of_memory(docker_place: InvokerPlace) -> None:
    async with docker_runtime(docker_place.settings) as runtime:
        container = await loaded(runtime, docker_place.spec(), FILLING)

        await run(container, n=50 << 20)

        peak = (await container.inspect()).peak_memory
    assert peak is not None
    assert 50 << 20 < peak < MEMORY


async def test_a_container_that_died_while_nobody_used_it_takes_nothing(place: InvokerPlace) -> None:
    output = RecordedOutput()
    async with docker_runtime(place.settings) as runtime:
        container = await loaded(runtime, place.spec(), ECHO, output)
        assert await run(container, n=1) == {"n": 1}

        place.ask("POST", f"/containers/{place.name}/kill")
        await output.ends()

        with pytest.raises(Unreachable):
            await run(container, n=2)
        assert not (await container.inspect()).running


@pytest.mark.parametrize("at_once", [False, True], ids=["left", "removed at once"])
@pytest.mark.parametrize(
    ("how", "told"), [("TERM", "was killed by signal SIGTERM|exited"), ("KILL", "was killed by signal SIGKILL")]
)
async def test_how_a_container_ended_that_nobody_used_is_logged_once(
    place: InvokerPlace, caplog: pytest.LogCaptureFixture, how: str, told: str, *, at_once: bool
) -> None:
    output = RecordedOutput()
    async with docker_runtime(place.settings) as runtime:
        container = await loaded(runtime, place.spec(), ECHO, output)

        place.ask("POST", f"/containers/{place.name}/kill", signal=how)
        await output.ends()
        if not at_once:
            await until_ended(container)
        await container.remove()

    assert re.findall(rf"{place.name} \(python:3\) ended while it had no request: it ({told})", caplog.text) == [ANY]


async def test_the_end_of_a_container_is_not_logged_where_an_activation_tells_it_or_it_was_wanted(
    place: InvokerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with docker_runtime(place.settings) as runtime:
        await lost(await loaded(runtime, place.spec(), DYING), signal=9)
        removed = await loaded(runtime, place.spec(f"{place.name}-2"), ECHO)
        await removed.remove()
        await loaded(runtime, place.spec(f"{place.name}-3"), ECHO)

    assert "ended while it had no request" not in caplog.text


async def test_a_container_that_somebody_removed_is_not_running(place: InvokerPlace) -> None:
    output = RecordedOutput()
    async with docker_runtime(place.settings) as runtime:
        container = await loaded(runtime, place.spec(), ECHO, output)

        place.remove(place.name)
        await output.ends()

        assert not (await container.inspect()).running
        with pytest.raises(Unreachable):
            await run(container, n=2)
        await container.remove()
        assert (await runtime.create(place.spec(), RecordedOutput())).name == place.name


async def test_while_the_engine_is_down_nobody_knows(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_docker.container.LAST_WORDS", 0.2)
    output = RecordedOutput()
    async with in_trouble(docker_place) as (trouble, runtime), asyncio.TaskGroup() as tasks:
        container = await loaded(runtime, docker_place.spec(), HANGING, output)
        request = tasks.create_task(lost(container))
        await output.says(b"here")

        trouble.die()
        docker_place.ask("POST", f"/containers/{docker_place.name}/kill")

        assert not (await request).known
        assert not (await container.inspect()).known
        trouble.refusing = False
        await until(lambda: not runtime.faults())
        await container.remove()


async def test_an_engine_that_was_away_for_a_moment_costs_no_request(docker_place: InvokerPlace) -> None:
    output = RecordedOutput()
    waiting = "import os\ndef main(args):\n    print('here', flush=True)\n    open('/tmp/go').read()\n    return args\n"
    async with in_trouble(docker_place) as (trouble, runtime), asyncio.TaskGroup() as tasks:
        fifo = f"import os\nos.mkfifo('/tmp/go')\n{waiting}"
        container = await loaded(runtime, docker_place.spec(), fifo, output)
        request = tasks.create_task(run(container, n=1))
        await output.says(b"here")

        trouble.cut()
        await output.ends()
        command = {"Cmd": ["sh", "-c", "echo go >/tmp/go"]}
        _, made = docker_place.ask("POST", f"/containers/{docker_place.name}/exec", command)
        docker_place.ask("POST", f"/exec/{made['Id']}/start", {"Detach": True})

        assert await request == {"n": 1}


async def test_a_container_whose_output_is_lost_gets_no_further_requests(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("invoker_docker.container.LAST_WORDS", 0.2)
    output = RecordedOutput()
    async with in_trouble(docker_place) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), ECHO, output)

        trouble.cut()
        await until(lambda: "its output is lost" in caplog.text)

        assert (await container.inspect()).running
        with pytest.raises(Unreachable):
            await run(container, n=1)
        assert output.closings == 1


async def test_pausing_and_resuming_twice_is_doing_it_once(place: InvokerPlace) -> None:
    async with docker_runtime(place.settings) as runtime:
        container = await loaded(runtime, place.spec(), ECHO)
        assert isinstance(container, DockerContainer)

        for _ in range(2):
            await container.pause()
        for _ in range(2):
            await container.resume()

        assert await run(container, n=1) == {"n": 1}


async def test_no_connection_outlives_a_pause(docker_place: InvokerPlace) -> None:
    async with docker_runtime(docker_place.settings) as runtime:
        container = await loaded(runtime, docker_place.spec(), ECHO)
        assert isinstance(container, DockerContainer)
        before = [connection._wire for connection in container._free]

        await container.pause()
        paused = [connection._wire for connection in container._free]
        await container.resume()

        assert before != [None]
        assert paused == [None]


async def test_a_container_that_somebody_has_paused_is_resumed_for_the_next_request(place: InvokerPlace) -> None:
    async with docker_runtime(place.settings) as runtime:
        container = await loaded(runtime, place.spec(), ECHO)
        assert isinstance(container, DockerContainer)
        for number in range(2):
            await asyncio.to_thread(place.ask, "POST", f"/containers/{place.name}/pause")
            await until(lambda: container._frozen)

            assert await run(container, n=number) == {"n": number}


async def test_one_that_somebody_has_paused_and_resumed_is_left_as_it_is(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), ECHO)
        assert isinstance(container, DockerContainer)
        docker_place.ask("POST", f"/containers/{docker_place.name}/pause")
        await until(lambda: container._frozen)
        docker_place.ask("POST", f"/containers/{docker_place.name}/unpause")
        await until(lambda: not container._frozen)

        assert await run(container, n=1) == {"n": 1}
        assert not [one for one in trouble.asked if one.endswith("/unpause")]


async def test_one_that_is_paused_and_can_not_be_resumed_takes_nothing(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place, pause_timeout=Seconds(0.2)) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), ECHO)
        assert isinstance(container, DockerContainer)
        docker_place.ask("POST", f"/containers/{docker_place.name}/pause")
        await until(lambda: container._frozen)

        with trouble.holding("POST /containers/.*/unpause"), pytest.raises(Unreachable, match="can't be resumed"):
            await run(container, n=1)


async def test_a_container_that_is_cut_from_its_network_is_given_up(
    place: InvokerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    idle, busy = RecordedOutput(), RecordedOutput()
    async with docker_runtime(place.settings) as runtime, asyncio.TaskGroup() as tasks:
        first = await loaded(runtime, place.spec(), ECHO, idle)
        second = await loaded(runtime, place.spec(f"{place.name}-2"), HANGING, busy)
        request = tasks.create_task(lost(second))
        await busy.says(b"here")

        for container in (first, second):
            cut = json.dumps({"Container": container.name, "Force": True}).encode()
            await asyncio.to_thread(asked, place.url, "POST", f"/networks/{place.docker.network}/disconnect", cut)

        assert not (await request).known, "nobody can tell what became of it"
        await idle.ends()
        await busy.ends()
        with pytest.raises(Unreachable):
            await run(first, n=1)
        assert caplog.text.count("was cut from its network by somebody else") == 2


async def test_events_are_told_again_when_the_engine_is_back(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place) as (trouble, runtime):
        await until(lambda: "GET /events" in trouble.asked)
        trouble.cut()
        await trouble.hears("GET /events")
        container = await loaded(runtime, docker_place.spec(), ECHO)
        assert isinstance(container, DockerContainer)

        docker_place.ask("POST", f"/containers/{docker_place.name}/pause")

        await until(lambda: container._frozen)


async def test_a_container_of_which_nobody_knows_whether_it_is_paused_takes_nothing(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place, pause_timeout=Seconds(0.2)) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), ECHO)
        assert isinstance(container, DockerContainer)
        with trouble.holding("POST /containers/.*/pause", answer=True), pytest.raises(ContainerError):
            await container.pause()

        with pytest.raises(Unreachable):
            await run(container, n=1)


async def test_what_has_ended_can_be_neither_paused_nor_resumed(place: InvokerPlace) -> None:
    output = RecordedOutput()
    async with docker_runtime(place.settings) as runtime:
        container = await loaded(runtime, place.spec(), ECHO, output)
        assert isinstance(container, DockerContainer)
        place.ask("POST", f"/containers/{place.name}/kill")
        await output.ends()
        await until_ended(container)

        with pytest.raises(ContainerError):
            await container.pause()
        with pytest.raises(ContainerError):
            await container.resume()


async def until_ended(container: Container) -> None:
    while (await container.inspect()).running:
        pass


async def test_what_was_not_sent_while_the_engine_is_down_may_be_sent_elsewhere(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_docker.container.LAST_WORDS", 0.2)
    output = RecordedOutput()
    async with in_trouble(docker_place) as (trouble, runtime):
        container = await runtime.create(docker_place.spec(), output)

        trouble.die()
        await output.ends()

        with pytest.raises(Unreachable):
            await run(container, n=1)
        trouble.refusing = False
        await until(lambda: not runtime.faults())


KILLED = "import os, signal\ndef main(args):\n    os.kill(os.getpid(), signal.SIGKILL)\n"


async def test_an_engine_that_learns_late_why_a_container_was_killed_is_asked_again(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec 9.5.5: of a container that has ended it says at first that nobody was out of memory."""
    looks = 0
    real = EngineClient.inspect

    async def inspect(engine: EngineClient, container: str) -> Mapping[str, Any]:
        nonlocal looks
        found = dict(await real(engine, container))
        if not found["State"]["Running"]:
            looks += 1
            found["State"] = {**found["State"], "OOMKilled": looks > 1}
        return found

    monkeypatch.setattr(EngineClient, "inspect", inspect)
    async with docker_runtime(docker_place.settings) as runtime:
        container = await loaded(runtime, docker_place.spec(), KILLED)

        with pytest.raises(Lost) as lost:
            await container.post("/run", b"{}", timeout=PATIENCE, limit=1 << 20)

    assert (lost.value.state.memory_exhausted, looks) == (True, 2)
