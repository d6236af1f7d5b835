"""Control groups: of version 1 where the machine has them, of both on directories that look like them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from invoker import Settings
from invoker_process.cgroups import LEAF, ContainerGroup, ControlGroups, NoControlGroups, delegated, members, remove
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from tests.plugins.runtime_process.actions import DAEMONS, entries, loaded, run, supervisor_of, watching

MB = 1 << 20
INVOKER = 4_000_001
SHELL = 4_000_002
"""Numbers above every system's largest."""

MOUNTS = {
    "v1": "30 25 0:26 / {root}/memory rw,relatime - cgroup cgroup rw,memory\n",
    "v2": "31 25 0:27 / {root}/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n",
    "inside": "30 25 0:26 /docker/4f {root}/memory ro,relatime - cgroup cgroup rw,memory\n",
}


class System:
    """A `/proc` and a tree of groups that are plain files."""

    def __init__(self, root: Path, mounts: str, lines: str) -> None:
        self.root = root
        self.proc = root / "proc"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "mountinfo").write_text(mounts.format(root=root))
        (self.proc / "self" / "cgroup").write_text(lines)

    def group(self, path: str, **files: str) -> Path:
        group = self.root / path
        group.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (group / name.replace("__", ".")).write_text(content)
        return group


@pytest.fixture
def unified(tmp_path: Path) -> System:
    """Version 2, delegated to an invoker that is alone in its group."""
    system = System(tmp_path, MOUNTS["v2"], "0::/system.slice/invoker.service\n")
    system.group(
        "unified/system.slice/invoker.service",
        cgroup__controllers="cpu memory pids\n",
        cgroup__subtree_control="",
        cgroup__procs=f"{INVOKER}\n{os.getpid()}\n",
    )
    return system


def read(path: Path) -> str:
    return path.read_text().strip()


def test_version_2_gives_each_container_a_group_that_is_killed_as_one(unified: System) -> None:
    base = unified.root / "unified/system.slice/invoker.service"

    groups = delegated("functions-invoker-1", INVOKER, unified.proc)
    groups.make(7, 128 * MB, 64)

    assert groups.paths[0] == base / "functions-invoker-1"
    assert groups.limits_processes
    assert read(base / "cgroup.subtree_control") == "+memory +pids"
    assert read(groups.paths[0] / "cgroup.subtree_control") == "+memory +pids"
    group = groups.paths[0] / "7"
    assert read(group / "memory.max") == str(128 * MB)
    assert read(group / "pids.max") == "64"
    assert read(group / "memory.swap.max") == "0"
    assert read(group / "memory.oom.group") == "1"


def test_version_2_without_the_controller_of_processes_limits_memory(unified: System) -> None:
    base = unified.group("unified/system.slice/invoker.service", cgroup__controllers="cpu memory\n")

    groups = delegated("functions-invoker-1", INVOKER, unified.proc)
    group = groups.make(7, 128 * MB, 64)

    assert not groups.limits_processes
    assert read(base / "cgroup.subtree_control") == "+memory"
    assert not (groups.paths[0] / "7" / "pids.max").exists()
    assert not group.refused()


def test_version_2_moves_the_invoker_out_of_the_way(unified: System) -> None:
    delegated("functions-invoker-1", INVOKER, unified.proc)

    leaf = unified.root / "unified/system.slice/invoker.service" / LEAF
    assert (leaf / "cgroup.procs").exists()


def test_version_2_finds_the_group_again_after_the_invoker_moved(unified: System) -> None:
    base = unified.root / "unified/system.slice/invoker.service"
    (unified.proc / "self" / "cgroup").write_text(f"0::/system.slice/invoker.service/{LEAF}\n")
    (base / "cgroup.procs").write_text("")

    groups = delegated("functions-invoker-2", INVOKER, unified.proc)

    assert groups.paths[0] == base / "functions-invoker-2"


def test_version_2_tells_of_kills_of_the_peak_and_of_processes_that_were_refused(unified: System) -> None:
    groups = delegated("functions-invoker-1", INVOKER, unified.proc)
    group = groups.make(7, 128 * MB, 64)
    files = groups.paths[0] / "7"
    (files / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\noom_group_kill 0\n")
    (files / "pids.events").write_text("max 0\n")
    before = (group.exhausted(), group.peak(), group.refused())

    (files / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 1\n")
    (files / "memory.peak").write_text(f"{127 * MB}\n")
    (files / "pids.events").write_text("max 3\n")

    assert before == (False, None, False)
    assert (group.exhausted(), group.peak(), group.refused()) == (True, 127 * MB, True)


def test_version_2_is_left_alone_where_others_are_in_the_group(unified: System) -> None:
    base = unified.root / "unified/system.slice/invoker.service"
    (base / "cgroup.procs").write_text(f"{INVOKER}\n{SHELL}\n")

    with pytest.raises(NoControlGroups, match="processes that are not the invoker's"):
        delegated("functions-invoker-1", INVOKER, unified.proc)

    assert not (base / LEAF).exists()


def test_version_2_without_the_memory_controller_is_of_no_use(unified: System) -> None:
    unified.group("unified/system.slice/invoker.service", cgroup__controllers="cpu pids\n")

    with pytest.raises(NoControlGroups, match="no memory controller"):
        delegated("functions-invoker-1", INVOKER, unified.proc)


def test_version_1_gives_each_container_a_group_below_the_invokers_own(tmp_path: Path) -> None:
    system = System(tmp_path, MOUNTS["v1"], "4:memory:/user/zoe\n0::/\n")
    own = system.group("memory/user/zoe")

    groups = delegated("functions-invoker-1", INVOKER, system.proc)

    assert groups.paths == [own / "functions-invoker-1"]
    assert groups.paths[0].is_dir()
    assert not groups.limits_processes


def test_version_1_limits_processes_in_another_tree(tmp_path: Path) -> None:
    mounts = MOUNTS["v1"] + MOUNTS["v1"].replace("memory", "pids")
    system = System(tmp_path, mounts, "4:memory:/user/zoe\n5:pids:/user\n0::/\n")
    own = [system.group("memory/user/zoe"), system.group("pids/user")]

    groups = delegated("functions-invoker-1", INVOKER, system.proc)

    assert groups.paths == [group / "functions-invoker-1" for group in own]
    assert groups.limits_processes


def test_version_1_does_without_a_tree_of_processes_that_is_not_ours(tmp_path: Path) -> None:
    mounts = MOUNTS["v1"] + MOUNTS["v1"].replace("memory", "pids")
    system = System(tmp_path, mounts, "4:memory:/user/zoe\n5:pids:/user\n0::/\n")
    own = system.group("memory/user/zoe")

    groups = delegated("functions-invoker-1", INVOKER, system.proc)

    assert groups.paths == [own / "functions-invoker-1"]
    assert not groups.limits_processes


def test_a_part_of_a_hierarchy_is_of_no_use(tmp_path: Path) -> None:
    system = System(tmp_path, MOUNTS["inside"], "4:memory:/docker/4f\n")

    with pytest.raises(NoControlGroups, match="no control groups"):
        delegated("functions-invoker-1", INVOKER, system.proc)


def test_a_group_that_can_not_be_made_is_said_with_its_reason(tmp_path: Path) -> None:
    system = System(tmp_path, MOUNTS["v1"], "4:memory:/user/zoe\n")

    with pytest.raises(NoControlGroups, match="functions-invoker-1: No such file or directory"):
        delegated("functions-invoker-1", INVOKER, system.proc)


def test_a_system_without_control_groups_is_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(NoControlGroups, match="No such file or directory"):
        delegated("functions-invoker-1", INVOKER, tmp_path)


# --- on this machine ------------------------------------------------------------------------------------------


@pytest.fixture
def version1() -> Iterator[ControlGroups]:
    """Groups of this machine's version 1, where the tests may make some."""
    if not Path("/sys/fs/cgroup/memory").exists():
        pytest.skip("control groups are of version 2")
    try:
        groups = delegated(f"functions-invoker-test-{os.getpid()}", INVOKER)
    except NoControlGroups as error:
        pytest.skip(f"no memory group of version 1 can be made here: {error}")
    yield groups
    for path in groups.paths:
        remove(path)
        assert not path.exists()


def in_group(group: ContainerGroup, code: str) -> subprocess.Popen[bytes]:
    """Start a Python program in a group; it has no threads when it enters."""
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=group.enter)  # noqa: PLW1509


def test_the_kernel_keeps_a_group_within_its_limit(version1: ControlGroups) -> None:
    group = version1.make(1, 32 * MB, 64)
    before = group.exhausted()

    with in_group(group, "kept = []\nwhile True: kept.append(bytearray(1 << 20))") as process:
        process.wait()

    assert not before
    assert process.returncode == -9
    assert group.exhausted()
    assert 30 * MB < (group.peak() or 0) <= 32 * MB
    assert not group.refused()
    group.close()


def test_the_kernel_refuses_processes_above_the_limit(version1: ControlGroups) -> None:
    if not version1.limits_processes:
        pytest.skip("processes can't be limited here")
    group = version1.make(1, 32 * MB, 8)

    with in_group(group, FORKS) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"7 children, then Resource temporarily unavailable"

    assert group.refused()
    assert not group.exhausted()
    group.close()


FORKS = """
import os, signal
children = []
try:
    for _ in range(100):
        child = os.fork()
        if child == 0:
            os.close(1)
            signal.pause()
        children.append(child)
except OSError as error:
    print(len(children), "children, then", error.strerror, end="", flush=True)
for child in children:
    os.kill(child, 9)
    os.wait()
"""


def test_processes_of_a_group_are_found_wherever_they_are(version1: ControlGroups) -> None:
    group = version1.make(1, 32 * MB, 64)

    with in_group(group, "input()") as process:
        assert [members(path) for path in version1.paths] == [{process.pid}] * len(version1.paths)
    assert members(version1.paths[0]) == set()
    group.close()


async def test_a_runtime_leaves_no_group_behind(tmp_path: Path, version1: ControlGroups) -> None:
    settings = Settings.of(ProcessSettings(work_dir=tmp_path))
    async with process_runtime(settings) as runtime:
        paths = [path.with_name(entries(tmp_path)[0].name) for path in version1.paths]
        container = await loaded(runtime, DAEMONS)
        grouped = [members(path) for path in paths]
        pids = set((await run(container)).values())

        assert all(found <= pids for found in grouped)
        assert [members(path) for path in paths] == [pids] * len(paths)

    assert [path for path in paths if path.exists()] == []


async def test_the_groups_of_a_killed_supervisor_are_removed_by_the_next(
    tmp_path: Path, version1: ControlGroups
) -> None:
    async with process_runtime(Settings.of(ProcessSettings(work_dir=tmp_path))) as runtime:
        paths = [path.with_name(entries(tmp_path)[0].name) for path in version1.paths]
        container = await loaded(runtime, DAEMONS)
        with watching((await run(container)).values()) as watch:
            os.kill(supervisor_of(runtime), signal.SIGKILL)
            await container.remove()

            assert watch.running() == set()  # also the daemon without an environment: it is in the group
        assert [path for path in paths if path.exists()] == []
