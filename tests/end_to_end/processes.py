"""Whether processes are there. Asked of the kernel: a number alone may have changed hands."""

import asyncio
import os
import select
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

PATIENCE_MS = 30_000


async def gone(pids: Iterable[int]) -> None:
    """Wait until all of these have ended; fails if one goes on."""
    with held(pids) as holds:
        await asyncio.to_thread(wait_for, holds)


def wait_for(holds: dict[int, int]) -> None:
    """Wait until the processes of these descriptors have ended. Not for use on an event loop."""
    for pid, descriptor in holds.items():
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(PATIENCE_MS), f"process {pid} is still there: {psutil.Process(pid).cmdline()}"


@contextmanager
def held(pids: Iterable[int]) -> Iterator[dict[int, int]]:
    """Hold processes by descriptors, so that whatever becomes of them, nobody else is taken for them."""
    with ExitStack() as stack:
        found = {}
        for pid in pids:
            try:
                found[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, found[pid])
        yield found


def descendants(pid: int) -> list[int]:
    """Return all processes below one."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def of_actions(work: Path) -> list[int]:
    """Return the processes that have their home below `work`: everything that containers started, whoever owns it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME", "").startswith(f"{work}/"):
                found.append(process.pid)
        except psutil.Error:  # it ended, or is somebody else's
            continue
    return found
