"""One invocation while it runs: what is known of it so far, in one place."""

import asyncio
from collections.abc import Callable

import msgspec

from invoker.contracts import Admitted, Answers
from invoker.entities.activation import Activation, Outcome
from invoker.entities.function import Executable
from invoker.pool import Lease
from invoker.telemetry import COLD_START


class Invocation(msgspec.Struct, eq=False):
    """The facts of one invocation. Owned by the task that walks the line; gone when it ends.

    Moments are integer Unix milliseconds, 0 before they come. The wall clock is read once, at the beginning; from there
    the monotonic one counts, so that no step of the other makes a duration wrong.
    """

    admitted: Admitted
    answers: Answers
    epoch: int  # what the wall clock was ahead of the monotonic one at the beginning, in nanoseconds
    monotonic: Callable[[], int]  # gives nanoseconds
    task: asyncio.Task[None] = None  # type: ignore[assignment]  # (for no longer than it takes to create it)
    started: bool = False  # its task has made the first step
    delivering: bool = False  # it has ended; only its record and its answer are missing, which nothing may interrupt
    waits: bool = True  # its message counts among those without a container
    early: asyncio.Task[None] | None = None  # tells the result before its logs are there
    blocked: bool = False  # an admission plugin turned it away: it is not recorded (spec 8.5.5, T72)
    executable: Executable | None = None  # `None` until the function was fetched and may run here
    container: str | None = None  # its name, once there is one
    start: str | None = None  # how it came by the container: `cold`, `prewarm` or `warm`
    cold_start: str | None = None  # why that was not a warm one: the value of a `StartReason`
    spent: bool = False  # its container can't serve again, whatever the outcome
    timed_out: bool = False
    peak_memory: int | None = None  # bytes that a function used which exhausted its memory, if that is known
    remark: str = ""  # what its developer should know beside the response's fixed text: the last line of its logs
    logs: tuple[str, ...] = ()
    init_start: int = 0
    init_end: int = 0
    run_start: int = 0
    run_end: int = 0
    logs_end: int = 0

    def now(self) -> int:
        """Return the present moment."""
        return (self.epoch + self.monotonic()) // 1_000_000

    def placed(self, lease: Lease) -> None:
        """Note which container it runs in, and why that is not a warm one."""
        self.container = lease.container.name
        if lease.reason is None:
            self.start, self.cold_start = "warm", None
        else:
            self.start, self.cold_start = "prewarm" if lease.prewarmed else "cold", lease.reason.value

    def cut_off(self, at: float | None = None) -> None:
        """End what had begun, as the monotonic clock had `at` seconds, or now: there will be no reply."""
        end = self.now() if at is None else (self.epoch + int(at * 1e9)) // 1_000_000
        if self.init_start and not self.init_end:
            self.init_end = max(end, self.init_start)
        if self.run_start and not self.run_end:
            self.run_end = max(end, self.run_start)

    def activation(self, outcome: Outcome, logs: tuple[str, ...] = ()) -> Activation:
        """Return what is answered, without logs, or recorded, with them.

        The time between `/init` and `/run` is left out, so that their sum is the duration (spec 8.3.3, T68); one that
        never reached a container starts and ends now (8.2.5). Name and version are the document's; of a function that
        was not fetched, the message's (8.1.4).
        """
        request = self.admitted.request
        ref = request.function
        function = self.executable.function if self.executable is not None else None
        init_time = self.init_end - self.init_start
        if self.run_end:
            start, end = self.run_start - init_time, self.run_end
        elif self.init_end:
            start, end = self.init_start, self.init_end
        else:
            start = end = self.now()
        waited = (self.init_start or self.run_start or end) - request.transaction.start  # spec 8.2.5
        notes: tuple[tuple[str, str | int], ...] = ()
        if self.cold_start is not None:
            notes = ((COLD_START, self.cold_start),)
        if self.peak_memory is not None:
            notes = (*notes, ("peakMemory", self.peak_memory))
        return Activation(
            activation_id=request.activation_id,
            namespace=request.caller.namespace,
            subject=request.caller.subject,
            path=ref.document_id if function is None else function.document_id,
            name=ref.name if function is None else function.name,
            version=ref.version if function is None else function.version,
            kind="unknown" if self.executable is None else self.executable.runtime.kind,
            limits=None if function is None else function.limits,
            outcome=outcome,
            start=start,
            end=end,
            wait_time=None if function is None else max(0, waited),
            init_time=init_time if self.init_end else None,
            timed_out=self.timed_out,
            cause=request.cause,
            binding=ref.binding,
            blocking=request.blocking,
            main=None if function is None else function.main,
            caller_annotations=request.caller.annotations,
            notes=notes,
            logs=logs,
        )
