"""The use of a container for one activation."""

from types import TracebackType
from typing import Protocol, Self

from invoker.contracts import Container, LogFollower
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.pool.slot import Slot, WarmKey


class Lender(Protocol):
    """The pool, as its leases see it."""

    def take_warm(self, key: WarmKey) -> Slot | None:
        """Take an idle container of `key`, if that is fair."""
        ...

    async def obtain(self, key: WarmKey, executable: Executable, request: Request) -> Slot:
        """Wait for a container, or start one."""
        ...

    def give_back(self, slot: Slot, *, keep: bool) -> None:
        """Take a container back."""
        ...


class Lease:
    """The use of a container for one activation: `async with pool.lease(…) as lease`.

    Entering waits for a warm container, or for the memory to start one, and then for its start. Leaving returns the
    container to the pool if `keep` was set, and has it removed otherwise: whatever breaks in between, nobody is
    given a container in an unknown state.
    """

    __slots__ = ("_executable", "_lender", "_request", "_slot", "container", "follower", "keep", "warm")

    def __init__(self, lender: Lender, executable: Executable, request: Request) -> None:
        self._lender = lender
        self._executable = executable
        self._request = request
        self.keep = False
        """Set it when the container may serve again."""
        self.warm = False
        """Whether the container had been initialised for this function before."""
        self.container: Container
        self.follower: LogFollower
        self._slot: Slot

    async def __aenter__(self) -> Self:
        """Get a container.

        Raises:
            StartFailed: none could be started.
        """
        key = WarmKey(self._executable.function.digest, self._request.caller.namespace, self._request.function.binding)
        slot = self._lender.take_warm(key)
        if slot is None:
            slot = await self._lender.obtain(key, self._executable, self._request)
        assert slot.container is not None  # noqa: S101 (what is lent was created)
        self._slot = slot
        self.warm = slot.initialised
        self.container = slot.container
        self.follower = slot.follower
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return the container, or have it removed. Doesn't wait for the removal."""
        self._slot.initialised = self.keep
        self._lender.give_back(self._slot, keep=self.keep)
