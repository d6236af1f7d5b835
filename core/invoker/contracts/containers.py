"""Containers: what starts them, and what they do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from invoker.contracts.parts import Part
from invoker.entities.container import Body, ContainerSpec, ContainerState, Reply, Stream
from invoker.entities.runtimes import Runtimes


class Output(Protocol):
    """Where a container's output goes. The runtime calls it on the event loop, from before the start to the end."""

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take what came out; never blocks, never refuses."""
        ...

    def closed(self) -> None:
        """Both streams are at their end: the container is gone. Called once."""
        ...


class Container(ABC):
    """One running container. It knows nothing about functions."""

    pausable: bool = False
    """Whether `pause` and `resume` work; the core asks for neither otherwise."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name it was created under."""

    @abstractmethod
    async def post(self, path: str, body: Body, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        """Send a JSON body to the action proxy and read its reply, keeping at most `limit` bytes of it.

        The first call waits until the proxy listens; this counts against `timeout`. Nothing is ever sent twice. Several
        calls may be in flight at once, each on a connection of its own.

        Raises:
            Unreachable: no byte was sent.
            Lost: no whole reply came, and none will; or one that is no success, and meanwhile a process in it was
                killed for want of memory.
            PostTimedOut: `timeout` seconds are over. The request may still be running: remove the container.
        """

    @abstractmethod
    async def inspect(self) -> ContainerState:
        """Ask how it is. Never raises: what is gone is not running; of what nobody can tell now, `known` is False."""

    @abstractmethod
    async def remove(self) -> None:
        """Stop every process of it and give everything back; returns when that is done. May be called again.

        It need not be resumed before. While the runtime can't do it, this waits; it raises nothing but cancellation.
        """

    async def pause(self) -> None:
        """Stop its processes where they are: it keeps its memory and takes no time of the processor.

        No request may be in flight. Connections that are open now are not used again (spec T55).

        Raises:
            ContainerError: it goes on running (spec 10.10.1), or is gone.
        """
        raise NotImplementedError

    async def resume(self) -> None:
        """Let it go on.

        Raises:
            ContainerError: it can't, or is gone: of no more use.
        """
        raise NotImplementedError


class ContainerRuntime(Part, ABC):
    """Starts containers."""

    @abstractmethod
    def runtimes(self) -> Runtimes:
        """Return the kinds it can run of its own accord; an operator's manifest replaces them. May be empty."""

    @abstractmethod
    async def create(self, spec: ContainerSpec, output: Output) -> Container:
        """Start a container whose output goes to `output` from the first byte on.

        Cancelled or failed, it leaves nothing behind.

        Raises:
            StartFailed: no container came of it.
            NoRoom: not now, for want of something that other containers hold; the activation waits.
        """

    async def sweep(self) -> Sequence[str] | None:
        """Remove the containers that an earlier life of this invoker has left; return their names.

        Called once, before the first `create`, and only by an invoker that is about to run: who merely looks changes
        nothing. `None`: there can be none, since containers end with their invoker.

        Raises:
            StartFailed: the runtime can't be used.
        """
        return None

    async def lacking(self, kinds: Runtimes) -> Sequence[str]:  # noqa: ARG002 (a runtime that lacks nothing)
        """Return why some of these kinds can't run until somebody sees to it, such as a missing image.

        One line each, with what to do.

        Raises:
            StartFailed: none can, for the runtime can't be used.
        """
        return ()

    def bridges(self) -> Sequence[str]:
        """Names of the network interfaces, on this machine, behind which its containers have addresses of their own."""
        return ()
