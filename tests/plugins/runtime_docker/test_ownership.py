"""Whose containers are whose: nobody touches what isn't his, and what is his and of no use goes."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from invoker.config import NodeSettings, Seconds
from invoker.errors import SettingsError
from invoker.testing.containers import RecordedOutput
from invoker_docker.ownership import HOME_LABEL, NAME_LABEL, identity, owning
from invoker_docker.runtime import DockerRuntime, docker_runtime
from tests.plugins.runtime_docker.invoker_place import ECHO, SOON, InvokerPlace, in_trouble, loaded, run, until

COMPLAINT = (
    r"another invoker that calls itself '.*', with another node\.state_dir, has containers on this engine; they "
    r"are left alone: give one of the two a node\.unique_name or node\.id of its own\. If the other runs no more, "
    r"`invoker reap --force` removes them: (.*)"
)
HOLDER = """
import sys
from pathlib import Path
from invoker.config import NodeSettings
from invoker_docker.ownership import owning

with owning(NodeSettings(unique_name="zoe", state_dir=Path(sys.argv[1]))):
    print("locked", flush=True)
    sys.stdin.read()
"""


def node(folder: Path, name: str | None = "zoe", number: int = 0) -> NodeSettings:
    return NodeSettings(id=number, unique_name=name, state_dir=folder)


def test_the_second_of_one_identity_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    with owning(node(tmp_path)), pytest.raises(SettingsError) as caught, owning(node(tmp_path)):
        pass

    text = str(caught.value)
    assert str(tmp_path / "docker-0%2Fzoe.lock") in text
    assert f"process {os.getpid()}" in text
    assert "node.unique_name" in text


def test_the_next_life_has_the_identity_again_and_is_another_life(tmp_path: Path) -> None:
    with owning(node(tmp_path)) as first:
        pass

    with owning(node(tmp_path)) as second:
        pass

    assert first.identity == second.identity == "0/zoe"
    assert first.home == second.home
    assert first.boot != second.boot


def test_a_killed_invoker_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(SettingsError, match=f"process {holder.pid}"), owning(node(tmp_path)):
            pass

        holder.send_signal(signal.SIGKILL)
        holder.wait()

        home = (tmp_path / "docker-0%2Fzoe.lock").read_text().split()[-1]
        with owning(node(tmp_path)) as owner:
            assert (owner.identity, owner.home) == ("0/zoe", home)


@pytest.mark.parametrize(
    ("one", "other"), [((None, 1), (None, 11)), (("a", 1), (None, 1)), (("a/b", 1), ("a_b", 1)), ((" é\n", 0), ("", 0))]
)
def test_other_identities_have_other_locks_and_other_marks(
    tmp_path: Path, one: tuple[str | None, int], other: tuple[str | None, int]
) -> None:
    with owning(node(tmp_path, *one)) as first, owning(node(tmp_path, *other)) as second:
        assert first.identity != second.identity
        assert first.home != second.home


def test_a_state_directory_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    refusal = pytest.raises(SettingsError, match=r"node\.state_dir: can't open .*: (Not a directory|File exists)")
    with refusal, owning(node(tmp_path / "file")):
        pass


async def test_containers_say_whose_they_are_and_what_they_run(place: InvokerPlace) -> None:
    spec = msgspec.structs.replace(place.spec(), namespace="zoe", action="zoe/pkg/resize")

    async with docker_runtime(place.settings) as runtime:
        container = await runtime.create(spec, RecordedOutput())
        _, found = place.ask("GET", f"/containers/{container.name}/json")

    labels = found["Config"]["Labels"]
    assert labels["functions-invoker.boot"]
    assert {
        name: labels[f"functions-invoker.{name}"] for name in ("owner", "name", "runtime", "namespace", "action")
    } == {
        "owner": identity(place.node),
        "name": place.name,
        "runtime": "python:3",
        "namespace": "zoe",
        "action": "zoe/pkg/resize",
    }


async def test_nobody_elses_containers_are_touched(docker_place: InvokerPlace) -> None:
    mine, theirs = identity(docker_place.node), f"{identity(docker_place.node)}0"
    names = [f"{docker_place.node.unique_name}-{number}" for number in range(4)]
    docker_place.make(names[0], theirs)
    docker_place.make(names[1], mine)
    for name, label in zip(names[2:], ("not its name", ""), strict=True):  # as from labels of its image
        docker_place.make(name, mine, **{NAME_LABEL: label})
    try:
        async with docker_runtime(docker_place.settings) as runtime:
            assert await runtime.sweep(force=True) == [names[1]]
            assert await runtime.sweep() == []

        assert docker_place.containers(theirs) == [names[0]]
        assert sorted(docker_place.containers(mine)) == names[2:]
    finally:
        for name in names:
            docker_place.remove(name)


@asynccontextmanager
async def the_same_elsewhere(place: InvokerPlace, folder: Path, **docker: Seconds) -> AsyncIterator[DockerRuntime]:
    """Run another invoker of this identity, that has its state elsewhere: no lock is between them."""
    node = msgspec.structs.replace(place.node, state_dir=folder / "elsewhere")
    async with docker_runtime(msgspec.structs.replace(place.but(**docker), node=node).settings) as runtime:
        yield runtime


async def test_another_of_this_identity_is_told_and_its_containers_are_left_alone(
    place: InvokerPlace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{place.name}-2"
    async with docker_runtime(place.but(reconcile_interval=SOON).settings) as first:
        await first.sweep()
        ours = await loaded(first, place.spec(), ECHO)
        async with the_same_elsewhere(place, tmp_path, reconcile_interval=SOON) as second:
            assert await second.sweep() == []
            told = complaints(caplog)
            theirs = await loaded(second, place.spec(name), ECHO)
            await until(lambda: len(complaints(caplog)) > 1)

            assert await run(theirs, n=1) == await run(ours, n=1) == {"n": 1}
            assert sorted(place.containers()) == [place.name, name]

        assert await run(ours, n=2) == {"n": 2}  # the other's end has left it alone
    assert told == [place.name], "the second is told whose containers are there"
    assert complaints(caplog) == [place.name, name], "and the first, once"


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the containers of others that were told of, and what to do about them."""
    told = [re.fullmatch(COMPLAINT, text) for text in caplog.messages if "another node.state_dir" in text]
    return [match[1] if match else "told otherwise" for match in told]


@pytest.mark.parametrize("start", [False, True])
async def test_what_has_another_home_goes_only_by_force(docker_place: InvokerPlace, *, start: bool) -> None:
    names = [f"{docker_place.name}{rest}" for rest in ("", "-of-nobody-knows-where")]
    for name, home in zip(names, ("elsewhere", ""), strict=True):
        docker_place.make(name, start=start, **{HOME_LABEL: home})
    try:
        async with docker_runtime(docker_place.but(reconcile_interval=SOON).settings) as runtime:
            assert await runtime.sweep() == []
            await loaded(runtime, docker_place.spec(f"{docker_place.name}-2"), ECHO)
            assert len(docker_place.containers()) == 3
        assert sorted(docker_place.containers()) == names

        async with docker_runtime(docker_place.settings) as runtime:
            assert sorted(await runtime.sweep(force=True)) == names
    finally:
        for name in names:
            docker_place.remove(name)


async def test_a_name_that_another_has_is_not_taken_from_it(docker_place: InvokerPlace, tmp_path: Path) -> None:
    async with docker_runtime(docker_place.settings) as first, the_same_elsewhere(docker_place, tmp_path) as second:
        theirs = await loaded(second, docker_place.spec(), ECHO)

        ours = await loaded(first, docker_place.spec(), ECHO)

        assert ours.name != theirs.name
        assert await run(theirs, n=1) == await run(ours, n=1) == {"n": 1}


async def test_what_a_killed_life_had_asked_for_and_never_started_is_removed(docker_place: InvokerPlace) -> None:
    async with docker_runtime(docker_place.but(reconcile_interval=SOON).settings) as runtime:
        await runtime.sweep()
        docker_place.make(f"{docker_place.name}-late")

        await until(lambda: not docker_place.containers())


async def test_a_second_runtime_of_one_identity_is_refused_before_it_sweeps(docker_place: InvokerPlace) -> None:
    async with docker_runtime(docker_place.settings) as runtime:
        container = await runtime.create(docker_place.spec(), RecordedOutput())

        with pytest.raises(SettingsError, match="has locked"):
            async with docker_runtime(docker_place.settings):
                pass

        assert (await container.inspect()).running


async def gone(place: InvokerPlace, name: str) -> None:
    """Wait until the engine has no such container any more."""
    await asyncio.to_thread(place.ask, "POST", f"/containers/{name}/wait", condition="removed")
    await until(lambda: name not in place.containers())


async def test_what_an_earlier_life_left_is_swept_in_whatever_state_it_is(place: InvokerPlace) -> None:
    names = [f"{place.node.unique_name}-{state}" for state in ("created", "running", "paused", "ended")]
    try:
        for name, start in zip(names, (False, True, True, True), strict=True):
            place.make(name, start=start)
        place.ask("POST", f"/containers/{names[2]}/pause")
        place.ask("POST", f"/containers/{names[3]}/kill")

        async with docker_runtime(place.settings) as runtime:
            assert sorted(await runtime.sweep()) == sorted(names)
            assert place.containers() == []
    finally:
        for name in names:
            place.remove(name)


async def test_what_is_ours_and_unknown_is_removed(place: InvokerPlace) -> None:
    stray = f"{place.node.unique_name}-stray"
    async with docker_runtime(place.but(reconcile_interval=SOON).settings) as runtime:
        await runtime.sweep()
        container = await loaded(runtime, place.spec(), ECHO)
        place.make(stray, start=True, boot=place.boot(place.name))

        await gone(place, stray)

        assert place.containers() == [place.name]
        assert await run(container, n=1) == {"n": 1}


async def test_a_creation_in_flight_is_not_unknown(docker_place: InvokerPlace) -> None:
    async with asyncio.TaskGroup() as tasks, in_trouble(docker_place, reconcile_interval=SOON) as (trouble, runtime):
        with trouble.holding("POST /containers/create", answer=True) as hold:
            creation = tasks.create_task(loaded(runtime, docker_place.spec(), ECHO))
            await hold.reached()
            await trouble.hears("GET /containers/json", times=3)
            assert docker_place.containers() == [docker_place.name]

        assert await run(await creation, n=1) == {"n": 1}


async def test_what_is_known_and_gone_is_given_up(docker_place: InvokerPlace) -> None:
    output = RecordedOutput()
    async with in_trouble(docker_place, reconcile_interval=SOON) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), ECHO, output)
        trouble.mute = True  # the end of its output will not be seen
        docker_place.remove(docker_place.name)

        await output.ends()

        assert not (await container.inspect()).running
        await container.remove()
        assert (await runtime.create(docker_place.spec(), RecordedOutput())).name == docker_place.name


async def test_an_engine_that_is_back_is_compared_at_once(docker_place: InvokerPlace) -> None:
    stray = f"{docker_place.node.unique_name}-stray"
    async with in_trouble(docker_place) as (trouble, runtime):
        trouble.die()
        await until(lambda: bool(runtime.faults()))
        docker_place.make(stray)

        trouble.refusing = False

        await gone(docker_place, stray)


async def test_what_comes_up_while_the_engine_tells_its_containers_is_not_taken_for_gone(
    docker_place: InvokerPlace,
) -> None:
    async with in_trouble(docker_place, reconcile_interval=SOON) as (trouble, runtime):
        with trouble.holding("GET /containers/json", answer=True) as hold:
            await hold.reached()
            container = await loaded(runtime, docker_place.spec(), ECHO)
        await trouble.hears("GET /containers/json", times=2)

        assert await run(container, n=1) == {"n": 1}
