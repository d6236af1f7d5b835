"""Containers: requests to the action proxy, what became of one, its removal, and the list of all."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeAlias

from invoker.action_connection import ActionConnection, Disconnected
from invoker.contracts import Container, Output
from invoker.entities.container import Body, ContainerSpec, ContainerState, Reply
from invoker.errors import ContainerError, Lost, StartFailed, Unreachable
from invoker_docker.attach import AttachedOutput
from invoker_docker.engine import Answer, EngineClient
from invoker_docker.failures import NOT_FOUND, EngineDown, EngineError, start_failure
from invoker_docker.health import EngineHealth
from invoker_docker.state import REMOVED, UNKNOWN, CgroupMemory, address_on, may_be_flagged, read_state

PORT: Final = 8080
NO_COMMAND: Final = (126, 127)  # what an init, or a shell, ends with if the command is none (spec 10.7.8)
EVENTS: Final = ("pause", "unpause", "disconnect", "oom")  # the engine's that concern a container; podman has no `oom`
LAST_WORDS: Final = 2.0  # seconds for which a cut connection waits to be explained by the end of the container
LATE_FLAG: Final = 0.25
"""Seconds for which a container that was killed is asked about again: engines may learn late why (spec 9.5.5)."""
YOUNG: Final = 10.0
"""Seconds from its start in which a container that dies without having taken a request is to blame for it itself."""
OUTPUT_TAIL: Final = 1.0  # seconds for which the end of the output is waited for once the container is gone
FIRST_LOOK, LAST_LOOK, SELDOM = 0.005, 0.1, 1.0
"""Seconds between questions about a container's end: doubled from the first; the last is for an engine that is down."""
REMOVALS: Final = 8
"""Removals at the same time. 50 containers on two cores: 2.4 s so, 2.6 s with 16 at once, 3.1 s with all."""
FIRST_PAUSE, LAST_PAUSE = 0.05, 5.0
"""Seconds between tries to remove one: doubled from the first, until the last; an engine that comes back ends them."""

logger = logging.getLogger("invoker.docker")


class DockerContainer(Container):
    """A container that the engine has created: `start` it; `remove` is owed in any case."""

    pausable = True

    def __init__(
        self,
        name: str,
        identifier: str,
        spec: ContainerSpec,
        output: Output,
        engine: EngineClient,
        removals: "Removals",
    ) -> None:
        self._name = name
        self.id: Final = identifier  # the engine's
        self._spec = spec
        self._output = output
        self._engine = engine
        self._removals = removals
        self._tasks = removals.tasks
        self._memory = CgroupMemory()
        self._attached = AttachedOutput(identifier, output.write, self._output_ended)
        self._host = ""  # its address; empty if it was dead when it was looked for
        self._born = 0.0
        self._started = False
        self._reached = False  # its proxy has taken a connection
        self._connections: list[ActionConnection] = []  # as many as there were requests at one time
        self._free: list[ActionConnection] = []  # those without a request
        self._shut = False  # no request is sent any more
        self._frozen = False  # it is paused, by whomever
        self._untold = False  # it has ended beside all requests, and nobody has been told how
        self._state: ContainerState | None = None  # how it ended, once that is known for good
        self._explained = asyncio.Event()
        self._post_mortem: asyncio.Task[None] | None = None
        self._removal: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        """Its name, and whom it was started for, as operators read it."""
        return f"{self._name} ({self._spec.action or self._spec.runtime.kind})"

    async def start(self) -> None:
        """Start it with its output read from the first byte, and learn where it is.

        Only then is `output` told of its end: if it fails (`EngineError`, `StartFailed`) another may have the same.
        """
        await self._engine.attach(self.id, self._attached)
        await self._engine.start(self.id)
        inspected = await self._engine.inspect(self.id)
        self._born = asyncio.get_running_loop().time()
        self._host = self._address(inspected)
        state = inspected.get("State") or {}
        if not self._host and state.get("Running"):
            raise StartFailed(f"{self._name} has no address on the network {self._engine.settings.network}")
        pid = state.get("Pid")
        if isinstance(pid, int) and pid > 0:
            self._memory = CgroupMemory.of(pid, self.id)
        self._started = True
        if self._attached.ended.is_set():
            self._output.closed()

    @property
    def name(self) -> str:
        """See `Container`."""
        return self._name

    async def post(self, path: str, body: Body, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109 (a contract)
        """See `Container`."""
        if self._shut or not self._host:
            raise await self._refusal()
        if self._frozen:  # by hand: the pool resumes what it has paused
            try:
                await self.resume()
            except EngineError as error:
                raise Unreachable(f"{self._name} is paused and can't be resumed: {error}") from error
        if not self._free:
            self._free.append(ActionConnection(self._host, PORT))
            self._connections += self._free
        connection, kills = self._free.pop(), self._memory.kills
        try:
            reply = await connection.post(path, body, timeout=timeout, limit=limit, wait=not self._reached)
        except Disconnected as cut:
            self._reached = True
            raise Lost(await self._explanation(), at=cut.at) from None
        except Unreachable:
            if self._reached:
                raise
            raise await self._refusal() from None
        finally:
            self._free.append(connection)
        self._reached = True
        if reply.status != HTTPStatus.OK:
            self._memory.look()
            if self._memory.kills > kills:  # of what the proxy had started, such as a program of actionloop's
                raise Lost(ContainerState(running=True, memory_exhausted=True, peak_memory=self._memory.peak))
        return reply

    async def inspect(self) -> ContainerState:
        """See `Container`."""
        if self._state is not None:
            return self._state
        if self._removal is not None:
            return REMOVED
        state = await self._look()
        if state.known and not state.running and not may_be_flagged(state):
            self._end(state)
        return state

    async def pause(self) -> None:
        """See `Container`."""
        for connection in self._free:
            connection.forget()  # spec T55
        try:
            await self._engine.pause(self.id)
        except EngineError as error:
            if isinstance(error, EngineDown):
                self._shut = True  # it may be paused now, or in a moment, and would take a request without a word
            if "already paused" not in error.message:
                raise

    async def resume(self) -> None:
        """See `Container`."""
        try:
            await self._engine.unpause(self.id)
        except EngineError as error:
            if "not paused" not in error.message or not (await self.inspect()).running:
                raise
        self._frozen = False
        for connection in self._free:
            connection.forget()  # of before a pause by hand

    async def remove(self) -> None:
        """See `Container`."""
        if self._removal is None:
            self._hang_up()
            self._explained.set()
            self._removal = self._tasks.create_task(self._remove(), name=f"removal of {self._name}")
        await asyncio.wait({self._removal})

    def vanished(self, state: ContainerState = REMOVED) -> None:
        """Learn that the engine doesn't have it any more, or that it can't be reached any more."""
        self._end(state)
        self._attached.close()

    def happened(self, event: str) -> None:
        """Learn of one of `EVENTS`: what somebody does by hand, too."""
        match event:
            case "pause" | "unpause":
                self._frozen = event == "pause"
            case "oom":
                self._memory.look()
            case "disconnect" if self._started and not self._shut:
                self._tasks.create_task(self._find(), name=f"search for {self._name}")

    async def _find(self) -> None:
        """Give it up if it runs and is no longer where it was."""
        with contextlib.suppress(EngineError):
            inspected = await self._engine.inspect(self.id)
            running = (inspected.get("State") or {}).get("Running") and not self._shut
            if running and self._address(inspected) != self._host:
                logger.warning("%s was cut from its network by somebody else: it is removed", self)
                self.vanished(UNKNOWN)

    def _address(self, inspected: Answer) -> str:
        return address_on(inspected, self._engine.settings.network)

    def _output_ended(self) -> None:
        """Learn that no more output comes: it has ended, as a rule. Requests in flight go on, for it may still run.

        Its address may be somebody else's now: a container's or, where a bridge is gone, a machine's (seen in podman).
        """
        if self._started:
            self._output.closed()
        self._shut = True
        self._memory.look()
        if self._removal is None:
            self._untold = self._reached and len(self._free) == len(self._connections)
            self._post_mortem = self._tasks.create_task(self._examine(), name=f"post-mortem of {self._name}")

    async def _remove(self) -> None:
        try:
            if self._post_mortem is not None:
                if self._untold:  # whoever saw its output end removes it at once, before the engine knows how it ended
                    await asyncio.wait({self._post_mortem}, timeout=2 * LATE_FLAG)
                self._post_mortem.cancel()
            await asyncio.wait({self._removals.remove(self.id, self._name)})
            await self._attached.finish(OUTPUT_TAIL)
        finally:
            self._attached.close()

    async def _refusal(self) -> ContainerError:
        """Return what a request gets that was not sent: another container, unless this one died as it was started."""
        newborn = not self._reached and asyncio.get_running_loop().time() - self._born < YOUNG
        if self._removal is None and newborn:
            state = await self._explanation()
            if state.exit_code in NO_COMMAND:
                error = EngineError(None, f"it asks for a command that was not found: it {state.ending}")
                return start_failure(error, self._spec.runtime)
            if state.known and not state.running:
                return Lost(state)
        return Unreachable(f"the container {self._name} has ended, or is being removed")

    async def _explanation(self) -> ContainerState:
        """Return how it ended; a container whose connection was cut has ended, or is about to, as a rule."""
        self._memory.look()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._explained.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                return await self.inspect()
        return UNKNOWN

    async def _examine(self) -> None:
        """Find out whether and how it has ended; one that hasn't is of no more use, for its output is lost."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        pause = FIRST_LOOK
        while self._state is None:
            state = await self._look()
            waited = loop.time() - begun
            if state.known and not state.running and (waited >= LATE_FLAG or not may_be_flagged(state)):
                self._end(state)
            elif state.running and waited >= LAST_WORDS:
                logger.error("%s still runs, but its output is lost: it gets no further requests", self)
                self._explained.set()
                return
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_LOOK if state.known else SELDOM)

    async def _look(self) -> ContainerState:
        """Ask the engine. While it is down, what became of the container is unknown."""
        try:
            inspected = await self._engine.inspect(self.id)
        except EngineError as error:
            gone = not isinstance(error, EngineDown) and error.status == NOT_FOUND
            return REMOVED if gone else UNKNOWN
        self._memory.look()
        return read_state(inspected, self._memory, self._spec.memory)

    def _end(self, state: ContainerState) -> None:
        """Note how it ended, and log it if no activation will tell. Requests in flight get no reply any more."""
        if self._state is None:
            if self._untold:
                self._untold = False
                told = "exhausted its memory" if state.memory_exhausted else state.ending or "has been removed"
                logger.warning("%s ended while it had no request: it %s", self, told)
            self._state = state
            self._explained.set()
            self._hang_up()

    def _hang_up(self) -> None:
        self._shut = True
        for connection in self._connections:
            connection.close()


class Removals:
    """Removes what it is given. Each removal is a task of the group given; only success and cancellation end it."""

    def __init__(
        self, engine: EngineClient, health: EngineHealth, tasks: asyncio.TaskGroup, on_gone: Callable[[str], object]
    ) -> None:
        """`on_gone` is called with each name of which nothing is left."""
        self._engine = engine
        self._health = health
        self.tasks: Final = tasks  # the runtime's: what it does in the background, its containers included
        self._on_gone = on_gone
        self._slots = asyncio.Semaphore(REMOVALS)
        self._removals: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}  # why what can't be removed can't, by name: the same is told once
        self.failed = 0  # tries so far

    def __len__(self) -> int:
        return len(self._removals)

    def remove(self, container: str, name: str) -> asyncio.Task[None]:
        """Begin to remove a container, by its id or its name; a removal that is under way is joined."""
        removal = self._removals.get(name)
        if removal is None:
            removal = self.tasks.create_task(self._remove(container, name), name=f"remove {name}")
            self._removals[name] = removal
            removal.add_done_callback(lambda ended: self._forget(name, ended))
        return removal

    def _forget(self, name: str, removal: asyncio.Task[None] | None) -> None:
        if self._removals.get(name) is removal:
            del self._removals[name]

    async def attempt(self, container: str, name: str) -> bool:
        """Try once to remove a container, by its id or its name; return whether it is gone."""
        try:
            async with self._slots:
                await self._engine.remove(container)
        except EngineError as error:
            self.failed += 1
            if not isinstance(error, EngineDown) and self._told.get(name) != error.message:
                logger.warning("%s can't be removed yet: %s", name, error)
                self._told[name] = error.message
            return False
        self._told.pop(name, None)
        return True

    async def _remove(self, container: str, name: str) -> None:
        pause = FIRST_PAUSE
        while not await self.attempt(container, name):
            rest = asyncio.sleep(pause) if self._health.up.is_set() else self._health.up.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await rest
            pause = min(2 * pause, LAST_PAUSE)
        # Before anybody knows: an older list of the engine's may have the name removed again, by a new task.
        self._forget(name, asyncio.current_task())
        self._on_gone(name)


ContainersByName: TypeAlias = dict[str, DockerContainer | None]
"""Every name under which something of ours may be on the engine, from before it is asked for until nothing is left;
`None` while there is nothing to send to. Owned by the runtime."""
