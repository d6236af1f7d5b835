"""Containers: who has them, who gets them next, and the memory they share."""

from invoker.pool.container import State
from invoker.pool.pool import Lease, Pool, container_pool
from invoker.pool.snapshot import PoolSnapshot, StartReason, WaitReason

__all__ = ["Lease", "Pool", "PoolSnapshot", "StartReason", "State", "WaitReason", "container_pool"]
