"""The use of a container for one activation."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from invoker.contracts import Container, LogFollower, Logs
from invoker.entities.activation import Outcome
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.pool.slot import Slot, WarmKey
from invoker.pool.view import StartReason


class Lender(Protocol):
    """The pool, as its leases see it."""

    clock: Callable[[], float]

    def take_warm(self, key: WarmKey) -> Slot | None:
        """Take a share of a container of `key` that is free, if that is fair."""
        ...

    async def obtain(self, key: WarmKey, executable: Executable, request: Request, *, moved: bool) -> tuple[Slot, bool]:
        """Wait for a container, or start one; say whether who asks has to initialise it."""
        ...

    async def thaw(self, slot: Slot) -> None:
        """Resume a container that is paused, or about to be."""
        ...

    def initialised(self, slot: Slot, outcome: Outcome | None) -> None:
        """Note how `/init` ended."""
        ...

    def give_back(self, slot: Slot, *, keep: bool, since: float | None, first: bool = False) -> None:
        """Take a share back; something ran in it since then, if that means anything, `first` if right after `/init`."""
        ...


class Lease:
    """The use of a container, or of a share of one, for one activation: `async with pool.lease(…) as lease`.

    Entering waits for a warm container, or for the memory to start one, and then for its start. Leaving returns the
    share to the pool if `keep` was set, and has the container removed otherwise: whatever breaks in between, nobody is
    given a container in an unknown state.
    """

    __slots__ = (
        "_executable",
        "_lender",
        "_moved",
        "_request",
        "_since",
        "_slot",
        "container",
        "follower",
        "keep",
        "prewarmed",
        "reason",
        "warm",
    )

    def __init__(self, lender: Lender, executable: Executable, request: Request, *, moved: bool) -> None:
        self._lender = lender
        self._executable = executable
        self._request = request
        self._moved = moved
        self.keep = False
        """Set it when the container may serve again."""
        self.warm = False
        """Whether the container had been initialised for this function before."""
        self.prewarmed = False
        """Whether it is a stem cell that was taken for this activation."""
        self.reason: StartReason | None = None
        """Why it is not warm."""
        self.container: Container
        self.follower: LogFollower
        """To wait for the end of the logs; to begin and to end them is the lease's business."""
        self._slot: Slot
        self._since: float | None = None
        """Clock's time from which the container, initialised, is there for this activation."""

    async def __aenter__(self) -> Self:
        """Get a container.

        Raises:
            StartFailed: none could be started, whether by this activation or by another that it waited for.
            Unreachable: one could not be resumed, or was never initialised; another may serve.
            Aborted: another activation initialised it, and that failed (spec 10.12.2).
        """
        key = WarmKey(self._executable.function.digest, self._request.caller.namespace, self._request.function.binding)
        slot = self._lender.take_warm(key)
        first = False
        if slot is None:
            slot, first = await self._lender.obtain(key, self._executable, self._request, moved=self._moved)
        self._slot = slot
        if slot.frozen or not slot.initialised:
            await self._prepare(slot, first=first)
        else:
            self.warm = True
        assert slot.container is not None  # noqa: S101 (what is lent was created)
        if self.warm:
            self._since = self._lender.clock()
        self.container = slot.container
        self.follower = slot.follower
        return self

    async def _prepare(self, slot: Slot, *, first: bool) -> None:
        if slot.frozen:
            try:
                await self._lender.thaw(slot)
            except BaseException:
                self._lender.give_back(slot, keep=False, since=None)
                raise
        if slot.initialised:
            self.warm = True
        elif not first:
            try:
                await slot.initialisation()
            except BaseException:
                self._lender.give_back(slot, keep=True, since=None)
                raise
            self.warm = True
        else:
            self.reason = slot.reason
            self.prewarmed = slot.stem_cell

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return the share, or have the container removed. Doesn't wait for the removal."""
        slot = self._slot
        self._lender.give_back(slot, keep=self.keep and slot.initialised, since=self._since, first=not self.warm)

    def initialised(self, outcome: Outcome | None) -> None:
        """Tell how `/init` ended, `None` for success: others may wait for it."""
        self._lender.initialised(self._slot, outcome)
        if outcome is None:
            self._since = self._lender.clock()

    @property
    def alone(self) -> bool:
        """Whether no other activation has been in the container since this one began its logs."""
        return self._slot.alone

    def begin_logs(self, limit: int) -> None:
        """From here on output belongs to this activation, which may log `limit` bytes, as long as it is alone."""
        self._slot.begin_logs(self._request, limit)

    def end_logs(self, *, expected: bool, failed: bool) -> Logs:
        """Return this activation's logs (see `LogFollower.end`); none if it was not alone."""
        return self._slot.end_logs(expected=expected, failed=failed)
