"""The pool against a model: whatever happens in whatever order, nothing is lost, lent twice, or waited for in vain."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from invoker.config import Seconds
from invoker.entities.runtimes import PrewarmConfig
from invoker.pool import State
from invoker.pool.actions import ActionContainers
from invoker.pool.lifecycle import LAST_BACK_OFF, SLOW
from tests.core.pool.model import FUNCTIONS, Activation, PlayedRuntime, Step
from tests.core.pool.workshop import MB, NOTHING_PREWARMED, a_pool, with_prewarm
from tests.core.simulation import SimulatedLoop

PATIENCE = 1.0
ANY = st.integers(0, 999)
"""Which of several; shrinks to the first."""
PREWARMED = with_prewarm(PrewarmConfig(count=1, memory=256 * MB), PrewarmConfig(count=1, memory=128 * MB))


def one_of(things: Any, which: int) -> Any:
    listed = list(things)
    return listed[which % len(listed)]


class PoolMachine(RuleBasedStateMachine):
    """Runs the event loop until nothing can happen any more, after each rule."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        self.runtime = PlayedRuntime()
        self.activations: list[Activation] = []
        self.count = 0

    @initialize(
        memory=st.sampled_from([512, 768, 1280]),
        prewarmed=st.booleans(),
        always=st.booleans(),
        starts=st.sampled_from([1, 2, 100]),
    )
    def open(self, *, memory: int, prewarmed: bool, always: bool, starts: int) -> None:
        self.memory, self.starts = memory * MB, starts
        self.may_leave = asyncio.Event()
        opening = a_pool(
            self.runtime,  # type: ignore[arg-type]
            memory=memory,
            runtimes=PREWARMED if prewarmed else NOTHING_PREWARMED,
            concurrency=3,
            scale_out="always" if always else "expected",
            parallel_starts=starts,
            patience=Seconds(PATIENCE),
            pause_grace=Seconds(0.2),
            idle_timeout=Seconds(15),
        )

        async def live() -> None:
            async with opening as self.pool:
                self.scheduler = self.pool._scheduler
                self.containers = self.scheduler.containers
                await self.may_leave.wait()

        self.life = self.loop.create_task(live())
        self.loop.run_until_idle()

    # --- rules ----------------------------------------------------------------------------------------------------

    @rule(function=st.sampled_from(sorted(FUNCTIONS)), count=st.integers(1, 4))
    def invoke(self, function: str, count: int) -> None:
        async def begin() -> None:
            for _ in range(count):
                self.count += 1
                self.activations.append(Activation(f"{function}{self.count}", function, self.pool))

        self.loop.run_until_complete(begin())
        self.loop.run_until_idle()

    @rule(function=st.sampled_from(sorted(FUNCTIONS)), times=st.integers(1, 3))
    def have_a_quiet_time(self, function: str, times: int) -> None:
        """All that is under way ends well, and then a few activations, one after the other."""
        for _ in range(times):
            while self._finish_something(rest=False):
                pass
            self.invoke(function, 1)
        while self._finish_something(rest=False):
            pass

    @rule(function=st.sampled_from(sorted(FUNCTIONS)), seconds=st.sampled_from([0.01, 0.3]))
    def come_in_a_crowd(self, function: str, seconds: float) -> None:
        """The first run, or the first few, begin, and don't end for a while."""
        self.invoke(function, 6)
        for _ in range(2):
            steps = [step.end for step in self.runtime.creations]
            for step in steps + [one.init for one in self.activations if one.init is not None]:
                if not step.done():
                    step.set_result(True)
            self.loop.run_until_idle()
        self.wait(seconds)

    @precondition(lambda self: any(one.init or one.run for one in self.activations))
    @rule(which=ANY, good=st.sampled_from([True, True, True, False]))
    def go_on(self, which: int, *, good: bool) -> None:
        """`/init` or `/run` ends."""
        steps = [step for one in self.activations for step in (one.init, one.run) if step is not None]
        self._end([step for step in steps if not step.done()], which, good)

    @precondition(lambda self: self.runtime.creations)
    @rule(which=ANY, end=st.sampled_from(["well", "well", "well", "badly", "no room"]))
    def create(self, which: int, end: str) -> None:
        one_of(self.runtime.creations, which).no_room = end == "no room"
        self._end([step.end for step in self.runtime.creations], which, end == "well")

    @precondition(lambda self: self.runtime.removals)
    @rule(which=ANY)
    def remove(self, which: int) -> None:
        self._end([step.end for step in self.runtime.removals], which, good=True)

    @precondition(lambda self: self.runtime.pauses or self.runtime.resumptions)
    @rule(which=ANY, good=st.sampled_from([True, True, False]))
    def pause_or_resume(self, which: int, *, good: bool) -> None:
        self._end([step.end for step in self.runtime.pauses + self.runtime.resumptions], which, good)

    @precondition(lambda self: any(shell.alive for shell in self.runtime.shells))
    @rule(which=ANY)
    def die(self, which: int) -> None:
        shell = one_of([shell for shell in self.runtime.shells if shell.alive], which)
        self.loop.call_soon(shell.die)
        self.loop.run_until_idle()

    @precondition(lambda self: self.activations)
    @rule(which=ANY, also=ANY, good=st.booleans(), turns=st.integers(0, 6))
    def cancel(self, which: int, also: int, turns: int, *, good: bool) -> None:
        """Somebody gives up, rather one who waits; some turns of the event loop before that, something else may end."""
        steps = [step.end for step in self.runtime.creations + self.runtime.removals]
        for step in self.runtime.creations:
            step.no_room = turns % 2 == 0
        steps += [step for one in self.activations for step in (one.init, one.run) if step and not step.done()]
        if steps and also % 4:
            step = one_of(steps, also)
            self.loop.call_soon(lambda: step.done() or step.set_result(good))
        waiting = [one for one in self.activations if one.waits]
        victim = one_of(waiting if waiting and which % 4 else self.activations, which)

        def count_down(left: int) -> None:
            if left:
                self.loop.call_soon(count_down, left - 1)
            else:
                victim.task.cancel()

        self.loop.call_soon(count_down, turns)
        self.loop.run_until_idle()

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.3, 0.3, 1.1, 20.0]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.loop.run_until_idle()

    # --- what always holds ----------------------------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "life"))
    @invariant()
    def all_is_well(self) -> None:
        self._nobody_is_in_trouble()
        self._the_memory_is_what_containers_hold()
        self._every_share_is_somebodys()
        self._the_books_are_right()
        self._the_alarms_ring_in_time()
        self._nobody_waits_in_vain()

    def _nobody_is_in_trouble(self) -> None:
        assert not self.life.done(), self.life.exception()
        assert self.runtime.faults == []
        for one in self.activations:
            assert one.faults == []
            if one.task.done() and not one.task.cancelled():
                one.task.result()
        self.activations = [one for one in self.activations if not one.task.done()]

    def _the_memory_is_what_containers_hold(self) -> None:
        assert self.pool.memory_used == self.runtime.memory <= self.memory

    def _every_share_is_somebodys(self) -> None:
        creating = {one for one in self.containers.all if one.container is None}
        starting = [one for one in creating if self.containers.all[one] is not None]
        young = {one for one in creating if self.loop.time() - one.born < SLOW - 0.001}
        assert young <= set(self.containers._creating) <= creating
        assert len(self.containers._creating) <= self.starts
        for shell in self.runtime.shells:
            if shell.function is not None:
                assert len(shell.users) <= FUNCTIONS[shell.function].concurrency
        held = [one.lease._pooled for one in self.activations if one.lease and hasattr(one.lease, "_pooled")]
        for container in self.containers.all:
            assert container.active == held.count(container) + len(container.joiners) + (container in starting)

    def _the_books_are_right(self) -> None:
        containers = self.containers
        for action in containers.actions.values():
            every = action.containers
            assert action.ready == sum(one.shares for one in every if one.initialised)
            assert action.coming == sum(one.shares for one in every if not one.initialised)
            assert set(action.starting) == {one for one in every if not one.initialised}
            in_use = {one for one in every if 0 < one.active < one.shares}
            assert set(action.shared) == {one for one in in_use if one.initialised}
            assert set(action.warming) == {one for one in in_use if not one.initialised}
            assert set(action.idle) == {one for one in every if not one.active}
            assert not any(one.gone or one.doomed for one in every)
            assert set(action.moved) == {waiter for waiter in action.waiting if waiter.moved}
            assert action.empty == (action.spec is not None and action.key in containers.actions._empty)
        idle = [one for action in containers.actions.values() for one in action.idle]
        assert set(containers.free._oldest_first) == set(idle)
        assert set(containers.free.unpaused) == {one for one in idle if one.may_pause and not one.paused}
        assert containers.free.memory == sum(one.memory for one in idle)
        prewarmed = [one for one in containers.all if one.state is State.PREWARMED]
        assert containers.prewarmed.memory == sum(one.memory for one in prewarmed)
        assert containers._removing == sum(one.memory for one in containers.all if one.state is State.REMOVING)

    def _the_alarms_ring_in_time(self) -> None:
        for action in self.containers.actions.values():
            numbers = [waiter.number for waiter in action.waiting]
            assert numbers == sorted(numbers)
            if action.waiting and action.containers and not self._overdue(action):
                assert action.alarm is not None
                assert not action.alarm.cancelled()
                if action.start_time is not None:  # otherwise others change what is known of its starts
                    patience = action.patience(None)
                    due = action.waits_since(next(iter(action.waiting))) + patience
                    assert action.alarm.when() <= max(due, self.loop.time()) + patience / 4 + 1e-6

    def _overdue(self, action: ActionContainers) -> bool:
        """Return whether the first of an action gets the next container, however long that takes."""
        overdue = bool(action.overdue) and next(iter(action.waiting)).since <= action.due_until
        assert not overdue or action.wanted_since is not None
        return overdue

    def _nobody_waits_in_vain(self) -> None:
        now = self.loop.time()
        head = self.scheduler.queue.head()
        for action in self.containers.actions.values():
            if action.waiting and action.lendable:
                assert head is not None
                assert head is not action
                assert head.wanted_since is not None
                assert now - max(head.wanted_since, head.granted_at) >= PATIENCE
            if action.waiting and not action.containers:
                assert action.wanted_since is not None
        if head is None:
            assert not self.scheduler._passed_over
        else:
            numbers = [next(iter(one.waiting)).number for one in self._wanting() if one.waiting]
            assert next(iter(head.waiting)).number == min(numbers)
            self._check_room(head)
        waiting = sum(len(action.waiting) for action in self.containers.actions.values())
        assert self.pool.waiting == waiting == sum(one.waits for one in self.activations) - self._granted()

    # --- the end ----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        for _ in range(2000):
            if not self._finish_something():
                if not self.activations:
                    break
                self.wait(LAST_BACK_OFF)
        self._nobody_is_in_trouble()
        assert (self.activations, self.pool.waiting) == ([], 0)
        self.may_leave.set()
        self.loop.run_until_idle()
        while self._finish_something():
            pass
        assert self.life.done()
        self.life.result()
        assert (self.pool.memory_used, self.runtime.shells, self.runtime.faults) == (0, [], [])
        self.loop.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _end(self, steps: list[asyncio.Future[bool]], which: int, good: bool) -> None:  # noqa: FBT001
        if steps:
            one_of(steps, which).set_result(good)
            self.loop.run_until_idle()

    def _finish_something(self, *, rest: bool = True) -> bool:
        """Have whatever is under way end well, pauses only if all come to `rest`; return whether there was anything."""
        runtime = self.runtime
        steps: list[Step] = runtime.creations + runtime.removals + runtime.resumptions + rest * runtime.pauses
        futures = [step.end for step in steps]
        futures += [step for one in self.activations for step in (one.init, one.run) if step and not step.done()]
        for future in futures:
            if not future.done():
                future.set_result(True)
        self.loop.run_until_idle()
        self.activations = [one for one in self.activations if not one.task.done() or one.faults]
        return bool(futures)

    def _granted(self) -> int:
        """Return how many have been granted a share, and wait for what the machine has yet to end."""
        return sum(one.active for one in self.containers.all) - sum(len(shell.users) for shell in self.runtime.shells)

    def _wanting(self) -> list[ActionContainers]:
        return [action for action in self.containers.actions.values() if action.wanted_since is not None]

    def _check_room(self, action: ActionContainers) -> None:
        """Whoever is first: there will be room, or as many start as may, or memory is missing.

        What is missing is coming, or can't be made.
        """
        containers = self.containers
        could_come = containers.free.memory + containers.prewarmed.memory
        if containers._retry is not None:
            assert containers._removals or not could_come
            assert containers._retry.when() - self.loop.time() <= LAST_BACK_OFF
            return
        if len(containers._creating) >= (1 if containers._back_off else self.starts):
            return
        free = self.memory - self.pool.memory_used
        needed = action.spec.memory
        assert free < needed
        assert free + containers._removing >= needed or free + containers._removing + could_come < needed


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
