"""Opening a runtime, which changes nothing, and closing it, which leaves nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from invoker import Settings
from invoker.config import NodeSettings, RolesSettings, Seconds
from invoker.errors import SettingsError, StartFailed
from invoker.testing.containers import RecordedOutput
from invoker_docker.engine import connected
from invoker_docker.ownership import Reconciler
from invoker_docker.runtime import docker_runtime
from invoker_docker.settings import DockerSettings, FileSystem
from tests.plugins.runtime_docker.invoker_place import ECHO, SOON, InvokerPlace, in_trouble, loaded, until
from tests.plugins.runtime_docker.stand_in import says, stand_in


async def test_what_could_not_be_removed_is_named_and_swept_by_the_next_life(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("invoker_docker.runtime.DOWN_GRACE", 0.1)
    output = RecordedOutput()
    async with in_trouble(docker_place) as (trouble, runtime):
        await loaded(runtime, docker_place.spec(), ECHO, output)
        trouble.die()
        await until(lambda: bool(runtime.faults()))

    assert f"containers that could not be removed: {docker_place.name}" in caplog.text
    assert output.closings == 1
    assert docker_place.containers() == [docker_place.name]
    async with docker_runtime(docker_place.settings) as runtime:
        assert await runtime.sweep() == [docker_place.name]


@pytest.mark.parametrize(("extra", "told"), [((), 1), (("firewall",), 0)])
async def test_without_a_firewall_it_is_told_once_what_actions_reach(
    docker_place: InvokerPlace, caplog: pytest.LogCaptureFixture, extra: tuple[str, ...], told: int
) -> None:
    settings = Settings.of(docker_place.node, docker_place.docker, RolesSettings(extra=extra))
    async with docker_runtime(settings) as runtime:
        await runtime.sweep()
        await runtime.create(docker_place.spec(), RecordedOutput())

    warnings = [text for text in caplog.messages if "169.254.169.254" in text]
    assert len(warnings) == told
    assert all('set extra = ["firewall"]' in text for text in warnings)


@pytest.mark.parametrize(
    ("policy", "policies", "told"), [("image", {}, 1), ("strict", {}, 0), ("strict", {"a/*": "image"}, 1)]
)
async def test_where_the_engine_can_not_bound_what_actions_write_it_is_told_unless_they_write_nothing(
    policy: FileSystem, policies: dict[str, FileSystem], told: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stand_in() as engine_there:
        engine_there.answers["GET /images/json"] = says([])
        engine_there.answers["GET /info"] = says(OVERLAY_ON_EXT4)
        docker = DockerSettings(url=engine_there.url, file_system=policy, file_systems=policies)
        async with docker_runtime(Settings.of(NodeSettings(state_dir=tmp_path), docker)):
            pass

    assert caplog.text.count("nothing bounds what an action writes") == told


OVERLAY_ON_EXT4 = {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}


@pytest.mark.parametrize(
    ("info", "quota"),
    [
        (OVERLAY_ON_EXT4, False),
        (OVERLAY_ON_EXT4 | {"DriverStatus": [["Backing Filesystem", "xfs"], ["Supports d_type", "true"]]}, True),
        ({"Driver": "overlay", "DriverStatus": [["Backing Filesystem", "xfs"]]}, True),  # podman's
        ({"Driver": "btrfs", "DriverStatus": None}, True),
        ({"Driver": "zfs"}, True),
        ({"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}, False),
        ({"Driver": "vfs"}, False),
        ({}, False),
    ],
)
async def test_which_storage_may_bound_what_a_container_writes(info: dict[str, Any], *, quota: bool) -> None:
    async with stand_in() as engine_there:
        engine_there.answers["GET /info"] = says(info)
        async with connected(DockerSettings(url=engine_there.url)) as engine:
            assert engine.able.quota == quota


@pytest.mark.parametrize(("commit", "init"), [("de40ad0", True), ("", True), ("N/A", False)])
async def test_an_engine_without_an_init_is_asked_for_none(commit: str, *, init: bool) -> None:
    async with stand_in() as engine_there:
        engine_there.answers["GET /info"] = says({"InitBinary": "docker-init", "InitCommit": {"ID": commit}})
        async with connected(DockerSettings(url=engine_there.url)) as engine:
            assert engine.able.init == init


async def test_an_engine_that_is_not_there_is_named(docker_place: InvokerPlace) -> None:
    with pytest.raises(
        StartFailed, match=r"the container engine at unix:///nowhere\.sock can't be used: .*start the engine, or set"
    ):
        async with docker_runtime(docker_place.but(url="unix:///nowhere.sock").settings):
            pass


async def test_what_breaks_in_the_background_ends_the_runtime_but_leaves_nothing(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def broken(reconciler: Reconciler) -> None:
        await begun.wait()
        raise RuntimeError("broken")

    async def live() -> None:
        async with docker_runtime(docker_place.but(reconcile_interval=SOON).settings) as runtime:
            await runtime.sweep()
            await loaded(runtime, docker_place.spec(), ECHO)
            begun.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(Reconciler, "reconcile", broken)

    with pytest.raises(BaseExceptionGroup) as caught:
        await live()

    assert caught.group_contains(RuntimeError, match="broken")
    assert docker_place.containers() == []


async def test_closing_removes_what_is_there_by_itself_and_has_nothing_to_sweep(
    docker_place: InvokerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with docker_runtime(docker_place.settings) as runtime:
        await runtime.create(docker_place.spec(), RecordedOutput())

    assert docker_place.containers() == []
    assert "creations without an answer" not in caplog.text


async def test_an_oci_runtime_that_the_engine_lacks_is_told_before_anything_is_started(
    docker_place: InvokerPlace,
) -> None:
    place = docker_place.but(oci_runtime="nonesuch")

    with pytest.raises(SettingsError, match=r"docker\.oci_runtime: the engine has no OCI runtime 'nonesuch'; .*runc"):
        async with docker_runtime(place.settings):
            pass


@pytest.mark.parametrize("how", ["sweep", "create"])
async def test_the_network_is_made_when_it_is_needed_and_stays(place: InvokerPlace, how: str) -> None:
    place = place.with_a_network_of_its_own()
    try:
        async with docker_runtime(place.settings) as runtime:
            assert tuple(runtime.bridges()) == (place.docker.bridge,)
            assert not place.has_network()
            await (runtime.sweep() if how == "sweep" else runtime.create(place.spec(), RecordedOutput()))
            assert tuple(runtime.bridges()) == (place.docker.bridge,)

        assert place.has_network()
    finally:
        place.remove_network()


async def test_a_network_that_can_not_be_made_is_told_to_who_sweeps_and_leaves_no_name_to_who_creates(
    docker_place: InvokerPlace,
) -> None:
    other = docker_place.with_a_network_of_its_own()
    place = docker_place.but(network=f"{other.docker.network}-2", bridge=other.docker.bridge)
    options = {"com.docker.network.bridge.name": other.docker.bridge}
    assert place.ask("POST", "/networks/create", {"Name": other.docker.network, "Options": options})[0] == 201
    try:
        async with docker_runtime(place.settings) as runtime:
            with pytest.raises(SettingsError, match="can't create"):
                await runtime.sweep()
            for _ in range(2):
                with pytest.raises(StartFailed, match="can't create"):
                    await runtime.create(place.spec(), RecordedOutput())
    finally:
        other.remove_network()


async def test_who_merely_looks_changes_nothing(place: InvokerPlace) -> None:
    place = place.with_a_network_of_its_own()
    names = sorted(f"{place.name}-{state}" for state in ("created", "running"))
    try:
        for name in names:
            place.make(name, start=name.endswith("running"))

        async with docker_runtime(place.settings) as runtime:
            assert runtime.runtimes()
            assert await runtime.lacking(runtime.runtimes()) == []
            assert runtime.faults() == ()

        assert sorted(place.containers()) == names
        assert not place.has_network()
    finally:
        for name in names:
            place.remove(name)


async def test_who_has_not_swept_removes_nothing_but_what_it_has_created(docker_place: InvokerPlace) -> None:
    names = sorted(f"{docker_place.name}{rest}" for rest in ("", "-created", "-running", "-of-nobody-knows-when"))
    try:
        for name in names:
            docker_place.make(name, start=name.endswith("running"), boot="" if name.endswith("when") else "another")
        async with in_trouble(docker_place, swept=False, reconcile_interval=SOON) as (trouble, runtime):
            container = await loaded(runtime, docker_place.spec(), ECHO)
            await trouble.hears("GET /_ping", times=3)  # as often as it would have compared

            assert container.name != docker_place.name
            assert not [one for one in trouble.asked if one.startswith(("DELETE", "GET /containers/json"))]

        assert sorted(docker_place.containers()) == names
    finally:
        for name in names:
            docker_place.remove(name)


async def test_what_came_of_a_call_without_an_answer_is_removed_at_the_end_even_unswept(
    docker_place: InvokerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with in_trouble(docker_place, swept=False, create_timeout=Seconds(0.2)) as (trouble, runtime):
        with trouble.holding("POST /containers/create", answer=True), pytest.raises(StartFailed):
            await runtime.create(docker_place.spec(), RecordedOutput())
        await until(lambda: docker_place.containers() == [docker_place.name])
        await until(lambda: not runtime.faults())

    assert f"removed containers that came of creations without an answer: {docker_place.name}" in caplog.text
    assert docker_place.containers() == []
