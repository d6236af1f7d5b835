"""An intake that runs no function: what a transport's tests put in place of the core."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from invoker.config import LimitsSettings
from invoker.contracts import NO_CONTEXT, Admitted, Answers
from invoker.entities.activation import Ack, Outcome
from invoker.entities.request import Request
from invoker.errors import Busy, Draining, MalformedRequest
from invoker.testing.builders import an_activation, an_outcome
from invoker.wire.request import parse


class Event(NamedTuple):
    """Something that happened, to which activation if one is known."""

    what: str
    activation_id: str = ""


class FakeIntake:
    """See `contracts.Intake`. Keeps the core's promises: the order of answers, and an answer whatever happens.

    `events` has what happened, in order: `malformed`, `busy` and `draining` for what was refused (`busy` for who waits
    for room, too), `admitted`, then for each invocation `accepted`, `result` if it was told ahead, `completed`;
    `untold` in place of one of these if the transport raised.
    """

    def __init__(self, *, limit: int | None = None) -> None:
        self.events: list[Event] = []
        self.admitted: list[Admitted] = []
        self.outcomes: deque[Outcome] = deque()
        """What the next invocations come to, one each; then success with `{"ok":true}`."""
        self.late_logs = False
        """Results are told ahead of completions, where the transport can."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = LimitsSettings().message if limit is None else limit
        self._line = asyncio.Lock()
        """Held by the first of those that wait for room."""
        self._draining = False
        self._full: Busy | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._news = asyncio.Event()

    # --- what tests say and ask --------------------------------------------------------------------------------

    @contextmanager
    def full(self, *, retry_after: int = 1) -> Iterator[None]:
        """Have no room until this is left."""
        self._full = Busy("there is no room", retry_after)
        try:
            yield
        finally:
            self._full = None
            self._news.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every invocation running, receipt given, until this is left."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def refuse(self) -> None:
        """Admit nothing more: the invoker drains."""
        self._draining = True
        self._news.set()

    async def drain(self) -> None:
        """Admit nothing more, and wait until what was admitted is answered; then transports are left."""
        self.refuse()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def give_up(self) -> None:
        """End every invocation where it is, as the core does with answers that take too long."""
        for task in self._tasks:
            task.cancel()

    async def seen(self, what: str, times: int = 1) -> None:
        """Wait until something has happened so many times."""
        while self.count(what) < times:
            self._news.clear()
            await self._news.wait()

    def count(self, what: str) -> int:
        """Return how often something has happened."""
        return sum(event.what == what for event in self.events)

    def story(self, activation_id: str) -> list[str]:
        """Return what happened to one activation, in order."""
        return [event.what for event in self.events if event.activation_id == activation_id]

    def note(self, what: str, activation_id: str = "") -> None:
        """Add an event, such as one that only the test knows of."""
        self.events.append(Event(what, activation_id))
        self._news.set()

    # --- what transports call ----------------------------------------------------------------------------------

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str] = NO_CONTEXT) -> Admitted:
        """See `Intake.admit`."""
        if self._draining:
            self.note("draining")
            raise Draining
        try:
            if len(body) > self._limit:
                raise MalformedRequest(f"the message has {len(body)} bytes; {self._limit} are allowed")  # noqa: TRY301
            request = parse(body)
        except MalformedRequest:
            self.note("malformed")
            raise
        if self._full is not None:
            self.note("busy", request.activation_id)
            raise self._full
        admitted = Admitted(request, len(body), via, context)
        self.admitted.append(admitted)
        self.note("admitted", request.activation_id)
        return admitted

    def invoke(self, admitted: Admitted, answers: Answers) -> None:
        """See `Intake.invoke`."""
        task = asyncio.get_running_loop().create_task(self._carry(admitted, answers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def room(self, size: int) -> None:
        """See `Intake.room`."""
        assert size >= 0
        async with self._line:
            if self._full is not None:
                self.note("busy")
            while self._full is not None and not self._draining:
                self._news.clear()
                await self._news.wait()
            if self._draining:
                raise Draining

    async def _carry(self, admitted: Admitted, answers: Answers) -> None:
        request = admitted.request
        await self._told(request, "accepted", answers.accepted())
        await self._free.wait()
        activation = an_activation(
            activation_id=request.activation_id,
            namespace=request.caller.namespace,
            subject=request.caller.subject,
            outcome=self.outcomes.popleft() if self.outcomes else an_outcome(),
            blocking=request.blocking,
            cause=request.cause,
        )
        split = self.late_logs and request.blocking and answers.splits
        if not split or await self._told(request, "result", answers.result(activation)):
            whole = Ack.COMBINED if request.blocking and not split else Ack.COMPLETION
            await self._told(request, "completed", answers.completed(activation, whole))

    async def _told(self, request: Request, what: str, telling: Awaitable[None]) -> bool:
        """Tell a transport something, in the order that `contracts.Answers` promises; return whether it was told."""
        try:
            await telling
        except Exception:  # noqa: BLE001 (whatever it is, the invocation goes on)
            self.note("untold", request.activation_id)
            return False
        self.note(what, request.activation_id)
        return True
