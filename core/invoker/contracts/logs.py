"""Logs: from the output of containers to the logs of activations."""

from abc import ABC, abstractmethod

import msgspec

from invoker.contracts.parts import Part
from invoker.entities.container import ContainerSpec, Stream
from invoker.entities.request import Request


class Logs(msgspec.Struct, frozen=True):
    """The logs of one activation."""

    lines: tuple[str, ...]
    """Formatted as spec 8.7.1: time, stream, text."""
    complete: bool = True
    """Both sentinels came, whether expected or not; False means that output may still be on its way.

    It then belongs to nobody: the container is used again, and the next activation's logs begin behind it.
    """
    reusable: bool = True
    """False if the output broke the rules, such as a forged sentinel (spec T59), or if it has ceased to come."""


class LogFollower(ABC):
    """Cuts the output of one container into the logs of its activations. It is that container's `Output`."""

    @abstractmethod
    def write(self, stream: Stream, chunk: bytes) -> None:
        """See `Output.write`."""

    @abstractmethod
    def closed(self) -> None:
        """See `Output.closed`."""

    @abstractmethod
    def begin(self, request: Request, limit: int) -> None:
        """From here on output belongs to this activation, which may log `limit` bytes.

        The first activation also owns what came before it (spec T60); later, output in between is dropped.
        """

    @abstractmethod
    def join(self, request: Request) -> None:
        """Another activation begins while one or more have not ended. Called once for each after the first.

        From here to `end` output can't be attributed (spec 9.11.12): what has come since `begin` and what comes is
        dropped with a count. `end` is called once, when the last of them has ended, and gives no lines. The sentinels
        of all of them are still on their way then; none of them ends the logs of a later activation.
        """

    @abstractmethod
    async def settled(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until the activation's output is complete, for at most `timeout` seconds; return whether it is."""

    @abstractmethod
    def end(self, *, expected: bool, error: str | None = None) -> Logs:
        """Close the activation and return its logs as they are; what is unfinished on either stream is included.

        `expected` tells whether its sentinels were awaited: then logs without them end with a line that says so.
        `error` is the text of a developer error: the last line warns (spec 9.11.8, 9.11.16).
        """


class LogExtractor(Part, ABC):
    """Knows how the output of containers becomes the logs of activations."""

    @abstractmethod
    def follow(self, spec: ContainerSpec) -> LogFollower:
        """Return the follower of a container that is about to be created."""
