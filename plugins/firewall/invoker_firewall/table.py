"""One nftables table, all of it ours: put, compared with what was put, taken away. Nothing else is read or changed."""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from typing import Final

from invoker.entities.node import Node
from invoker_firewall.ruleset import HOOKS, Ruleset

_PATIENCE: Final = 30.0
"""Seconds for one call."""
_LONGEST: Final = 300
"""Characters of what a log line repeats."""
_UNSAID: Final = re.compile(r"[^A-Za-z0-9_.:/ -]", re.ASCII)
_COUNTED: Final = re.compile(r"packets (\d+) bytes \d+")
_HANDLE: Final = "# handle"
"""Behind whatever is in a table `nft` lists its number, which nothing gets a second time."""
_ABSENT: Final = "No such file or directory"
_NEEDS: Final = "it takes nft 1.0, and a kernel with nf_tables, nft_ct, nft_fib_inet and nft_reject_inet"


class FilterFailed(Exception):
    """Rules can't be read or changed; `reason` is in the words of `source`, mostly the program `nft`."""

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(f"{source}: {reason}")


class Table:
    """The table of an identity: two invokers leave each other's alone, and what a killed one left is replaced."""

    def __init__(self, node: Node) -> None:
        digest = hashlib.sha256(f"{node.id}/{node.unique_name or ''}".encode()).hexdigest()[:8]
        self.name = f"inet invoker_{digest}"
        self.put: Ruleset | None = None
        """What we last made it."""
        self.rejected = 0
        """Packets, since then and as of the last look."""
        self._seen: Sequence[str] = ()
        """What we last made it, in the words of `nft`."""
        self._remark = _UNSAID.sub("?", f"functions-invoker {node}")[:80]

    async def check(self, wanted: Ruleset) -> None:
        """Have the kernel say whether it would take the rules; nothing is changed.

        Raises:
            FilterFailed: it wouldn't, or the table couldn't be looked at.
        """
        await self._list()
        await _nft("--check", "--file", "-", text=self._replacing(wanted))

    async def keep(self, wanted: Ruleset) -> str:
        """Have the table be like this; return what somebody has changed since it was put.

        Raises:
            FilterFailed: it can't be said how it is, or it can't be replaced.
        """
        now = await self._list()
        changed = self.put is not None and now != self._seen
        told = _differences(self._seen, now) if changed else ""
        if changed or wanted != self.put:
            await _nft("--file", "-", text=self._replacing(wanted))
            seen = await self._list()
            asked = 2 + len(wanted) + sum(map(len, wanted.values()))  # the table itself, a counter, chains, and rules
            if sum(_HANDLE in line for line in seen) != asked:
                raise FilterFailed("nft", "the rules it took are not there")
            self.put, self._seen = wanted, seen
        return told

    async def remove(self) -> None:
        """Take it away, whichever life it is from.

        Raises:
            FilterFailed: it may still be there.
        """
        await _nft("--file", "-", text=f"add table {self.name}\ndelete table {self.name}\n")

    def _replacing(self, wanted: Ruleset) -> str:
        """Return one transaction: at no moment is a packet judged by half of the rules, or by none."""
        lines = [f"add table {self.name}", f"delete table {self.name}", f"table {self.name} {{"]
        lines += [f'comment "{self._remark}"', "counter rejected { }"]
        for name, rules in wanted.items():
            hook = [f"type filter hook {name} priority filter - 10; policy accept;"] if name in HOOKS else []
            lines += [f"chain {name} {{", *hook, *rules, "}"]
        return "\n".join((*lines, "}\n"))

    async def _list(self) -> Sequence[str]:
        """Return what there is, line by line; nothing where there is no table."""
        try:
            listing = await _nft("--handle", "list", "table", *self.name.split())
        except FilterFailed as error:
            if _ABSENT in error.reason:
                return ()
            raise
        self.rejected = sum(map(int, _COUNTED.findall(listing)))
        return [line.strip() for line in _COUNTED.sub("", listing).splitlines()]


def _differences(before: Sequence[str], now: Sequence[str]) -> str:
    if not now:
        return "it is gone"
    sides = (("with", now, set(before)), ("without", before, set(now)))
    told = "; ".join(f"{what} {line!r}" for what, lines, others in sides for line in lines if line not in others)
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…"


async def _nft(*arguments: str, text: str = "") -> str:
    """Run `nft` and return what it prints.

    It is in a session of its own: a terminal's Ctrl-C, which makes the invoker take its rules away, doesn't stop it.
    """
    program = shutil.which("nft")
    if program is None:
        raise FilterFailed("nft", "not found on PATH: install nftables")
    with tempfile.TemporaryFile() as given:  # no pipe: of one that a program leaves unread uvloop makes a RuntimeError
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
        raise FilterFailed("nft", f"no answer within {_PATIENCE:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                process.kill()
            await process.wait()
    if process.returncode != 0:
        told = " ".join(err.decode(errors="replace").replace("^", " ").split())[:_LONGEST]
        reason = told or f"ended with {process.returncode}"
        raise FilterFailed("nft", f"{reason}; {_NEEDS}" if text else reason)
    return out.decode(errors="replace")
