"""The packet filter's programs: how they are called."""

import asyncio
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from invoker.testing.containers import PATIENCE
from invoker_firewall.programs import FilterFailed, Programs, in_use
from invoker_firewall.rules import Family
from tests.plugins.firewall.filters import rules

LOCK = Path("/run/xtables.lock")
"""Of all programs that change the older kind of tables."""


def somebody_waits() -> bool:
    """Whether a process waits for the lock."""
    inode = f":{LOCK.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.fixture
def lock() -> Iterator[TextIO]:
    """The lock, open and not yet taken."""
    with LOCK.open("a") as opened:
        yield opened


@pytest.mark.parametrize("kind", ["legacy"], indirect=True)
@pytest.mark.usefixtures("kind")
async def test_a_change_waits_for_others_that_are_at_the_table(lock: TextIO) -> None:
    programs = await in_use(Family.IPV4)
    fcntl.flock(lock, fcntl.LOCK_EX)
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENCE):
        change = tasks.create_task(programs.apply("*filter\n:OURS -\nCOMMIT\n"))
        while not somebody_waits():
            await asyncio.sleep(0.01)
        before = rules()
        fcntl.flock(lock, fcntl.LOCK_UN)
        await change

    assert ":OURS - " not in [f"{line} "[:8] for line in before]

    assert ":OURS - " in [f"{line} "[:8] for line in rules()]


async def test_a_program_is_in_a_session_of_its_own_and_has_no_settings_of_ours(tmp_path: Path) -> None:
    """Else Ctrl-C on a terminal would end it too, in the middle of what it does."""
    program = tmp_path / "restore"
    program.write_text("#!/bin/sh\nread -r _ _ _ _ _ session _ < /proc/$$/stat\necho $$ $session $0 $* >&2\nexit 1\n")
    program.chmod(0o700)

    with pytest.raises(FilterFailed) as failed:
        await Programs(str(program), str(program)).apply("")

    process, session, *command = failed.value.reason.split()
    assert process == session
    assert command == [str(program), "--noflush", "-w", "10"]
