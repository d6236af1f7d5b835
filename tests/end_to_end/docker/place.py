"""Where somebody uses the program with containers: a home whose settings name an engine, images, and a network."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from invoker.entities.function import Function, Limits
from invoker.wire.function import with_digest
from tests.end_to_end.docker.engine import Engine
from tests.end_to_end.functions import python
from tests.end_to_end.meeting import Meeting, Visitor
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Process, Running
from tests.services.images import Images

MARK = uuid.uuid4().hex[:8]
NETWORK = f"invoker-end-to-end-{MARK}"
BRIDGE = f"ie2e{MARK}"
"""Of this process of pytest's alone, which removes them in the end."""
MB = 1 << 20
PATIENCE = 30.0
_AGAIN = 0.02
"""Seconds between two looks at what other processes keep."""
TEXT = 31
"""Columns before the stream of a log line."""

VISIT = """
import json, os, socket, sys, time

def visit(place, **facts):
    link = socket.create_connection(tuple(place))
    link.sendall(json.dumps({"pid": os.getpid(), **facts}).encode() + b"\\n")
    return link
"""
"""For the source of an action: `visit(args["place"]).recv(1)` returns when the test lets it go."""

HOARD = """
def hoard():
    kept = []
    while True:
        kept.append(b"x" * (4 << 20))
"""
"""For the source of an action: uses up all memory there is."""

FINE = python("fine", "def main(args): return {'fine': True}")
"""What still works when something else has failed."""


class DockerHome(Home):
    """A home with an identity of its own on an engine that others use as well."""

    def __init__(
        self, folder: Path, url: str, images: Images, unique_name: str | None = None, **settings: object
    ) -> None:
        """`settings` are of the section `[docker]`."""
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self.images = images
        self.unique_name = unique_name or a_name()
        self.engine = Engine(url, f"0/{self.unique_name}")
        self.manifest = folder / "runtimes.json"
        self.settings = folder / "settings.toml"
        self.offer({"python:3": images.python, "nodejs:18": images.nodejs})
        own = {"url": url, "network": NETWORK, "bridge": BRIDGE, "pull": "never", "pull_user_images": "never"}
        lines = [f"{key} = {json.dumps(value)}" for key, value in (own | settings).items()]
        self.settings.write_text(
            "\n".join(
                [
                    'runtime = "docker"',
                    f'node = {{ unique_name = "{self.unique_name}" }}',
                    f'runtimes = {{ manifest = "{self.manifest}" }}',
                    'pool = { pause = false, memory = "8 GB" }',
                    "[docker]",
                    *lines,
                    "[docker.file_systems]",
                    '"functions-invoker/python" = "strict"',
                    '"functions-invoker/nodejs" = "strict"',
                ]
            )
        )
        self.put(FINE)

    def offer(self, kinds: Mapping[str, str], prewarm: Mapping[str, Any] | None = None) -> Self:
        """Write the manifest: images by kind, and how many containers of a kind are to be prewarmed."""
        families: dict[str, list[dict[str, Any]]] = {}
        for kind, image in kinds.items():
            name, _, tag = image.rpartition(":")
            version: dict[str, Any] = {"kind": kind, "image": {"name": name, "tag": tag}}
            if prewarm and kind in prewarm:
                version["stemCells"] = [prewarm[kind]]
            families.setdefault(kind.partition(":")[0], []).append(version)
        self.manifest.write_text(json.dumps({"runtimes": families}))
        return self

    def start(self, *arguments: str, **environment: str) -> Process:
        """See `Home`."""
        return super().start("--config", str(self.settings), *arguments, **environment)

    @asynccontextmanager
    async def meeting(self) -> AsyncIterator["Gathering"]:
        """Open a place that functions in containers can come to; leaving lets all go who still wait."""
        place = Gathering()
        host = await asyncio.to_thread(self.engine.gateway, NETWORK)
        server = await asyncio.start_server(place.welcome, host, 0)
        async with server:
            place.address = (host, server.sockets[0].getsockname()[1])
            try:
                yield place
            finally:
                place.close()


def a_name() -> str:
    """Return a name that no other invoker has."""
    return f"e2e-{uuid.uuid4().hex[:12]}"


class Gathering(Meeting):
    """A place where functions in containers are met."""

    address: tuple[str, int]
    """For the parameters of an activation."""

    def visitors(self) -> list[Visitor]:
        """Return who has come so far."""
        return [self._came.get_nowait() for _ in range(self._came.qsize())]


class Ended(NamedTuple):
    """An activation, from all sides: it was answered once, recorded once, and logged once."""

    answer: dict[str, Any]
    record: dict[str, Any]
    line: dict[str, Any]

    @property
    def status(self) -> int:
        """Number of the status."""
        status: int = self.record["response"]["statusCode"]
        return status

    @property
    def result(self) -> Any:
        """Result, or `{"error": …}`."""
        return self.record["response"]["result"]

    @property
    def logs(self) -> list[str]:
        """Lines of the log, without their times."""
        return [line[TEXT:] for line in self.record["logs"]]


@asynccontextmanager
async def running(home: Home, *settings: str, code: int = 0) -> AsyncIterator[Running]:
    """Run the invoker as `Home.running` does, with the event loop free for whoever serves it."""
    manager = home.running(*settings, code=code)
    program = await asyncio.to_thread(manager.__enter__)
    try:
        yield program
    except BaseException as error:
        if not await asyncio.to_thread(manager.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await asyncio.to_thread(manager.__exit__, None, None, None)


async def invoke(program: Running, name: str, content: Any = None, **fields: Any) -> Ended:
    """Invoke an action and look at it from all sides."""
    return await seen(program, await program.invoke(message(name, content, **fields)))


async def seen(program: Running, answer: dict[str, Any]) -> Ended:
    """Look at an activation that was answered: record and log must say the same."""
    told = answer["response"]
    record = await program.home.record(told["activationId"], told["namespace"])
    line = await asyncio.to_thread(program.log.of_activation, told["activationId"])
    assert record["response"] == told["response"]
    assert answer["isSystemError"] is (record["response"]["statusCode"] == 3)
    assert sum(one.get("aid") == told["activationId"] for one in program.log.lines) == 1
    return Ended(answer, record, line)


async def works(program: Running) -> None:
    """An action that nothing is wrong with succeeds."""
    assert (await invoke(program, "fine")).result == {"fine": True}


async def pool(program: Running) -> Any:
    """Return what `GET /pool` says."""
    return (await program.operator("/pool")).json


async def pool_is(program: Running, wanted: Callable[[Any], bool]) -> Any:
    """Wait until `GET /pool` says what is wanted; return it."""
    view: Any = None
    try:
        async with asyncio.timeout(PATIENCE):
            while not wanted(view := await pool(program)):
                await asyncio.sleep(_AGAIN)
    except TimeoutError:
        raise AssertionError(f"the pool stays {view}; the log: {program.log.lines}") from None
    return view


async def settled(program: Running, engine: Engine) -> Any:
    """Wait until the pool and the engine have the same containers, none of which is on its way; return the pool."""
    resting = {"idle": "running", "paused": "paused", "prewarmed": "running"}
    async with asyncio.timeout(PATIENCE):
        while True:
            view = await pool(program)
            states = {one["name"]: resting.get(one["state"]) for one in view["containers"]}
            if states == await asyncio.to_thread(engine.containers):
                assert view["used"] == sum(one["memory"] for one in view["containers"])
                return view
            await asyncio.sleep(_AGAIN)


async def unharmed(program: Running, engine: Engine) -> None:
    """Whatever has gone wrong: the invoker works, and nothing is left but containers that wait."""
    await works(program)
    await settled(program, engine)
    assert (await program.operator("/readyz")).status == 200


def container_of(view: Any, action: str) -> Any:
    """Return the one container of an action in what `GET /pool` said."""
    (container,) = (one for one in view["containers"] if one["action"] == f"guest/{action}")
    return container


def action(name: str, kind: str, code: str | None, *, memory: int = 128, **rest: Any) -> Function:
    """Return an action of any kind; `rest` are limits, or fields of the function."""
    limits = Limits(**{key: rest.pop(key) for key in Limits.__struct_fields__ if key in rest}, memory=memory)
    return with_digest(Function(path="guest", name=name, kind=kind, code=code, limits=limits, **rest))
