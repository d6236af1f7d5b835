"""`python -m bench.sampled FILE …`: the invoker's command line, watched by a sampler of processor time.

After SIGUSR1 a timer of the process's own CPU time interrupts it every millisecond, and where the main thread is then
is noted: in Python, so C code counts for the line that calls it. It counts as many nanoseconds as the main thread has
used since the time before: the timer runs for the other threads too, and they run where this one lets the GIL go.
What was seen is written to FILE at the end.
"""

import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from invoker.cli import main as invoker

INTERVAL: Final = 0.001


class Samples(msgspec.Struct):
    """Nanoseconds of the main thread."""

    total: int
    lines: dict[str, int]
    """By `file:line function` of the innermost frame."""
    functions: dict[str, int]
    """By `file function`, for all in the stack of a sample."""


class _Sampler:
    """The handler of the timer's signal."""

    def __init__(self) -> None:
        self.lines: Counter[tuple[str, int, str]] = Counter()
        self.functions: Counter[tuple[str, str]] = Counter()
        self._last = 0
        """The main thread's time at the last sample."""

    def begin(self, _number: int, _frame: FrameType | None) -> None:
        """Forget what was, and start the timer."""
        self.lines.clear()
        self.functions.clear()
        self._last = time.thread_time_ns()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def sample(self, _number: int, frame: FrameType | None) -> None:
        """Note where the main thread is."""
        now = time.thread_time_ns()
        used, self._last = now - self._last, now
        if frame is None:
            return
        self.lines[frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname] += used
        stack = set()
        while frame is not None:
            stack.add((frame.f_code.co_filename, frame.f_code.co_qualname))
            frame = frame.f_back
        for function in stack:
            self.functions[function] += used


def _short(path: str) -> str:
    """Return the part of a file's name that tells it from others."""
    return "/".join(Path(path).parts[-2:])


def main() -> None:
    """Run the command line."""
    target = Path(sys.argv.pop(1))
    sampler = _Sampler()
    signal.signal(signal.SIGPROF, sampler.sample)
    signal.signal(signal.SIGUSR1, sampler.begin)
    try:
        invoker()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        samples = Samples(
            sampler.lines.total(),
            {f"{_short(path)}:{line} {name}": count for (path, line, name), count in sampler.lines.items()},
            {f"{_short(path)} {name}": count for (path, name), count in sampler.functions.items()},
        )
        target.write_bytes(msgspec.json.encode(samples))


if __name__ == "__main__":
    main()
