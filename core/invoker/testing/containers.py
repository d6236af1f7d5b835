"""Containers in memory, for tests of what uses them: scripted replies, output that the test says, and a kill switch."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from invoker.contracts import Output
from invoker.entities.container import ContainerSpec, ContainerState, Reply, Stream
from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import Lost, PostTimedOut, StartFailed, Unreachable
from invoker.sentinel import SENTINEL_LINE

KINDS: Final = Runtimes([Runtime(kind="python:3", family="python", default=True)])
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


class FakeContainer:
    """A container that a test looks into. `post`, `inspect` and `remove` keep the contract."""

    def __init__(self, spec: ContainerSpec, output: Output, script: Script, on_gone: Callable[[str], None]) -> None:
        self.spec = spec
        self.output = output
        self.script = script
        """May be replaced at any time."""
        self.requests: list[tuple[str, bytes]] = []
        """Path and body of all that were sent, in order."""
        self.removed = False
        self._state = ContainerState(running=True)
        self._limits: set[asyncio.Timeout] = set()
        """Of requests in flight."""
        self._on_gone = on_gone

    @property
    def name(self) -> str:
        """See `Container`."""
        return self.spec.name

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109 (a contract)
        """See `Container`. Asks the script."""
        if not self._state.running:
            raise Unreachable(f"the container {self.name} is gone")
        self.requests.append((path, body))
        try:
            async with asyncio.timeout(timeout) as patience:
                self._limits.add(patience)
                try:
                    answer = await self.script(self, path, body)
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


class FakeRuntime:
    """Creates containers at once, unless the test has it wait or fail."""

    def __init__(self, script: Script | None = None, kinds: Runtimes = KINDS) -> None:
        self.script = script or answering()
        """Of containers to come."""
        self.created: list[FakeContainer] = []
        """All there ever were, in order."""
        self.running: dict[str, FakeContainer] = {}
        """By name."""
        self.failure: StartFailed | None = None
        """What `create` raises, while it is set."""
        self.gate = asyncio.Event()
        """`create` waits while it is not set."""
        self.gate.set()
        self._kinds = kinds

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`."""
        return self._kinds

    async def create(self, spec: ContainerSpec, output: Output) -> FakeContainer:
        """See `ContainerRuntime`."""
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if spec.name in self.running:
            raise StartFailed(f"there is a container {spec.name} already")
        container = FakeContainer(spec, output, self.script, self._forget)
        self.created.append(container)
        self.running[spec.name] = container
        return container

    def _forget(self, name: str) -> None:
        del self.running[name]


class RecordedOutput:
    """An `Output` that keeps everything and can be waited for."""

    def __init__(self) -> None:
        self.written: dict[Stream, bytes] = {Stream.STDOUT: b"", Stream.STDERR: b""}
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

    async def ends(self) -> None:
        """Wait for the end of both streams."""
        await self._until(lambda: self.closings > 0)

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def fake_runtime(script: Script | None = None, kinds: Runtimes = KINDS) -> AsyncIterator[FakeRuntime]:
    """Open a runtime of containers in memory; leaving removes them all."""
    runtime = FakeRuntime(script, kinds)
    try:
        yield runtime
    finally:
        for container in list(runtime.running.values()):
            await container.remove()
