"""Start, end and duration as records have them (spec 8.2, 8.3), whatever becomes of the wall clock."""

from collections.abc import Callable
from typing import cast

from invoker.contracts import Admitted
from invoker.entities.activation import Activation
from invoker.entities.container import ContainerState, Reply
from invoker.entities.function import Limits
from invoker.errors import Lost
from invoker.invocation.invocation import Invocation
from invoker.testing.builders import NOW, a_function, a_request, a_transaction, an_executable, an_outcome
from invoker.testing.containers import FakeContainer, FakeRuntime, answering, reply
from tests.core.invocation.line import Heard, a_line

MS = 1_000_000


def an_invocation(*milliseconds: int, epoch: int = 0) -> Invocation:
    """One whose clock shows these moments, one after the other."""
    moments = iter(milliseconds)
    request = a_request(transaction=a_transaction(start=100))
    invocation = Invocation(
        Admitted(request, 1, "test", {}),
        Heard(),
        epoch * MS,
        cast("Callable[[], int]", lambda: next(moments) * MS),
    )
    invocation.executable = an_executable()
    return invocation


def times(invocation: Invocation) -> tuple[int, int, int | None, int | None]:
    """Return start, end, wait time and init time."""
    activation = invocation.activation(an_outcome())
    return activation.start, activation.end, activation.wait_time, activation.init_time


def test_a_warm_run_lasts_as_long_as_its_run() -> None:
    invocation = an_invocation()
    invocation.run_start, invocation.run_end = 150, 190

    assert times(invocation) == (150, 190, 50, None)


def test_a_cold_run_leaves_out_the_time_between_init_and_run() -> None:
    """Spec 8.3.3, T68: end - start is init + run."""
    invocation = an_invocation()
    invocation.init_start, invocation.init_end = 150, 240
    invocation.run_start, invocation.run_end = 250, 400

    assert times(invocation) == (160, 400, 50, 90)


def test_a_failed_init_is_all_there_was() -> None:
    invocation = an_invocation()
    invocation.init_start, invocation.init_end = 150, 240

    assert times(invocation) == (150, 240, 50, 90)


def test_an_init_that_took_no_time_was_an_init() -> None:
    invocation = an_invocation()
    invocation.init_start = invocation.init_end = 150

    assert times(invocation) == (150, 150, 50, 0)


def test_without_a_container_it_starts_and_ends_now() -> None:
    assert times(an_invocation(107)) == (107, 107, 7, None)


def test_what_was_cut_off_ends_at_the_moment_at_which_it_was() -> None:
    """Spec 9.5.5: the end is taken before anybody asks why."""
    invocation = an_invocation()
    invocation.run_start = 150

    invocation.cut_off(0.18)

    assert times(invocation)[:2] == (150, 180)


def test_an_init_that_was_cut_off_ends_at_that_moment_and_never_before_it_began() -> None:
    invocation, early = an_invocation(), an_invocation()
    invocation.init_start = early.init_start = 150

    invocation.cut_off(0.18)
    early.cut_off(0.14)

    assert times(invocation) == (150, 180, 50, 30)
    assert times(early) == (150, 150, 50, 0)


def test_a_caller_whose_clock_is_ahead_has_not_waited() -> None:
    invocation = an_invocation()
    invocation.run_start, invocation.run_end = 50, 60

    assert times(invocation)[2] == 0


def test_the_wall_clock_is_read_once() -> None:
    invocation = an_invocation(7, 9, epoch=NOW)

    assert (invocation.now(), invocation.now()) == (NOW + 7, NOW + 9)


async def run_with_a_step_of(seconds: int) -> Activation:
    """Run an action of 1 s at most, with the wall clock set to another time on the way."""
    clock = [NOW * MS]

    async def stepping(container: FakeContainer, path: str, body: bytes) -> Reply:
        clock[0] += seconds * 1000 * MS
        return await answering()(container, path, body)

    function = a_function(name="hello", revision="1-a", limits=Limits(timeout=1000))
    async with a_line(FakeRuntime(stepping), function, wall=lambda: clock[0]) as line:
        heard = await line.invoke(a_request(function, transaction=a_transaction(start=NOW)))
        return heard.activation


async def test_a_step_of_the_wall_clock_is_no_time_out_and_makes_no_duration_wrong() -> None:
    for seconds in (86_400 * 3650, -7200):
        activation = await run_with_a_step_of(seconds)

        assert activation.outcome.status == 0, activation.outcome
        assert 0 <= activation.duration < 1000
        assert activation.wait_time is not None
        assert 0 <= activation.wait_time < 1000


async def test_asking_why_a_connection_ended_is_not_the_functions_time() -> None:
    """A function that ends at once is no time-out, however long it takes to learn why (spec 9.5.5)."""
    clock = [0.0]

    async def ends(container: FakeContainer, path: str, body: bytes) -> Reply:
        if path == "/init":
            return reply(b"{}")
        at = clock[0]
        clock[0] += 2.0  # as long as an engine takes to tell
        raise Lost(ContainerState(running=False, exit_code=1), at=at)

    function = a_function(name="hello", revision="1-a", limits=Limits(timeout=1000))
    async with a_line(FakeRuntime(ends), function, monotonic=lambda: int(clock[0] * 1e9)) as line:
        heard = await line.invoke(a_request(function))

    assert not heard.activation.timed_out
    assert heard.activation.duration == 0
