"""Containers: who has them, who gets them next, and the memory they share."""

from invoker.pool.container import State
from invoker.pool.pool import Lease, Pool, container_pool
from invoker.pool.snapshot import (
    ActionSnapshot,
    ColdStart,
    ContainerSnapshot,
    PoolSnapshot,
    PrewarmSnapshot,
    StartReason,
    WaitReason,
)

__all__ = [
    "ActionSnapshot",
    "ColdStart",
    "ContainerSnapshot",
    "Lease",
    "Pool",
    "PoolSnapshot",
    "PrewarmSnapshot",
    "StartReason",
    "State",
    "WaitReason",
    "container_pool",
]
