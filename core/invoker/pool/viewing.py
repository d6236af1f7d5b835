"""Looking at the pool for operators."""

from collections.abc import Mapping

from invoker.pool.containers import Containers
from invoker.pool.slot import Slot
from invoker.pool.view import ColdStart, ContainerView, PoolView, StartReason, WaitReason


def view_of(
    containers: Containers,
    *,
    starts: Mapping[StartReason, int],
    waits: Mapping[WaitReason, int],
    recent: tuple[ColdStart, ...],
    now: float,
) -> PoolView:
    """Return the pool as it is at clock's time `now`."""
    slots = sorted(containers.starter, key=lambda slot: slot.born)
    functions = tuple(fleet.view() for fleet in containers.fleets)
    return PoolView(
        memory=containers.budget.total,
        used=containers.budget.used,
        waiting=sum(function.waiting for function in functions),
        containers=tuple(_container(slot, now) for slot in slots),
        functions=functions,
        stem_cells=tuple(containers.stem_cells.view()),
        starts={reason.value: number for reason, number in starts.items()},
        waits={reason.value: number for reason, number in waits.items()},
        recent=recent,
    )


def _container(slot: Slot, now: float) -> ContainerView:
    return ContainerView(
        name=slot.name,
        state=slot.state.value,
        kind=slot.spec.runtime.kind,
        memory=slot.memory,
        namespace=slot.fleet.namespace if slot.fleet is not None else "",
        action=slot.fleet.action if slot.fleet is not None else "",
        activations=slot.active,
        served=slot.served,
        age=now - slot.born,
        since=now - slot.since,
        reason=slot.reason.value if slot.reason is not None else None,
    )
