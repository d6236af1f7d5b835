"""When what happened to one invocation; feeds its record, its log line and the metrics."""

from collections.abc import Callable


class Timeline:
    """Moments of one invocation, in integer Unix milliseconds. Owned by the task that walks the line."""

    __slots__ = ("_clock", "init_end", "init_start", "logs_end", "received", "run_end", "run_start")

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock` gives Unix nanoseconds."""
        self._clock = clock
        self.received = self.now()
        self.init_start: int | None = None
        self.init_end: int | None = None
        self.run_start: int | None = None
        self.run_end: int | None = None
        self.logs_end: int | None = None

    def now(self) -> int:
        """Return the present moment."""
        return self._clock() // 1_000_000

    @property
    def init_time(self) -> int | None:
        """Milliseconds of `/init`; `None` if this invocation didn't call it."""
        return _between(self.init_start, self.init_end)

    @property
    def run_time(self) -> int | None:
        """Milliseconds of `/run`; `None` if it was not called."""
        return _between(self.run_start, self.run_end)

    @property
    def log_time(self) -> int | None:
        """Milliseconds from the end of `/run` until its logs were complete or given up."""
        return _between(self.run_end, self.logs_end)

    @property
    def work_start(self) -> int | None:
        """When the waiting ended: the start of `/init`, or of `/run` on a warm container (spec 8.2)."""
        return self.run_start if self.init_start is None else self.init_start

    def span(self) -> tuple[int, int]:
        """Return start and end as records have them.

        The time between `/init` and `/run` is left out, so that their sum is the duration (spec 8.3.3, T68); an
        invocation that never reached a container starts and ends now (8.2.5).
        """
        if self.run_start is not None and self.run_end is not None:
            return self.run_start - (self.init_time or 0), max(self.run_start, self.run_end)
        if self.init_start is not None and self.init_end is not None:
            return self.init_start, max(self.init_start, self.init_end)
        now = self.now()
        return now, now

    def restart(self) -> None:
        """Forget a container that did not take the call; another will."""
        self.init_start = self.init_end = self.run_start = self.run_end = None

    def cut_off(self) -> None:
        """End what had begun: the invocation is broken off in the middle."""
        if self.init_start is not None and self.init_end is None:
            self.init_end = self.now()
        if self.run_start is not None and self.run_end is None:
            self.run_end = self.now()


def _between(start: int | None, end: int | None) -> int | None:
    """A clock that was set back must not make a duration negative."""
    return None if start is None or end is None else max(0, end - start)
