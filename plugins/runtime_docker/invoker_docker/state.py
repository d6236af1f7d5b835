"""How a container is, how it ended, where it is, and the memory that it has had."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from invoker.entities.container import ContainerState

UNKNOWN: Final = ContainerState(running=False, known=False)
REMOVED: Final = ContainerState(running=False)
SIGKILL: Final = 9
CGROUPS: Final = Path("/sys/fs/cgroup")
PROCESSES: Final = Path("/proc")

_SIGNALLED: Final = 128
_LAST_SIGNAL: Final = 64


class CgroupMemory:
    """Reads a container's control group, where that can be read here. It vanishes with it: the last look is kept."""

    def __init__(self, peak: Path | None = None, events: Path | None = None) -> None:
        self._peak_file = peak
        self._events_file = events
        self.peak: int | None = None  # bytes, at the last look
        self.kills = 0  # processes that the kernel had ended for want of memory, at the last look

    @classmethod
    def of(cls, pid: int, container: str, *, processes: Path = PROCESSES, cgroups: Path = CGROUPS) -> Self:
        """Find that of a process, unless it belongs to no container of this id: the engine may run elsewhere."""
        for controller, path in _groups(processes / str(pid) / "cgroup"):
            if container not in path:
                continue
            if controller == "memory":
                folder = cgroups / "memory" / path
                return cls(folder / "memory.max_usage_in_bytes", folder / "memory.oom_control")
            if not controller and (folder := cgroups / path).joinpath("memory.events").exists():
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


def read_state(inspected: Mapping[str, Any], memory: CgroupMemory, limit: int) -> ContainerState:
    """Return the state of a container that the engine knows; `limit` is that of its memory.

    Memory was exhausted if the kernel said so *and* the first process was killed. Docker 20.10 sets its flag also when
    only a child was killed; podman 4.3 never sets it: there the control group's own count tells, read in time.
    """
    state = inspected.get("State") or {}
    if state.get("Running"):
        return ContainerState(running=True, peak_memory=memory.peak)
    code = _exit_code(state.get("ExitCode"))
    exhausted = code == -SIGKILL and (bool(state.get("OOMKilled")) or memory.kills > 0)
    peak = limit if exhausted and memory.peak is None else memory.peak  # it was reached, whoever could not look
    return ContainerState(running=False, exit_code=code, memory_exhausted=exhausted, peak_memory=peak)


def may_be_flagged(state: ContainerState) -> bool:
    """Whether it was killed and nobody has said why: the engine may learn later than of the end (spec 9.5.5)."""
    return state.exit_code == -SIGKILL and not state.memory_exhausted


def address_on(inspected: Mapping[str, Any], network: str) -> str:
    """Return the address on a network; IPv6 if there is no other, and empty if there is none."""
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    on = networks.get(network) or next(iter(networks.values()), None) or {}
    return str(on.get("IPAddress") or on.get("GlobalIPv6Address") or "")


def _exit_code(code: object) -> int | None:
    """Return an exit code as the contract has it; engines and shells add a signal's number to 128."""
    if not isinstance(code, int):
        return None
    return _SIGNALLED - code if _SIGNALLED < code <= _SIGNALLED + _LAST_SIGNAL else code
