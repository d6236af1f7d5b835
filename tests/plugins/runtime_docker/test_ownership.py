"""Two invokers, one engine: nobody touches what isn't his."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from invoker.config import NodeSettings
from invoker.errors import SettingsError
from invoker.testing.containers import RecordedOutput
from invoker_docker.ownership import BOOT_LABEL, NAME_LABEL, OWNER_LABEL, Owner, identity, owning
from invoker_docker.runtime import DockerRuntime, docker_runtime
from tests.plugins.runtime_docker.places import ECHO, SOON, Place, loaded, run, until

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

        with owning(node(tmp_path)) as owner:
            assert owner.identity == "0/zoe"


@pytest.mark.parametrize(
    ("one", "other"), [((None, 1), (None, 11)), (("a", 1), (None, 1)), (("a/b", 1), ("a_b", 1)), ((" é\n", 0), ("", 0))]
)
def test_other_identities_have_other_locks_and_other_marks(
    tmp_path: Path, one: tuple[str | None, int], other: tuple[str | None, int]
) -> None:
    with owning(node(tmp_path, *one)) as first, owning(node(tmp_path, *other)) as second:
        assert first.mark != second.mark
        assert not second.owns("wsk_1", {**first.mark, NAME_LABEL: "wsk_1"})


def test_a_state_directory_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    refusal = pytest.raises(SettingsError, match=r"node\.state_dir: can't open .*: (Not a directory|File exists)")
    with refusal, owning(node(tmp_path / "file")):
        pass


def test_labels_that_a_container_has_from_its_image_make_it_nobodys() -> None:
    owner = Owner("0/zoe", "now")

    assert owner.owns("wsk_1", {OWNER_LABEL: "0/zoe", NAME_LABEL: "wsk_1"})
    assert not owner.owns("wsk_1", {OWNER_LABEL: "0/zoe"})
    assert not owner.owns("wsk_1", {OWNER_LABEL: "0/zoe", NAME_LABEL: "another"})
    assert not owner.owns("wsk_1", None)


async def test_containers_say_whose_they_are_and_what_they_run(place: Place) -> None:
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


async def test_nobody_elses_containers_are_touched(docker_place: Place) -> None:
    mine, theirs = identity(docker_place.node), f"{identity(docker_place.node)}0"
    names = [f"{docker_place.node.unique_name}-{number}" for number in range(3)]
    docker_place.make(names[0], theirs)
    docker_place.make(names[1], mine)
    docker_place.make(names[2], mine, **{NAME_LABEL: "not its name"})
    try:
        async with docker_runtime(docker_place.settings) as runtime:
            assert await runtime.sweep() == [names[1]]

        assert docker_place.containers(theirs) == [names[0]]
        assert docker_place.containers(mine) == [names[2]]
    finally:
        for name in names:
            docker_place.remove(name)


@asynccontextmanager
async def the_same_elsewhere(place: Place, folder: Path) -> AsyncIterator[DockerRuntime]:
    """Run another invoker of this identity, that has its state elsewhere: no lock is between them."""
    node = msgspec.structs.replace(place.node, state_dir=folder / "elsewhere")
    async with docker_runtime(msgspec.structs.replace(place, node=node).settings) as runtime:
        yield runtime


async def test_another_of_this_identity_is_told_and_its_containers_are_left_alone(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    complaint = f"another invoker that calls itself '{identity(place.node)}' uses this engine"
    caplog.set_level("INFO")
    async with docker_runtime(place.but(reconcile_interval=SOON).settings) as first:
        await first.create(place.spec(), RecordedOutput())
        async with the_same_elsewhere(place, tmp_path) as second:
            assert await second.sweep() == [place.name]
            theirs = await loaded(second, place.spec(), ECHO)
            await until(lambda: caplog.text.count("there is still another invoker") > 1)

            ours = await loaded(first, place.spec(f"{place.name}-2"), ECHO)

            assert await run(theirs, n=1) == await run(ours, n=1) == {"n": 1}
            assert sorted(place.containers()) == [place.name, f"{place.name}-2"]
        await until(lambda: "no other invoker that calls itself" in caplog.text)

        assert await run(ours, n=2) == {"n": 2}  # the other's end has left it alone
    assert caplog.text.count(complaint) == 1
    assert "give one of them a node.unique_name or node.id of its own" in caplog.text


async def test_a_name_that_another_of_this_identity_has_is_not_taken_from_it(
    docker_place: Place, tmp_path: Path
) -> None:
    async with docker_runtime(docker_place.settings) as first, the_same_elsewhere(docker_place, tmp_path) as second:
        theirs = await loaded(second, docker_place.spec(), ECHO)

        ours = await loaded(first, docker_place.spec(), ECHO)

        assert ours.name != theirs.name
        assert await run(theirs, n=1) == await run(ours, n=1) == {"n": 1}


async def test_what_a_killed_life_had_asked_for_and_never_started_is_removed(docker_place: Place) -> None:
    async with docker_runtime(docker_place.but(reconcile_interval=SOON).settings):
        docker_place.make(f"{docker_place.name}-late", **{BOOT_LABEL: "an earlier life"})

        await until(lambda: not docker_place.containers())


async def test_a_second_runtime_of_one_identity_is_refused_before_it_sweeps(docker_place: Place) -> None:
    async with docker_runtime(docker_place.settings) as runtime:
        container = await runtime.create(docker_place.spec(), RecordedOutput())

        with pytest.raises(SettingsError, match="has locked"):
            async with docker_runtime(docker_place.settings):
                pass

        assert (await container.inspect()).running
