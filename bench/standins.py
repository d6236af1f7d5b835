"""Everything around the line of an invocation, doing nothing: stores, containers, a socket, a log."""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

from invoker.config import Settings
from invoker.contracts import ActivationStore, Container, ContainerRuntime, FunctionStore, Output
from invoker.entities.activation import Activation
from invoker.entities.container import ContainerSpec, ContainerState, Reply, Stream
from invoker.entities.function import Function, FunctionRef
from invoker.entities.runtimes import Runtime, Runtimes
from invoker.sentinel import SENTINEL_LINE
from invoker_attached_logs.follower import AttachedLogs

RUNTIME: Final = Runtime(kind="python:3", family="python", default=True)


class Marks:
    """When the line passed which stand-in, and what all stretches between them have taken."""

    def __init__(self) -> None:
        self.taken: dict[str, array[int]] = {}
        """Nanoseconds of each stretch of each walk."""
        self._last = 0

    def start(self) -> None:
        """Begin a walk."""
        self._last = time.perf_counter_ns()  # a tenth of the price of CPU time

    def pass_by(self, stretch: str) -> None:
        """End a stretch and begin the next."""
        now = time.perf_counter_ns()
        self.taken.setdefault(stretch, array("q")).append(now - self._last)
        self._last = time.perf_counter_ns()


class StandInContainer(Container):
    """A container that has answered before it was asked."""

    name = "wsk0_1a2b3c4d_1"

    def __init__(self, output: Output, marks: Marks) -> None:
        self._output = output
        self._marks = marks

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ARG002, ASYNC109 (a contract)
        """See `Container`."""
        if path == "/run":
            self._marks.pass_by("receipt to /run: function, limits, lease, body")
            self._output.write(Stream.STDOUT, SENTINEL_LINE)
            self._output.write(Stream.STDERR, SENTINEL_LINE)
            self._marks.pass_by("sentinels")
        return Reply(200, b'{"n":1000000000}', 16)

    async def inspect(self) -> ContainerState:
        """See `Container`."""
        return ContainerState(running=True)

    async def remove(self) -> None:
        """See `Container`."""


class StandInStore(ActivationStore, FunctionStore):
    """Both stores: one function, and records that nobody wants."""

    def __init__(self, function: Function) -> None:
        self._function = function

    async def put_many(self, batch: Sequence[Activation]) -> None:
        """See `ActivationStore`."""

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:  # noqa: ARG002 (there is only one)
        """See `FunctionStore`."""
        return self._function


class StandInRuntime(ContainerRuntime):
    """Has containers at once."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`."""
        return Runtimes([RUNTIME])

    async def create(self, spec: ContainerSpec, output: Output) -> StandInContainer:  # noqa: ARG002 (all are alike)
        """See `ContainerRuntime`."""
        return StandInContainer(output, self._marks)


class StandIns:
    """See `Plugins`: every plugin, and the objects that they open."""

    def __init__(self, function: Function, marks: Marks) -> None:
        self.clients = _opening(None)
        self.activation_store = self.function_store = _opening(StandInStore(function))
        self.container_runtime = _opening(StandInRuntime(marks))
        self.log_extractor = _opening(AttachedLogs("openwhisk"))
        self.admissions = self.observers = lambda _: iter(())


def _opening(part: object) -> Callable[[Settings], AbstractAsyncContextManager[object]]:
    """Return what opens a part of which there is one."""
    return lambda _: nullcontext(part)


class Socket(asyncio.Transport):
    """A transport that takes everything, and tells when an answer is whole."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.last = b""
        self.answered = asyncio.Event()
        self._marks = marks

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return False

    def pause_reading(self) -> None:
        """Nothing is read here: all is given."""

    def resume_reading(self) -> None:
        """Likewise."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`."""
        self.last = bytes(data)
        if self.last.startswith(b"HTTP/1.1 200"):
            self._marks.pass_by("request to receipt: HTTP, admission, task")
        else:
            self._marks.pass_by("reply to answer: logs, outcome, record, acknowledgement")
            self.answered.set()


class Writer:
    """A log that takes everything."""

    text = False

    def line(self, line: bytes) -> None:
        """See `LogWriter`."""
