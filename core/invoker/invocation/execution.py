"""The part of an invocation that happens in a container: `/init`, `/run`, logs."""

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from invoker.config import Compat, LimitsSettings, LogsSettings
from invoker.contracts import Logs
from invoker.entities.activation import Outcome, Status
from invoker.entities.function import Executable, Limits
from invoker.errors import Lost, PostTimedOut, Unreachable
from invoker.invocation.delivery import Delivery
from invoker.invocation.invocation import Invocation
from invoker.log_lines import line_of_ours
from invoker.pool import Lease, StartReason
from invoker.wire import action_proxy
from invoker.wire.outcome import Outcomes, remark

_UNHEALTHY: Final = 503
"""A warm container's proxy did not take the call: another may (spec 9.8, T53). A fresh one may have acted already."""
_LAST_WORDS: Final = 0.1  # seconds of silence after which a function that failed has said why: engines are slow


@dataclass(eq=False)
class Execution:
    """Runs functions in containers that others provide. One for the invoker; keeps nothing of an invocation."""

    outcomes: Outcomes
    delivery: Delivery
    waits: LogsSettings
    limits: LimitsSettings
    compat: Compat

    def __post_init__(self) -> None:
        self._log_unit = 1 << 20 if self.compat == "openwhisk" else 1 << 10  # spec T30

    async def run(
        self, invocation: Invocation, executable: Executable, arguments: action_proxy.Arguments, lease: Lease
    ) -> Outcome:
        """Initialise the container unless it is warm, run the function, take its logs; say if the lease may go on.

        A result whose logs are late is told on the way, where that spares somebody a wait (spec 2.4).

        Raises:
            Unreachable: the container did not take the call; another may.
        """
        lease.logs.begin(invocation.admitted.request, executable.function.limits.logs * self._log_unit)
        dead = False
        outcome = None
        try:
            if not lease.warm:
                outcome = await self._init(invocation, executable, arguments.parameters, lease)
                lease.initialised(outcome)
            if outcome is None:
                outcome = await self._run(invocation, executable, arguments.value, lease)
        except Lost as lost:
            dead = True
            outcome = self._lost(invocation, executable.function.limits, lost)
            if not invocation.run_start:
                lease.initialised(outcome)
        logs = await self._collect(invocation, executable, outcome, lease, dead=dead)
        fit = outcome.status <= Status.APPLICATION_ERROR and not invocation.spent
        lease.keep = fit and logs.reusable
        if fit and not logs.complete:
            lease.why = StartReason.LATE_LOGS
        invocation.logs = (*logs.lines, line_of_ours(invocation.remark)) if invocation.remark else logs.lines
        return outcome

    async def _init(
        self, invocation: Invocation, executable: Executable, parameters: action_proxy.Parameters, lease: Lease
    ) -> Outcome | None:
        """Call `/init`; return `None` if it succeeded. Success counts however late it comes (spec T48)."""
        function, limits, request = executable.function, executable.function.limits, invocation.admitted.request
        payload, kept = self.limits.payload, self.limits.truncation
        invocation.init_start = now = invocation.now()
        environment = action_proxy.environment(request, function, parameters, deadline=now + limits.timeout)
        make, limit, large = action_proxy.init_body, max(payload, kept), function.is_large
        body = await asyncio.to_thread(make, function, environment) if large else make(function, environment)
        reply = None
        try:
            reply = await lease.container.post("/init", body, timeout=limits.timeout_seconds, limit=limit)
        except PostTimedOut as late:
            if late.deaf is not None:
                invocation.remark = f"Nothing listened on port {late.deaf} of the container: it runs no action proxy."
        invocation.init_end = invocation.now()
        if reply is not None:
            reply = reply.cut(payload, kept)
            if reply.status == 200 and not reply.truncated:  # noqa: PLR2004 (the one status that is success)
                return None
        if reply is None or invocation.init_end - now >= limits.timeout:
            invocation.timed_out = True
            return self.outcomes.timed_out(limits, init=True)
        return self.outcomes.init_failed(reply, payload)

    async def _run(self, invocation: Invocation, executable: Executable, value: msgspec.Raw, lease: Lease) -> Outcome:
        """Call `/run`. An answer that comes after the limit is a timeout, whatever it says (spec T48)."""
        function, limits = executable.function, executable.function.limits
        request = invocation.admitted.request
        caller, ours = request.caller.limits, self.limits
        payload = ours.payload if caller.max_payload is None else min(ours.payload, caller.max_payload)
        kept = ours.truncation if caller.truncation is None else min(ours.truncation, caller.truncation)  # spec 9.4.3
        invocation.run_start = now = invocation.now()
        body = action_proxy.run_body(request, value, function, deadline=now + limits.timeout)
        try:
            reply = await lease.container.post("/run", body, timeout=limits.timeout / 1000, limit=max(payload, kept))
        except PostTimedOut:
            reply = None
        invocation.run_end = end = invocation.now()
        if reply is not None:
            if reply.status == _UNHEALTHY and lease.warm:
                raise Unreachable("the action proxy answered 503")
            reply = reply.cut(payload, kept)
        if reply is None or end - now >= limits.timeout:
            invocation.timed_out = True
            return self.outcomes.timed_out(limits, init=False)
        invocation.spent = reply.status != 200 and reply.truncated  # noqa: PLR2004 (the proxy may have given up by then)
        if action_proxy.takes_long(reply.body):
            return await asyncio.to_thread(self.outcomes.ran, reply, payload)
        return self.outcomes.ran(reply, payload)

    async def _collect(
        self, invocation: Invocation, executable: Executable, outcome: Outcome, lease: Lease, *, dead: bool
    ) -> Logs:
        """Wait for the logs as long as it makes sense, and take them (spec 9.11).

        A proxy that answered prints its sentinels, also where the function failed (nodejs, actionloop, dockerskeleton
        do); of one that did not, what has arrived counts, and what is on its way (T58).
        """
        error = outcome.error if outcome.status is Status.DEVELOPER_ERROR else None
        expected = executable.runtime.sentinelled_logs and not (dead or invocation.timed_out)
        if not lease.logs.alone:  # nobody can tell whose output is whose (spec 9.11.12)
            expected, error = False, None
        elif not expected:
            says_why = dead or (error is not None and not invocation.timed_out)
            await lease.logs.settled(_LAST_WORDS if says_why else self.waits.combine_wait)
        elif not (invocation.answers.splits and invocation.admitted.request.blocking):
            await lease.logs.settled(self.waits.timeout)
        elif not await lease.logs.settled(self.waits.combine_wait):
            self.delivery.tell_early(invocation, outcome)
            await lease.logs.settled(self.waits.timeout)
        logs = lease.logs.end(expected=expected, error=error)
        invocation.logs_end = invocation.now()
        return logs

    def _lost(self, invocation: Invocation, limits: Limits, lost: Lost) -> Outcome:
        """Say what became of a call whose container is gone; a time limit that was reached comes first (spec 9.5.6)."""
        invocation.cut_off(lost.at)
        init, state = not invocation.run_start, lost.state
        invocation.remark = remark(state, limits)
        took = invocation.init_end - invocation.init_start if init else invocation.run_end - invocation.run_start
        if took >= limits.timeout:
            invocation.timed_out = True
            return self.outcomes.timed_out(limits, init=init)
        if state.memory_exhausted:
            invocation.peak_memory = state.peak_memory
        return self.outcomes.lost(state, init=init)
