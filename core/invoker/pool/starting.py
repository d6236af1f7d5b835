"""Starting containers: what they are called, what they find in their environment, and the list of them all."""

import itertools
import re
from collections.abc import Callable, Iterator

from invoker.config import LimitsSettings, NodeSettings
from invoker.contracts import ContainerRuntime, LogExtractor
from invoker.entities.container import ContainerSpec
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.entities.runtimes import Runtime
from invoker.pool.slot import Slot

_UNSAFE = re.compile(r"[^A-Za-z0-9_]")
_UNSAFE_IN_INSTANCE = re.compile(r"[^A-Za-z0-9_.-]")
"""Spec 10.9.1: `node-b` and `nodeb` are two."""
_LONGEST = 200
"""Characters of a name: engines take 255 and more."""


class Starter:
    """Starts containers, in memory that is reserved already. Owns the list of all slots."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        logs: LogExtractor,
        node: NodeSettings,
        limits: LimitsSettings,
        clock: Callable[[], float],
        on_gone: Callable[[Slot], None],
    ) -> None:
        self._runtime = runtime
        self._logs = logs
        self._clock = clock
        self._on_gone = on_gone
        self._counter = itertools.count(1)
        self._prefix = f"wsk{_UNSAFE_IN_INSTANCE.sub('', node.unique_name or '')}{node.id}"
        self._environment = {} if node.api_host is None else {"__OW_API_HOST": node.api_host}  # spec 10.7.6
        if limits.max_concurrency > 1:  # for stem cells too, of which nobody knows yet whom they will serve
            self._environment["__OW_ALLOW_CONCURRENT"] = "true"  # spec 10.12.6
        self.slots: set[Slot] = set()
        """Every container from before its creation until after its removal."""

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots)

    def slot_for(self, executable: Executable, request: Request) -> Slot:
        """Return a place for a container of one function and caller (spec 10.9.1)."""
        function = executable.function
        namespace = request.caller.namespace
        return self._slot(
            executable.runtime, function.limits.memory_bytes, namespace, function.name, function.document_id
        )

    def stem_cell(self, runtime: Runtime, memory: int) -> Slot:
        """Return a place for a container that nobody has asked for yet (spec 10.9.1)."""
        slot = self._slot(runtime, memory, "prewarm", runtime.kind, "")
        slot.stem_cell = True
        return slot

    async def start(self, slot: Slot) -> None:
        """Create the container. Registered before the call: no reconciliation takes it for a stranger.

        Raises:
            StartFailed: no container came of it, and `slot` is not on the list any more.
        """
        self.slots.add(slot)
        try:
            slot.container = await self._runtime.create(slot.spec, slot)
        except BaseException:
            self.slots.discard(slot)
            raise

    def _slot(self, runtime: Runtime, memory: int, first: str, second: str, action: str) -> Slot:
        cleaned = "_".join(_UNSAFE.sub("", word) for word in (first, second))
        spec = ContainerSpec(
            name=f"{self._prefix}_{next(self._counter)}_{cleaned}"[:_LONGEST],
            runtime=runtime,
            memory=memory,
            namespace=first if action else "",
            action=action,
            environment=self._environment,
        )
        return Slot(spec, self._logs.follow(spec), self._clock(), self._on_gone)
