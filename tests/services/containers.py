"""One container as a runtime starts it: its address, its streams, and the action proxy in it."""

import asyncio
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, NamedTuple

from invoker.action_connection import ActionConnection

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
PATIENCE = 60
HARDENED = {
    "--cap-drop": "ALL",
    "--security-opt": "no-new-privileges",
    "--memory": "256m",
    "--memory-swap": "256m",
    "--pids-limit": "64",
    "--ulimit": "nofile=1024:1024",
}
"""As a runtime that trusts no function starts a container."""
FILE_SYSTEMS: dict[str, list[str]] = {"image": [], "strict": ["--read-only", "--tmpfs", "/tmp:exec,size=64m"]}
"""What each policy for file systems means, in the words of the engine's command line."""


class Place(NamedTuple):
    """Where containers are started."""

    engine: str
    network: str
    """One of our own: the engine's default goes when somebody starts a second engine that has none."""


class Answer(NamedTuple):
    status: int
    body: Any


class Logs(NamedTuple):
    stdout: str
    stderr: str


class Running:
    """A container that runs. What it writes is read while it lives."""

    def __init__(self, engine: str, name: str, address: str, output: asyncio.subprocess.Process) -> None:
        assert output.stdout is not None
        assert output.stderr is not None
        self._engine = engine
        self.name = name
        self._streams = output.stdout, output.stderr
        self.connection = ActionConnection(address, 8080)

    async def init(self, code: str, *, env: Mapping[str, str] | None = None, **value: Any) -> Answer:
        """Send code to it."""
        defaults = {"name": "test", "main": "main", "binary": False, "env": dict(env or {})}
        return await self._post("/init", {"value": {**defaults, "code": code, **value}})

    async def run(self, value: Any = None, **context: str) -> Answer:
        """Run what was sent."""
        return await self._post("/run", {"value": {} if value is None else value, **context})

    async def result(self, code: str, **value: Any) -> Any:
        """Send code and run it once; both must succeed."""
        assert await self.init(code, **value) == Answer(200, {"ok": True})
        answer = await self.run()
        assert answer.status == 200, answer
        return answer.body

    async def logs(self) -> Logs:
        """Wait for the end of an activation on both streams; return what came before it."""
        texts = [await stream.readuntil(SENTINEL) for stream in self._streams]
        return Logs(*(text.removesuffix(SENTINEL).decode() for text in texts))

    async def command(self, *arguments: str) -> str:
        """Have the engine do something with it."""
        return await engine_command(self._engine, *arguments, self.name)

    async def ended(self) -> int:
        """Wait for its end; return its exit code."""
        return int(await self.command("wait"))

    async def _post(self, path: str, body: Any) -> Answer:
        data = json.dumps(body).encode()
        reply = await self.connection.post(path, data, timeout=PATIENCE, limit=1 << 20, wait=True)
        return Answer(reply.status, json.loads(reply.body))


@asynccontextmanager
async def container(place: Place, image: str, *arguments: str) -> AsyncIterator[Running]:
    """Start one, hardened; leaving it removes it."""
    engine = place.engine
    name = f"image-test-{uuid.uuid4().hex[:12]}"
    addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    await engine_command(
        engine, "create", "--name", name, "--network", place.network, *chain(*HARDENED.items()), *arguments, image
    )
    try:
        await engine_command(engine, "start", name)
        address = await engine_command(engine, "inspect", "--format", addresses, name)
        async with followed(engine, name) as output:
            running = Running(engine, name, address, output)
            try:
                yield running
            finally:
                running.connection.close()
    finally:
        await engine_command(engine, "rm", "--force", name)


@asynccontextmanager
async def followed(engine: str, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Read what a container writes, from its start on."""
    reading = await engine_process(engine, "logs", "--follow", name)
    try:
        yield reading
    finally:
        if reading.returncode is None:
            reading.kill()
        await reading.communicate()


async def engine_command(engine: str, *arguments: str) -> str:
    """Run the engine's command line, which must succeed; return what it says."""
    process = await engine_process(engine, *arguments)
    said, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return said.decode().strip()


async def engine_process(engine: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start the engine's command line."""
    return await asyncio.create_subprocess_exec(
        *("docker", "-H", engine, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
