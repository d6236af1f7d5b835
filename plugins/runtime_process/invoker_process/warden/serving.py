"""From a bare process to a warden, and to its end."""

import gc
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from invoker_process.frames import Ready, Refused, Spawn, encode
from invoker_process.warden import cgroups
from invoker_process.warden.memory import Account, SampledAccount
from invoker_process.warden.places import Place, sweep
from invoker_process.warden.processes import Processes, visible
from invoker_process.warden.spawning import PR_SET_CHILD_SUBREAPER, prctl
from invoker_process.warden.warden import Warden


class Orders(NamedTuple):
    """What the command line says."""

    base: Path
    """Where its place is made."""
    cgroup: str
    """`auto` or `off`."""
    interval: float
    """Seconds between samples of memory."""
    invoker: int
    """Process of the invoker."""


def serve(connection: socket.socket, orders: Orders) -> None:
    """Clean up after wardens that were killed, say that all is ready, and be the warden until the invoker is gone."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the invoker decides when its containers end
        signal.signal(ignored, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        place = Place(orders.base)
        sweep(orders.base)
    except OSError as error:
        connection.sendall(encode(Refused(f"{error.filename or orders.base}: {error.strerror}")))
        return
    groups, obstacle = _groups(place, orders)
    processes = visible()
    warden = Warden(connection, place, _accounting(groups, processes, orders.interval), processes)
    warden.tell(Ready(str(groups.path) if groups is not None else "", obstacle))
    gc.collect()
    gc.freeze()  # a collection would touch, and so copy, what each fork shares with its child
    try:
        warden.run()
    finally:
        if groups is not None:
            cgroups.remove(groups.path)


def _groups(place: Place, orders: Orders) -> tuple[cgroups.Hierarchy | None, str]:
    """Return where control groups can be made, or why not."""
    if orders.cgroup == "off":
        return None, ""
    try:
        groups = cgroups.delegated(place.path.name, orders.invoker)
    except cgroups.Unusable as error:
        return None, str(error)
    place.remember(groups.path)
    return groups, ""


def _accounting(groups: cgroups.Hierarchy | None, processes: Processes, interval: float) -> Callable[[Spawn], Account]:
    """Return what watches the memory of each container."""
    if groups is not None:
        return lambda order: groups.account(str(order.ward), order.memory)
    return lambda order: SampledAccount(processes, order.memory, interval, time.monotonic)
