"""Processes and their memory, looked at while they live."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from invoker_process.warden import processes
from invoker_process.warden.processes import Processes, ProcFS, PSUtil, tree

MB = 1 << 20
FAMILY = """
import os, signal, sys
kept = bytearray(os.urandom(1 << 20)) * 40
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        print("there", flush=True)
        signal.pause()
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[ProcFS, PSUtil])
def eyes(request: pytest.FixtureRequest) -> Processes:
    kind: Callable[[], Processes] = request.param
    return kind()


@pytest.fixture
def family() -> Iterator[int]:
    """A process that keeps 40 MB and shares them with its two children."""
    command = [sys.executable, "-I", "-S", "-c", FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        for _ in range(3):
            assert parent.stdout.readline() == b"there\n"
        members = list(tree(ProcFS(), parent.pid))
        yield parent.pid
        for pid in members:
            os.kill(pid, 9)


def test_a_tree_is_seen_whole(eyes: Processes, family: int) -> None:
    assert len(list(tree(eyes, family))) == 3
    assert len(eyes.children(family)) == 2


def test_what_is_shared_is_resident_in_each_and_proportional_once(eyes: Processes, family: int) -> None:
    members = list(tree(eyes, family))

    resident = sum(map(eyes.resident, members))
    proportional = sum(map(eyes.proportional, members))

    assert resident > 120 * MB
    assert proportional < 70 * MB


def test_what_is_gone_has_no_children_and_no_memory(eyes: Processes) -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()

    assert (eyes.children(process.pid), eyes.resident(process.pid), eyes.proportional(process.pid)) == ([], 0, 0)


MANY = """
import os, sys
for _ in range(1000):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print("there", flush=True)
sys.stdin.read()
"""


def test_a_long_list_of_children_is_read_to_its_end() -> None:
    command = [sys.executable, "-I", "-S", "-c", MANY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"there\n"

        children = ProcFS().children(parent.pid)

        parent.communicate()
    assert len(children) == 1000


def test_linux_is_looked_at_directly() -> None:
    assert isinstance(processes.visible(), ProcFS)
