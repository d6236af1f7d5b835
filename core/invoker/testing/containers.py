"""Containers in memory, for tests of what uses them: scripted replies, output that the test says, and a kill switch.

What a real container could not bear, such as a request while it is paused, fails the test even if nobody looks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol, cast

import pytest

from invoker.contracts import Container, ContainerRuntime, Output
from invoker.entities.container import Body, ContainerSpec, ContainerState, Reply, Stream
from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import ContainerError, Lost, PostTimedOut, StartFailed, Unreachable
from invoker.sentinel import SENTINEL_LINE

KINDS: Final = Runtimes([Runtime(kind="python:3", family="python", default=True, concurrent=True)])
SIGKILL: Final = 9
PATIENCE: Final = 60.0
"""Seconds for which output is waited for."""


class Script(Protocol):
    """What a container does with a request. It may say something, wait, die, or raise what a container would."""

    def __call__(self, container: "FakeContainer", path: str, body: bytes, /) -> Awaitable[Reply]:
        """Return the reply."""
        ...


def reply(body: bytes, status: int = 200) -> Reply:
    """Return a whole reply."""
    return Reply(status, body, len(body))


def answering(body: bytes = b"{}", status: int = 200, *, output: bytes = b"") -> Script:
    """Return a script that takes every `/init`, and answers every `/run` like this, with output and sentinels."""

    async def script(container: "FakeContainer", path: str, _: bytes) -> Reply:
        if path == "/init":
            return reply(b'{"ok":true}')
        if output:
            container.say(output)
        container.say(SENTINEL_LINE)
        container.say(SENTINEL_LINE, Stream.STDERR)
        return reply(body, status)

    return script


class FakeContainer(Container):
    """A container that a test looks into. It keeps the contract, and can be paused."""

    pausable = True

    def __init__(self, spec: ContainerSpec, output: Output, script: Script, on_gone: Callable[[str], None]) -> None:
        self.spec = spec
        self.output = output
        self.script = script
        """May be replaced at any time."""
        self.requests: list[tuple[str, bytes]] = []
        """Path and body of all that were sent, in order."""
        self.removed = False
        self.paused = False
        self.pauses = 0
        """Times that it was paused."""
        self.stood = 0.0
        """Seconds for which it has been paused, of the event loop's clock."""
        self.pause_failure: ContainerError | None = None
        """What `pause` raises, while it is set; the container goes on running."""
        self.resume_failure: ContainerError | None = None
        """What `resume` raises, while it is set; the container stays paused."""
        self.pause_gate = _open_gate()
        """`pause` waits while it is not set."""
        self.resume_gate = _open_gate()
        """`resume` waits while it is not set."""
        self._pausing = False
        self._paused_at = 0.0
        self._state = ContainerState(running=True)
        self._limits: set[asyncio.Timeout] = set()
        """Of requests in flight."""
        self._on_gone = on_gone

    @property
    def name(self) -> str:
        """See `Container`."""
        return self.spec.name

    async def post(self, path: str, body: Body, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109 (a contract)
        """See `Container`. Asks the script."""
        if not self._state.running:
            raise Unreachable(f"the container {self.name} is gone")
        if self.paused or self._pausing:
            pytest.fail(f"{path} was sent to {self.name}, which is paused, or about to be")
        sent = cast("bytes", body)  # not a copy: of 48 MB it would hold the loop
        self.requests.append((path, sent))
        try:
            async with asyncio.timeout(timeout) as patience:
                self._limits.add(patience)
                try:
                    answer = await self.script(self, path, sent)
                finally:
                    self._limits.discard(patience)
        except TimeoutError:
            if self._state.running:
                raise PostTimedOut(timeout) from None
        else:
            if self._state.running:
                return Reply(answer.status, answer.body[:limit], answer.length)
        raise Lost(self._state)

    async def inspect(self) -> ContainerState:
        """See `Container`."""
        return self._state

    async def pause(self) -> None:
        """See `Container`."""
        if self.paused or self._pausing or self._limits:
            pytest.fail(f"{self.name} can't be paused: it is already, or it serves {len(self._limits)} requests")
        self._pausing = True
        try:
            await self.pause_gate.wait()
        finally:
            self._pausing = False
        self._check_alive()
        if self.pause_failure is not None:
            raise self.pause_failure
        self.paused = True
        self.pauses += 1
        self._paused_at = asyncio.get_running_loop().time()

    async def resume(self) -> None:
        """See `Container`."""
        if not self.paused:
            pytest.fail(f"{self.name} can't be resumed: it is not paused")
        await self.resume_gate.wait()
        self._check_alive()
        if self.resume_failure is not None:
            raise self.resume_failure
        self.paused = False
        self.stood += asyncio.get_running_loop().time() - self._paused_at

    async def remove(self) -> None:
        """See `Container`."""
        self.removed = True
        self.die(exit_code=-SIGKILL)

    def say(self, chunk: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Print something."""
        self.output.write(stream, chunk)

    def die(self, *, exit_code: int = 0, memory_exhausted: bool = False, peak_memory: int | None = None) -> None:
        """End, as if by itself. Requests in flight are lost; dying twice is dying once."""
        if not self._state.running:
            return
        self._state = ContainerState(
            running=False, exit_code=exit_code, memory_exhausted=memory_exhausted, peak_memory=peak_memory
        )
        for patience in self._limits:
            if not patience.expired():
                patience.reschedule(asyncio.get_running_loop().time())
        self._on_gone(self.name)
        self.output.closed()

    @property
    def in_flight(self) -> int:
        """Requests that have no reply yet."""
        return len(self._limits)

    def _check_alive(self) -> None:
        if not self._state.running:
            raise ContainerError(f"the container {self.name} is gone")


class FakeRuntime(ContainerRuntime):
    """Creates containers at once, unless the test has it wait or fail. They can be paused unless `pausable` is False.

    `failures` are what the first calls of `create` raise, one each: `[StartFailed("no room")] * 3`.
    """

    def __init__(
        self,
        script: Script | None = None,
        kinds: Runtimes = KINDS,
        *,
        pausable: bool = True,
        failures: Iterable[ContainerError] = (),
    ) -> None:
        self.script = script or answering()
        """Of containers to come."""
        self.created: list[FakeContainer] = []
        """All there ever were, in order."""
        self.running: dict[str, FakeContainer] = {}
        """By name."""
        self.attempts = 0
        """Calls of `create`, whatever came of them."""
        self.failure: StartFailed | None = None
        """What `create` raises, while it is set."""
        self.failures = list(failures)
        """What the next calls of `create` raise, one each."""
        self.gate = _open_gate()
        """`create` waits while it is not set."""
        self._kinds = kinds
        self._pausable = pausable

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`."""
        return self._kinds

    async def create(self, spec: ContainerSpec, output: Output) -> FakeContainer:
        """See `ContainerRuntime`."""
        self.attempts += 1
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        if self.failure is not None:
            raise self.failure
        if spec.name in self.running:
            raise StartFailed(f"there is a container {spec.name} already")
        container = FakeContainer(spec, output, self.script, self._forget)
        container.pausable = self._pausable
        self.created.append(container)
        self.running[spec.name] = container
        return container

    def _forget(self, name: str) -> None:
        del self.running[name]


class RecordedOutput:
    """An `Output` that keeps everything and can be waited for."""

    def __init__(self) -> None:
        self.written = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self.closings = 0
        self._changed = asyncio.Event()

    def write(self, stream: Stream, chunk: bytes) -> None:
        """See `Output`."""
        assert chunk
        assert not self.closings, "output after the end"
        self.written[stream] += chunk
        self._changed.set()

    def closed(self) -> None:
        """See `Output`."""
        self.closings += 1
        self._changed.set()

    async def says(self, text: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Wait until `text` was printed."""
        await self._until(lambda: text in self.written[stream])

    async def reaches(self, count: int) -> None:
        """Wait until so many bytes of stdout have come."""
        await self._until(lambda: len(self.written[Stream.STDOUT]) >= count)

    async def ends(self) -> None:
        """Wait for the end of both streams."""
        await self._until(lambda: self.closings > 0)

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate
