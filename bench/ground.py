"""What actions run on, as the benchmarks see it: child processes here, containers in `bench.docker`."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from bench import machine
from bench.census import ChildrenCensus
from bench.floor import Proxies, proxy_command
from invoker.entities.function import Function

Tables: TypeAlias = Mapping[str, Mapping[str, object]]
"""Sections of the settings; the top level's name is empty."""

Address: TypeAlias = tuple[str, int]

PROXIES: Final = ("python", "instant", "instant-late")
"""Kinds of action proxy; see `instant.c` for the last two."""
INSTANT_SOURCE: Final = Path(__file__).with_name("instant.c")


class Runtime(Protocol):
    """The container runtime of one invoker."""

    outlives: bool
    """Whether its containers outlive an invoker that is killed; the next life removes them."""
    direct_is: str
    """What `direct` provides, in words."""

    @property
    def helpers(self) -> tuple[int, ...]:
        """Processes that belong to the invoker, beside its own."""
        ...

    def settings(self) -> Tables:
        """Return what the invoker needs to know of it."""
        ...

    def attend(self, pid: int) -> None:
        """Learn that the invoker runs."""
        ...

    def containers(self) -> int:
        """Return how many containers there are, in whatever state."""
        ...

    def census(self) -> "AbstractContextManager[Census]":
        """Count containers from now on."""
        ...

    def direct(self, functions: Sequence[Function]) -> AbstractContextManager[Sequence[Address]]:
        """Provide an action proxy for each function, initialised, that the invoker has nothing to do with."""
        ...

    def left(self) -> Sequence[object]:
        """Return what there still is, after the invoker's end."""
        ...


class Census(Protocol):
    """Containers that are counted."""

    @property
    def most(self) -> int:
        """How many there were at one time."""
        ...

    @property
    def created(self) -> int:
        """How many were created."""
        ...


class Ground(Protocol):
    """Where invokers are tried."""

    name: str
    """Of the runtime plugin."""

    def runtime(self, where: Path, proxy: str = "python") -> Runtime:
        """Return the runtime of an invoker that has the folder `where` for itself."""
        ...

    def bare_removal(self, count: int) -> float | None:
        """Return the seconds that it takes to remove so many containers without an invoker; `None` where that is none.

        They are removed several at a time.
        """
        ...


def compiled(proxy: str, where: Path, *options: str) -> Path:
    """Compile the action proxy that answers at once; its name says what it does."""
    program = where / proxy
    if not program.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            raise SystemExit(f"--proxy {proxy} needs a C compiler (cc)")
        subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", *options, "-o", program, INSTANT_SOURCE], check=True)
    return program


def interpreter(proxy: str, where: Path) -> Path:
    """Return what runs Python actions: Python itself, or the C program that answers at once in its place."""
    if proxy == "python":
        return Path(getattr(sys, "_base_executable", None) or sys.executable)
    return compiled(proxy, where)


class ProcessGround:
    """Child processes."""

    name = "process"

    def runtime(self, where: Path, proxy: str = "python") -> "MeasuredProcesses":
        """See `Ground`."""
        return MeasuredProcesses(where, interpreter(proxy, where))

    def bare_removal(self, count: int) -> float | None:  # noqa: ARG002 (a contract)
        """See `Ground`."""
        return None


class MeasuredProcesses:
    """Action proxies below a supervisor, which is pinned to the other core, and they with it."""

    outlives = False
    direct_is = "the same calls straight to action proxies of the same kind"

    def __init__(self, where: Path, program: Path) -> None:
        self._where = where
        self._program = program
        self._supervisor = 0

    @property
    def helpers(self) -> tuple[int, ...]:
        """See `Runtime`."""
        return (self._supervisor,)

    def settings(self) -> Tables:
        """See `Runtime`."""
        return {"process": {"work_dir": str(self._where), "python": str(self._program)}}

    def attend(self, pid: int) -> None:
        """See `Runtime`."""
        (self._supervisor,) = machine.children(pid)
        machine.pin(self._supervisor, machine.LOAD_CORE)

    def containers(self) -> int:
        """See `Runtime`."""
        return len(machine.children(self._supervisor))

    def census(self) -> ChildrenCensus:
        """See `Runtime`."""
        return ChildrenCensus(self._supervisor)

    @contextmanager
    def direct(self, functions: Sequence[Function]) -> Iterator[Sequence[Address]]:
        """See `Runtime`."""
        with Proxies(proxy_command(self._program), functions) as proxies:
            yield [("127.0.0.1", port) for port in proxies.ports]

    def left(self) -> Sequence[object]:
        """See `Runtime`: each process has the folder on its command line or in its HOME."""
        return machine.marked(str(self._where))
