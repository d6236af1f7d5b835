"""One invocation while it runs: what is known of it so far, in one place."""

from invoker.contracts import Admitted
from invoker.entities.activation import Activation, Outcome
from invoker.entities.function import Executable
from invoker.invocation.door import Pass
from invoker.invocation.telling import Telling
from invoker.invocation.timeline import Timeline
from invoker.pool import Lease
from invoker.telemetry import COLD_START


class Running:
    """The facts of one invocation. Owned by the task that walks the line; gone when it ends."""

    __slots__ = (
        "admitted",
        "container",
        "executable",
        "finished",
        "notes",
        "prewarmed",
        "remarks",
        "request",
        "stay",
        "telling",
        "timed_out",
        "timeline",
        "warm",
    )

    def __init__(self, admitted: Admitted, timeline: Timeline, telling: Telling, stay: Pass) -> None:
        self.admitted = admitted
        self.request = admitted.request
        self.timeline = timeline
        self.telling = telling
        self.stay = stay
        self.executable: Executable | None = None
        """`None` until the function was fetched and may run here."""
        self.container: str | None = None
        """Name of the container, once there is one."""
        self.warm = False
        self.prewarmed = False
        """Not warm, but in a container that was started beforehand."""
        self.timed_out = False
        self.notes: tuple[tuple[str, str | int], ...] = ()
        self.remarks: tuple[str, ...] = ()
        """What its developer should know beside the fixed text of the response: the last lines of its logs."""
        self.finished = False
        """Its record was built: from here on only answers are missing."""

    def placed(self, lease: Lease) -> None:
        """Note which container it runs in, and why that is not a warm one."""
        self.stay.stop_waiting()
        self.container = lease.container.name
        self.warm = lease.warm
        self.prewarmed = lease.prewarmed
        self.notes = () if lease.reason is None else ((COLD_START, lease.reason.value),)

    def finish(self, outcome: Outcome, logs: tuple[str, ...]) -> Activation:
        """Return the record; nothing about the invocation changes any more."""
        self.finished = True
        return self.activation(outcome, logs)

    def activation(self, outcome: Outcome, logs: tuple[str, ...] = ()) -> Activation:
        """Return what is answered, without logs, or recorded, with them.

        Name and version are the document's; of a function that was not fetched, the message's (spec 8.1.4).
        """
        request = self.request
        ref = request.function
        timeline = self.timeline
        function = self.executable.function if self.executable is not None else None
        start, end = timeline.span()
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
            wait_time=None if function is None else self._wait_time(end),
            init_time=timeline.init_time,
            timed_out=self.timed_out,
            cause=request.cause,
            binding=ref.binding,
            blocking=request.blocking,
            main=None if function is None else function.main,
            caller_annotations=request.caller.annotations,
            notes=self.notes,
            logs=logs,
        )

    def _wait_time(self, end: int) -> int:
        """From the caller's request until `/init` or `/run`, or until it was clear that there would be none (8.2.5)."""
        start = self.timeline.work_start
        return (end if start is None else start) - self.request.transaction.start
