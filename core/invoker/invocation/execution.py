"""The part of an invocation that happens in a container: `/init`, `/run`, logs."""

import logging
from collections.abc import Sequence

import msgspec

from invoker.config import Compat, LimitsSettings, LogsSettings
from invoker.contracts import Container, Logs
from invoker.entities.activation import Outcome, Status
from invoker.entities.container import ContainerState, Reply
from invoker.entities.function import Executable, Limits
from invoker.entities.request import CallerLimits
from invoker.errors import Lost, PostTimedOut, Unreachable
from invoker.invocation.outcome import Outcomes
from invoker.invocation.running import Running
from invoker.log_lines import LogLines
from invoker.pool import Lease
from invoker.wire import action_proxy

logger = logging.getLogger("invoker.invocation")

_UNHEALTHY = 503
"""The proxy did not take the call: another container may (spec 9.8, T53)."""

_LAST_WORDS = 0.1
"""Seconds of silence after which a function that failed has said all: why, as a rule. Engines pass it on late."""


class Execution:
    """Runs functions in containers that others provide. One for the invoker; keeps nothing of an invocation."""

    def __init__(self, outcomes: Outcomes, logs: LogsSettings, limits: LimitsSettings, compat: Compat) -> None:
        self._outcomes = outcomes
        self._logs = logs
        self._payload = limits.payload
        self._truncation = limits.truncation
        self._compat = compat
        self._log_unit = 1 << 20 if compat == "openwhisk" else 1 << 10  # spec T30

    async def run(
        self, running: Running, executable: Executable, content: msgspec.Raw | None, lease: Lease
    ) -> tuple[Outcome, tuple[str, ...]]:
        """Initialise the container unless it is warm, run the function, take its logs; say if the lease may go on.

        A result whose logs are late is told on the way, where that spares somebody a wait (spec 2.4).

        Raises:
            Unreachable: the container did not take the call; another may.
        """
        lease.logs.begin(running.request, executable.function.limits.logs * self._log_unit)
        parameters, value = action_proxy.split(content, running.request.init_names)
        lost: Lost | None = None
        try:
            outcome = None
            if not lease.warm:
                outcome = await self._init(running, executable, parameters, lease.container)
                lease.initialised(outcome)
            if outcome is None:
                outcome = await self._run(running, executable, value, lease.container)
        except Lost as error:
            lost = error
            running.timeline.cut_off()
            outcome = self._lost(running, executable.function.limits, error)
            if running.timeline.run_start is None:
                lease.initialised(outcome)
        logs = await self._collect(running, executable, outcome, lease, dead=lost is not None)
        kept = outcome.status <= Status.APPLICATION_ERROR
        lease.keep = kept and logs.reusable and (logs.complete or not executable.runtime.sentinelled_logs)
        return outcome, logs.lines + _noted(running.remarks) if running.remarks else logs.lines

    async def _init(
        self, running: Running, executable: Executable, parameters: action_proxy.Parameters, container: Container
    ) -> Outcome | None:
        """Call `/init`; return `None` if it succeeded. Success counts however late it comes (spec T48)."""
        function = executable.function
        timeline = running.timeline
        timeline.init_start = now = timeline.now()
        deadline = now + function.limits.timeout
        environment = action_proxy.environment(running.request, function, parameters, deadline=deadline)
        body = action_proxy.init_body(function, environment)
        limit = max(self._payload, self._truncation)
        try:
            reply = await container.post("/init", body, timeout=function.limits.timeout_seconds, limit=limit)
        except PostTimedOut as error:
            reply = None
            if error.deaf is not None:
                running.remarks = (f"Nothing listened on port {error.deaf} of the container: it runs no action proxy.",)
        timeline.init_end = timeline.now()
        if reply is not None:
            _check_health(reply)
            reply = _cut(reply, self._payload, self._truncation)
            if reply.status == 200 and not reply.truncated:  # noqa: PLR2004 (the one status that is success)
                return None
        if reply is None or (timeline.init_time or 0) >= function.limits.timeout:
            running.timed_out = True
            return self._outcomes.timed_out(function.limits, init=True)
        return self._outcomes.init_failed(reply, self._payload)

    async def _run(self, running: Running, executable: Executable, value: msgspec.Raw, container: Container) -> Outcome:
        """Call `/run`. An answer that comes after the limit is a timeout, whatever it says (spec T48)."""
        function = executable.function
        timeline = running.timeline
        payload, truncation = self._reply_limits(running.request.caller.limits)
        timeline.run_start = now = timeline.now()
        deadline = now + function.limits.timeout
        body = action_proxy.run_body(running.request, value, function, deadline=deadline)
        try:
            reply = await container.post(
                "/run", body, timeout=function.limits.timeout_seconds, limit=max(payload, truncation)
            )
        except PostTimedOut:
            reply = None
        timeline.run_end = timeline.now()
        if reply is not None:
            _check_health(reply)
        if reply is None or timeline.run_end - timeline.run_start >= function.limits.timeout:
            running.timed_out = True
            return self._outcomes.timed_out(function.limits, init=False)
        return self._outcomes.ran(_cut(reply, payload, truncation), payload)

    async def _collect(
        self, running: Running, executable: Executable, outcome: Outcome, lease: Lease, *, dead: bool
    ) -> Logs:
        """Wait for the logs as long as it makes sense, and take them (spec 9.11, T58)."""
        failed = outcome.status is Status.DEVELOPER_ERROR
        if not lease.logs.alone:  # nobody can tell whose output is whose (spec 9.11.12)
            running.timeline.logs_end = running.timeline.now()
            return lease.logs.end(expected=False, failed=False)
        expected = executable.runtime.sentinelled_logs and not failed
        if not executable.runtime.sentinelled_logs or failed:  # what has arrived counts, and what is on its way
            says_why = dead or (failed and not running.timed_out)
            await lease.logs.settled(_LAST_WORDS if says_why else self._logs.combine_wait)
        elif running.telling.may_split:
            if not await lease.logs.settled(self._logs.combine_wait):
                await running.telling.result(running.activation(outcome))
                await lease.logs.settled(self._logs.timeout)
        else:
            await lease.logs.settled(self._logs.timeout)
        logs = lease.logs.end(expected=expected, failed=failed)
        running.timeline.logs_end = running.timeline.now()
        return logs

    def _lost(self, running: Running, limits: Limits, lost: Lost) -> Outcome:
        """Say what became of a call whose container is gone; a time limit that was reached comes first (spec 9.5.6)."""
        timeline, state = running.timeline, lost.state
        if state.memory_exhausted:
            running.remarks = (_about_memory(limits, state),)
        init = timeline.run_start is None
        interval = timeline.init_time if init else timeline.run_time
        if interval is not None and interval >= limits.timeout:
            running.timed_out = True
            return self._outcomes.timed_out(limits, init=init)
        if state.memory_exhausted and state.peak_memory is not None:
            running.notes = (*running.notes, ("peakMemory", state.peak_memory))
        return self._outcomes.lost(state, init=init)

    def _reply_limits(self, caller: CallerLimits) -> tuple[int, int]:
        """Bytes of a reply that are accepted, and that are kept of a longer one (spec 9.4.3)."""
        payload = self._payload if caller.max_payload is None else min(self._payload, caller.max_payload)
        kept = self._truncation if caller.truncation is None else min(self._truncation, caller.truncation)
        return payload, kept


def _about_memory(limits: Limits, state: ContainerState) -> str:
    peak = state.peak_memory
    used = f" after using {peak / (1 << 20):.0f} MB" if peak is not None else ""
    return f"The memory limit is {limits.memory} MB; the action was stopped{used}."


def _noted(remarks: Sequence[str]) -> tuple[str, ...]:
    """Return log lines that tell the developer more than the fixed text of the response may say."""
    lines = LogLines(str)
    for remark in remarks:
        lines.note(remark)
    return lines.taken()


def _check_health(reply: Reply) -> None:
    if reply.status == _UNHEALTHY:
        raise Unreachable("the action proxy answered 503")


def _cut(reply: Reply, payload: int, truncation: int) -> Reply:
    """Cut a reply that is longer than `payload` to `truncation` bytes."""
    if reply.length <= payload:
        return reply
    return Reply(reply.status, reply.body[:truncation], max(reply.length, len(reply.body[:truncation]) + 1))
