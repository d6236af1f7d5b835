"""Containers: who has them, who gets them next, and the memory they share."""

from invoker.pool.lease import Lease
from invoker.pool.pool import Pool, container_pool
from invoker.pool.slot import WarmKey

__all__ = ["Lease", "Pool", "WarmKey", "container_pool"]
