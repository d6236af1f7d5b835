"""How soon logs are there once their last byte has arrived: the plugin's connection to an engine that we play."""

import asyncio
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Final, cast

from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request
from invoker_attached_logs.follower import AttachedLogs
from invoker_docker.settings import EngineAddress
from invoker_docker.engine import EngineClient
from invoker_docker.attach import attached

REQUEST = a_request()

FLOOR: Final = "from the write into a Unix socket until a task that waits for bare bytes goes on"
_PATIENCE: Final = 60.0
_LIMIT: Final = 10 << 20
_CHUNK: Final = 1 << 16
_TAKEN: Final = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
_LENGTH: Final = len(SENTINEL_LINE).to_bytes(4, "big")
_STDOUT: Final = b"\x01\0\0\0" + _LENGTH + SENTINEL_LINE
_STDERR: Final = b"\x02\0\0\0" + _LENGTH + SENTINEL_LINE
_SPEC: Final = ContainerSpec(name="bench", runtime=Runtime(kind="python:3", family="python"), memory=128 << 20)


async def arrival(path: Path, count: int, faults: list[str]) -> float:
    """Return the microseconds until logs are there, by the plugin's connection to an engine that this process plays."""
    loop = asyncio.get_running_loop()
    follower = AttachedLogs("openwhisk").follow(_SPEC)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)  # noqa: FBT003 (the standard library's)
        engine = cast("Engine", SimpleNamespace(address=EngineAddress(path=str(path)), api="v1.41", ssl=None))
        attaching = asyncio.create_task(attached(engine, "bench", follower, lambda: None, timeout=_PATIENCE))
        server, _ = await loop.sock_accept(listener)
        await loop.sock_recv(server, _CHUNK)
        server.send(_TAKEN)
        attachment = await attaching
    taken = 0.0
    for _ in range(count):
        follower.begin(REQUEST, _LIMIT)
        server.send(_STDOUT)
        await _turns()
        begun = time.perf_counter()
        server.send(_STDERR)
        complete = await follower.settled(_PATIENCE)
        logs = follower.end(expected=True, failed=False)
        taken += time.perf_counter() - begun
        if not complete or not logs.reusable:
            faults.append(f"not the logs: {logs}")
    attachment.close()
    server.close()
    await attachment.ended.wait()
    return taken / count * 1e6


async def bare_arrival(count: int) -> float:
    """Return the microseconds from a write into a socket until a task goes on."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    waiting: list[asyncio.Future[bytes]] = []
    here.setblocking(False)  # noqa: FBT003 (the standard library's)
    loop.add_reader(here, lambda: waiting.pop().set_result(here.recv(_CHUNK)))
    taken = 0.0
    for _ in range(count):
        await _turns()
        waiting.append(loop.create_future())
        begun = time.perf_counter()
        there.send(_STDERR)
        await waiting[0]
        taken += time.perf_counter() - begun
    loop.remove_reader(here)
    here.close()
    there.close()
    return taken / count * 1e6


async def _turns() -> None:
    """Let the loop read what is there."""
    for _ in range(4):
        await asyncio.sleep(0)
