"""What the engine says of a container -> what is told of it."""

from pathlib import Path
from typing import Any

import pytest

from invoker.entities.container import ContainerState
from invoker_docker.state import CgroupMemory, address_on, may_be_flagged, read_state

LIMIT = 128 << 20
ID = "51b31a85463b"


def read(gauge: CgroupMemory | None = None, **state: Any) -> ContainerState:
    return read_state({"State": state}, gauge or CgroupMemory(), LIMIT)


@pytest.mark.parametrize(
    ("networks", "address"),
    [
        ({"other": {"IPAddress": "10.0.0.1"}, "ours": {"IPAddress": "10.0.0.2"}}, "10.0.0.2"),
        ({"ours": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}}, "fd00::2"),
        ({"ours": {"IPAddress": "10.0.0.2", "GlobalIPv6Address": "fd00::2"}}, "10.0.0.2"),
        ({"podman's own word": {"IPAddress": "10.0.0.3"}}, "10.0.0.3"),
        ({"ours": {"IPAddress": ""}}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_containers_address_is_that_on_our_network(networks: Any, address: str) -> None:
    assert address_on({"NetworkSettings": {"Networks": networks}}, "ours") == address


@pytest.mark.parametrize(
    ("said", "told"),
    [(0, 0), (3, 3), (128, 128), (137, -9), (139, -11), (192, -64), (193, 193), (255, 255), (None, None)],
)
def test_exit_codes_above_128_are_signals(said: int | None, told: int | None) -> None:
    state = read(Running=False, ExitCode=said)

    assert (state.running, state.exit_code, state.memory_exhausted) == (False, told, False)


def test_the_engines_flag_counts_where_the_first_process_was_killed() -> None:
    assert read(Running=False, ExitCode=137, OOMKilled=True).memory_exhausted
    assert not read(Running=False, ExitCode=3, OOMKilled=True).memory_exhausted
    assert not read(Running=False, ExitCode=0, OOMKilled=True).memory_exhausted


def test_the_kernels_count_counts_where_the_engine_has_no_flag() -> None:
    gauge = CgroupMemory()
    gauge.kills = 1

    assert read(gauge, Running=False, ExitCode=137, OOMKilled=False).memory_exhausted
    assert not read(gauge, Running=False, ExitCode=1, OOMKilled=False).memory_exhausted


def test_memory_that_was_exhausted_had_reached_its_limit() -> None:
    assert read(Running=False, ExitCode=137, OOMKilled=True).peak_memory == LIMIT
    assert read(Running=False, ExitCode=137).peak_memory is None


def test_only_a_container_that_was_killed_without_a_reason_may_be_flagged_later() -> None:
    assert may_be_flagged(read(Running=False, ExitCode=137))
    assert not may_be_flagged(read(Running=False, ExitCode=137, OOMKilled=True))
    assert not may_be_flagged(read(Running=False, ExitCode=143))
    assert not may_be_flagged(read(Running=True))


def test_an_engine_that_says_nothing_of_a_state_means_an_end_that_nobody_knows() -> None:
    assert read_state({}, CgroupMemory(), LIMIT) == ContainerState(running=False)


def a_machine(folder: Path, groups: str, files: dict[str, str]) -> CgroupMemory:
    """Return the gauge of process 7 on a machine with these control groups."""
    process = folder / "proc" / "7"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(groups)
    for name, content in files.items():
        file = folder / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return CgroupMemory.of(7, ID, processes=folder / "proc", cgroups=folder / "cgroup")


def test_version_1_tells_memory(tmp_path: Path) -> None:
    gauge = a_machine(
        tmp_path,
        f"9:name=systemd:/docker/{ID}\n4:cpu,memory:/docker/{ID}\n0::/docker/{ID}\n",
        {
            f"memory/docker/{ID}/memory.max_usage_in_bytes": "7340032\n",
            f"memory/docker/{ID}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        },
    )

    gauge.look()

    assert (gauge.peak, gauge.kills) == (7340032, 2)


def test_version_2_tells_memory(tmp_path: Path) -> None:
    gauge = a_machine(
        tmp_path,
        f"0::/system.slice/docker-{ID}.scope\n",
        {
            f"system.slice/docker-{ID}.scope/memory.peak": "7340032\n",
            f"system.slice/docker-{ID}.scope/memory.events": "low 0\nhigh 0\nmax 31\noom 1\noom_kill 1\n",
        },
    )

    gauge.look()

    assert (gauge.peak, gauge.kills) == (7340032, 1)


def test_a_kernel_without_a_peak_still_tells_kills(tmp_path: Path) -> None:
    events = {f"docker-{ID}.scope/memory.events": "oom_kill 1\n"}
    gauge = a_machine(tmp_path, f"0::/docker-{ID}.scope\n", events)

    gauge.look()

    assert (gauge.peak, gauge.kills) == (None, 1)


@pytest.mark.parametrize("groups", ["0::/user.slice\n", "4:memory:/docker/another\n", "", "rubbish\n", "4:memory\n"])
def test_a_process_that_is_somebody_elses_tells_nothing(tmp_path: Path, groups: str) -> None:
    gauge = a_machine(tmp_path, groups, {"user.slice/memory.events": "oom_kill 1\n", "user.slice/memory.peak": "1\n"})

    gauge.look()

    assert (gauge.peak, gauge.kills) == (None, 0)


def test_a_process_that_has_ended_tells_nothing(tmp_path: Path) -> None:
    gauge = CgroupMemory.of(7, ID, processes=tmp_path, cgroups=tmp_path)

    gauge.look()

    assert gauge.peak is None


def test_the_last_look_is_kept_when_the_group_is_gone(tmp_path: Path) -> None:
    file = f"memory/docker/{ID}/memory.max_usage_in_bytes"
    gauge = a_machine(tmp_path, f"4:memory:/docker/{ID}\n", {file: "7340032\n"})
    gauge.look()
    (tmp_path / "cgroup" / file).unlink()

    gauge.look()

    assert gauge.peak == 7340032
