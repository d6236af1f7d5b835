"""The packet filter's own programs: they know both kinds of tables, the older and nftables.

The machine has one kind in use, and rules in the other would be judged beside it, at a moment nobody planned. Which
one is told by Docker's chain; where there is none, the machine's default is taken.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Final

import msgspec

from invoker_firewall import host
from invoker_firewall.rules import Family, Line
from invoker_firewall.table import FORWARDED_BY_DOCKER, Table

_PATIENCE: Final = 30.0
"""Seconds for one call."""
_LOCK_WAIT: Final = "10"
"""Seconds to wait for other programs that change the older kind of tables."""
_KINDS: Final = ("", "-nft", "-legacy")
_LONGEST_REASON: Final = 300


class FilterFailed(Exception):
    """Rules can't be read or changed; `reason` is in the words of `source`, mostly a program."""

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(f"{source}: {reason}")


class Programs(msgspec.Struct, frozen=True):
    """How one family's table is read and changed: paths of programs."""

    save: str
    restore: str

    async def read(self, line: Line) -> Table:
        """Return a table as it is.

        Raises:
            FilterFailed: it can't be read.
        """
        return Table.read(line, await _run(self.save, "-t", line.value))

    async def apply(self, transaction: str) -> None:
        """Change a table, all or nothing.

        Raises:
            FilterFailed: nothing was changed.
        """
        await _run(self.restore, "--noflush", "-w", _LOCK_WAIT, text=transaction)


async def in_use(family: Family) -> Programs:
    """Return the programs for the kind of tables that Docker uses, or else the machine's default.

    Raises:
        FilterFailed: there are none on PATH, or none that works.
    """
    usable: Programs | None = None
    failure: FilterFailed | None = None
    for programs in _installed(family):
        try:
            table = await programs.read(Line.FIRST)
        except FilterFailed as error:
            failure = failure or error
            continue
        if FORWARDED_BY_DOCKER in table.chains:
            return programs
        usable = usable or programs
    if usable is None:
        raise failure or FilterFailed(f"{family.program}-restore", "not found on PATH: install iptables")
    return usable


def _installed(family: Family) -> Iterator[Programs]:
    for kind in _KINDS:
        if kind == "-legacy" and not host.legacy_table_in_use(family):
            continue
        save = shutil.which(f"{family.program}{kind}-save")
        restore = shutil.which(f"{family.program}{kind}-restore")
        if save is not None and restore is not None:
            yield Programs(save, restore)


async def _run(program: str, *arguments: str, text: str = "") -> str:
    """Run a program and return what it prints.

    It is in a session of its own: a terminal's Ctrl-C, which makes the invoker take its rules away, doesn't stop it.
    """
    with tempfile.TemporaryFile() as given:  # no pipe: a program that ends before it has read all would break it
        given.write(text.encode())
        given.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=given,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
        except OSError as error:
            raise FilterFailed(program, error.strerror or str(error)) from error
    try:
        async with asyncio.timeout(_PATIENCE):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise FilterFailed(program, f"no answer within {_PATIENCE:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise FilterFailed(program, _reason(err) or f"ended with {process.returncode}")
    return out.decode(errors="replace")


def _reason(err: bytes) -> str:
    """Return what a program complained of; it speaks of the other kind of tables in lines that begin with `#`."""
    lines = [line.strip() for line in err.decode(errors="replace").splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("#"))[:_LONGEST_REASON]
