"""The pool against a model: whatever happens in whatever order, nothing is lost, lent twice, or waited for in vain."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from invoker.config import Seconds
from invoker.entities.runtimes import StemCell
from invoker.pool.fleet import Fleet
from invoker.pool.slot import Slot, State
from tests.core.pool.model import FUNCTIONS, Activation, PlayedRuntime, Step
from tests.core.pool.workshop import MB, NO_STEM_CELLS, a_pool, with_stem_cells
from tests.core.simulation import SimulatedLoop

PATIENCE = 1.0
ANY = st.integers(0, 999)
"""Which of several; shrinks to the first."""
CELLS = with_stem_cells(StemCell(count=1, memory=256 * MB), StemCell(count=1, memory=128 * MB))


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
        cells=st.booleans(),
        always=st.booleans(),
        starts=st.sampled_from([1, 2, 100]),
    )
    def open(self, *, memory: int, cells: bool, always: bool, starts: int) -> None:
        self.memory, self.starts = memory * MB, starts
        self.may_leave = asyncio.Event()
        opening = a_pool(
            self.runtime,  # type: ignore[arg-type]
            memory=memory,
            runtimes=CELLS if cells else NO_STEM_CELLS,
            concurrency=3,
            scale_out="always" if always else "expected",
            parallel_starts=starts,
            patience=Seconds(PATIENCE),
            pause_grace=Seconds(0.2),
            idle_timeout=Seconds(15),
        )

        async def live() -> None:
            async with opening as self.pool:
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
    @rule(which=ANY, good=st.sampled_from([True, True, True, False]))
    def create(self, which: int, *, good: bool) -> None:
        self._end([step.end for step in self.runtime.creations], which, good)

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
        self._the_timer_rings_in_time()
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
        creating = sum(slot.container is None and slot.fleet is not None for slot in self.pool.containers.starter)
        assert creating == self.pool.containers.creating <= self.starts
        for shell in self.runtime.shells:
            if shell.function is not None:
                assert len(shell.users) <= FUNCTIONS[shell.function].concurrency
        held = [one.lease._slot for one in self.activations if one.lease and hasattr(one.lease, "_slot")]
        for slot in self.pool.containers.starter:
            starter = slot.container is None and slot.fleet is not None
            assert slot.active == held.count(slot) + starter, slot.spec.name

    def _the_books_are_right(self) -> None:
        containers = self.pool.containers
        for fleet in containers.fleets:
            assert fleet.ready == sum(slot.shares for slot in fleet.slots if slot.initialised)
            assert set(fleet.starting) == {slot for slot in fleet.slots if not slot.initialised}
            assert set(fleet.spare) == {slot for slot in fleet.slots if 0 < slot.active < slot.shares}
            assert set(fleet.idle) == {slot for slot in fleet.slots if not slot.active}
            assert not any(slot.gone or slot.doomed for slot in fleet.slots)
            assert fleet.empty == (fleet.key in containers.fleets._empty)
        idle = [slot for fleet in containers.fleets for slot in fleet.idle]
        assert sorted(map(id, containers.shelf)) == sorted(map(id, idle))

    def _the_timer_rings_in_time(self) -> None:
        holding = self.pool._turns._holding
        held = [one for fleet in self.pool.containers.fleets for one in fleet.waiting if one.reason is None]
        assert {one.fleet for one in held} <= set(holding._fleets)
        if held:
            assert holding._alarm is not None
            assert not holding._alarm.cancelled()
            assert holding._alarm.when() <= min(one.overdue for one in held)

    def _nobody_waits_in_vain(self) -> None:
        now = self.loop.time()
        head = self.pool._queue.head()
        for fleet in self.pool.containers.fleets:
            if fleet.waiting and fleet.free() is not None:
                assert head is not None
                assert head.fleet is not fleet
                assert now - max(head.since, head.fleet.granted_at) >= PATIENCE
            for waiter in fleet.waiting:
                if waiter.reason is None:
                    assert fleet.slots
                    assert waiter.overdue >= now
        if head is None:
            assert not self.pool._turns._passed_over
        else:
            self._check_room(head.fleet)
        assert self.pool.waiting == sum(one.waits for one in self.activations) - self._granted()

    # --- the end ----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        for _ in range(2000):
            if not self._finish_something():
                break
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
        return sum(slot.active for slot in self._slots()) - sum(len(shell.users) for shell in self.runtime.shells)

    def _slots(self) -> list[Slot]:
        return list(self.pool.containers.starter)

    def _check_room(self, fleet: Fleet) -> None:
        """Whoever is first: as many start as may, or there is no memory, and some is coming or none can be made."""
        containers = self.pool.containers
        if containers.creating >= self.starts:
            return
        free = self.memory - self.pool.memory_used
        coming = sum(slot.memory for slot in self._slots() if slot.state is State.REMOVING)
        could_come = containers.shelf.memory + containers.stem_cells.memory
        assert free < fleet.memory
        assert free + coming >= fleet.memory or free + coming + could_come < fleet.memory


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
