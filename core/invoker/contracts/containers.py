"""Containers: what starts them, and what they do.

`Container` and `ContainerRuntime` are what every runtime has. The others are optional: the core asks with `isinstance`,
so whoever wraps a runtime or a container passes on what the wrapped one can.
"""

from collections.abc import Sequence
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

        The first call waits until the proxy listens; this counts against `timeout`. Nothing is ever sent twice. Several
        calls may be in flight at once, each on a connection of its own.

        Raises:
            Unreachable: no byte was sent.
            Lost: no whole reply came, and none will.
            PostTimedOut: `timeout` seconds are over. The request may still be running: remove the container.
        """
        ...

    async def inspect(self) -> ContainerState:
        """Ask how it is. Never raises: what is gone is not running; of what nobody can tell now, `known` is False."""
        ...

    async def remove(self) -> None:
        """Stop every process of it and give everything back; returns when that is done. May be called again.

        It need not be resumed before. While the runtime can't do it, this waits; it raises nothing but cancellation.
        """
        ...


@runtime_checkable
class Pausable(Container, Protocol):
    """A container that can be stopped in its tracks: it keeps its memory and takes no time of the processor."""

    async def pause(self) -> None:
        """Freeze it. No request may be in flight. Connections that are open now are not used again (spec T55).

        Raises:
            ContainerError: it goes on running (spec 10.10.1), or is gone.
        """
        ...

    async def resume(self) -> None:
        """Let it go on.

        Raises:
            ContainerError: it can't, or is gone: of no more use.
        """
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


@runtime_checkable
class Watched(Protocol):
    """A runtime that can fail as a whole, such as one that needs a daemon."""

    def faults(self) -> Sequence[str]:
        """Return why no container can be started now, one short text each; empty when all is well."""
        ...


@runtime_checkable
class Stocked(Protocol):
    """A runtime that may lack what a kind needs, such as its image."""

    async def lacking(self, kinds: Runtimes) -> Sequence[str]:
        """Return why some of these kinds can't run until somebody sees to it: one line each, with what to do.

        Raises:
            StartFailed: none can, for the runtime can't be used.
        """
        ...


@runtime_checkable
class Sweeping(Protocol):
    """A runtime whose containers can outlive the invoker."""

    @property
    def swept(self) -> Sequence[str]:
        """Names of the containers that an earlier life of this invoker had left, and that were removed on opening."""
        ...


@runtime_checkable
class Networked(Protocol):
    """A runtime whose containers have network addresses of their own on this machine."""

    def bridges(self) -> Sequence[str]:
        """Names of the network interfaces, on this machine, behind which its containers are; not empty."""
        ...
