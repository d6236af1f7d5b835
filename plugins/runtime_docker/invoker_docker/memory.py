"""How much memory a container has had, from its control group, where that can be read on this machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

CGROUPS: Final = Path("/sys/fs/cgroup")
PROCESSES: Final = Path("/proc")


class MemoryGauge:
    """Reads the control group of one container. It vanishes with the container: the last look is kept."""

    def __init__(self, peak: Path | None = None, events: Path | None = None) -> None:
        self._peak_file = peak
        self._events_file = events
        self.peak: int | None = None
        """Bytes, at the last look."""
        self.kills = 0
        """Processes that the kernel had ended for want of memory, at the last look."""

    @classmethod
    def of(cls, pid: int, container: str, *, processes: Path = PROCESSES, cgroups: Path = CGROUPS) -> Self:
        """Find the control group of a process that belongs to a container; `container` is its id.

        The engine may run elsewhere, or see other numbers: then that process is none of it, and nothing is read.
        """
        for kind, path in _groups(processes / str(pid) / "cgroup"):
            if container not in path:
                continue
            if kind == "memory":
                folder = cgroups / "memory" / path
                return cls(folder / "memory.max_usage_in_bytes", folder / "memory.oom_control")
            if not kind and (folder := cgroups / path).joinpath("memory.events").exists():
                return cls(folder / "memory.peak", folder / "memory.events")
        return cls()

    def look(self) -> None:
        """Read what there is; what can't be read stays as it was."""
        if self._peak_file is None or self._events_file is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self.peak = int(self._peak_file.read_bytes())
        with contextlib.suppress(OSError, ValueError):
            for line in self._events_file.read_text("ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    self.kills = int(value)


def _groups(path: Path) -> Iterator[tuple[str, str]]:
    """Return the controllers, one each, and the paths of a process' control groups; version 2 has no controllers."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            for controller in controllers.split(","):
                yield controller, group.lstrip("/")
