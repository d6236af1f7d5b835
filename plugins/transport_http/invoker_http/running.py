"""The invocations that have not ended."""

import asyncio

from invoker.contracts import Admitted, Answers, Intake


class Running:
    """Hands messages to the core, and waits for their end when the door is closed."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._tasks: set[asyncio.Task[object]] = set()
        """The listener's tasks that are inside the core now."""
        self._none_left: asyncio.Event | None = None
        self._breaking_off = False

    async def invoke(self, admitted: Admitted, answers: Answers) -> None:
        """See a message through to its answer."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine runs in a task)
        self._tasks.add(task)
        try:
            await self._intake.invoke(admitted, answers)
        except asyncio.CancelledError:
            if not self._breaking_off:  # somebody else wanted this task to end
                raise
            task.uncancel()  # it was answered all the same (contracts.Intake), and its connection is to be flushed
        finally:
            self._tasks.discard(task)
            if self._none_left is not None and not self._tasks:
                self._none_left.set()

    async def ended(self) -> None:
        """Return when all have ended. Cancelled, break them off, wait for their answers, and pass it on."""
        if not self._tasks:
            return
        self._none_left = asyncio.Event()
        try:
            await self._none_left.wait()
        except asyncio.CancelledError:
            self._breaking_off = True
            for task in self._tasks:
                task.cancel()
            await self._none_left.wait()
            raise
