"""Containers: what starts them, and what they do."""

from typing import Protocol, runtime_checkable

from invoker.entities.container import ContainerSpec, ContainerState, Reply, Stream
from invoker.entities.runtimes import Runtimes


class Output(Protocol):
    """Where a container's output goes. The runtime calls it on the event loop, from before the start to the end."""

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take what came out; never blocks, never refuses."""
        ...

    def closed(self) -> None:
        """Both streams are at their end: the container is gone. Called once."""
        ...


@runtime_checkable
class Container(Protocol):
    """One running container. It knows nothing about functions."""

    @property
    def name(self) -> str:
        """The name it was created under."""
        ...

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        """Send a JSON body to the action proxy and read its reply, keeping at most `limit` bytes of it.

        The first call waits until the proxy listens; this counts against `timeout`. Nothing is ever sent twice.

        Raises:
            Unreachable: no byte was sent.
            Lost: no whole reply came, and none will.
            PostTimedOut: `timeout` seconds are over. The request may still be running: remove the container.
        """
        ...

    async def inspect(self) -> ContainerState:
        """Ask how it is. Never raises: what can't be found out is reported as not running."""
        ...

    async def remove(self) -> None:
        """Stop every process of it and give everything back; returns when that is done. May be called again."""
        ...


@runtime_checkable
class ContainerRuntime(Protocol):
    """Starts containers."""

    def runtimes(self) -> Runtimes:
        """Return the kinds it can run of its own accord; an operator's manifest replaces them. May be empty."""
        ...

    async def create(self, spec: ContainerSpec, output: Output) -> Container:
        """Start a container whose output goes to `output` from the first byte on.

        Cancelled or failed, it leaves nothing behind.

        Raises:
            StartFailed: no container came of it.
        """
        ...
