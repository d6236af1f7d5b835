"""What the engine says of a container -> how it is, and where."""

from collections.abc import Mapping
from typing import Any, Final

from invoker.entities.container import ContainerState
from invoker_docker.memory import MemoryGauge

UNKNOWN: Final = ContainerState(running=False, known=False)
REMOVED: Final = ContainerState(running=False)
_SIGNALLED: Final = 128
_LAST_SIGNAL: Final = 64
SIGKILL: Final = 9


def read_state(inspected: Mapping[str, Any], gauge: MemoryGauge, limit: int) -> ContainerState:
    """Return the state of a container that the engine knows.

    Memory was exhausted if the kernel said so *and* the first process was killed. The engine's flag alone doesn't tell:
    Docker 20.10 sets it also when only a child was killed, and the first process left on its own later, for whatever
    reason. podman 4.3 never sets it: there the control group's own count tells, read in time.
    """
    state = inspected.get("State") or {}
    if state.get("Running"):
        return ContainerState(running=True, peak_memory=gauge.peak)
    code = _exit_code(state.get("ExitCode"))
    exhausted = code == -SIGKILL and (bool(state.get("OOMKilled")) or gauge.kills > 0)
    peak = gauge.peak
    if exhausted and peak is None:
        peak = limit  # it was reached, whoever could not look
    return ContainerState(running=False, exit_code=code, memory_exhausted=exhausted, peak_memory=peak)


def told(state: ContainerState) -> str:
    """Say how a container ended."""
    if state.memory_exhausted:
        return "its memory was exhausted"
    if state.exit_code is None:
        return "it has been removed"
    return f"signal {-state.exit_code}" if state.exit_code < 0 else f"exit code {state.exit_code}"


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
