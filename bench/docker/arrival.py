"""How soon logs are there once their last byte has arrived: the plugin's connection to an engine that we play."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Final

from invoker.contracts import LogFollower
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request
from invoker_attached_logs.follower import AttachedLogs
from invoker_docker.attach import AttachedOutput
from invoker_docker.engine import connected
from invoker_docker.settings import DockerSettings

REQUEST = a_request()

FLOOR: Final = "from the write into a Unix socket until a task that waits for bare bytes goes on"
_PATIENCE: Final = 60.0
_LIMIT: Final = 10 << 20
_CHUNK: Final = 1 << 16
_VERSION: Final = b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"ApiVersion":"1.41"}'
_TAKEN: Final = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
_LENGTH: Final = len(SENTINEL_LINE).to_bytes(4, "big")
_STDOUT: Final = b"\x01\0\0\0" + _LENGTH + SENTINEL_LINE
_STDERR: Final = b"\x02\0\0\0" + _LENGTH + SENTINEL_LINE
_SPEC: Final = ContainerSpec(name="bench", runtime=Runtime(kind="python:3", family="python"), memory=128 << 20)


async def arrival(path: Path, count: int, faults: list[str]) -> float:
    """Return the microseconds until logs are there, by the plugin's connection to an engine that this process plays."""
    follower = AttachedLogs("openwhisk").follow(_SPEC)
    attached = AttachedOutput("bench", follower.write, lambda: None)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)  # noqa: FBT003 (the standard library's)
        playing = asyncio.create_task(_play(listener))
        async with connected(DockerSettings(url=f"unix://{path}")) as engine:
            await engine.attach("bench", attached)
            server = await playing
            return await _arrival(server, attached, follower, count, faults)


async def _play(listener: socket.socket) -> socket.socket:
    """Be an engine that says which version it is, and then lets its connection be taken over."""
    loop = asyncio.get_running_loop()
    server, _ = await loop.sock_accept(listener)
    for answer in (_VERSION, _TAKEN):
        await loop.sock_recv(server, _CHUNK)
        server.send(answer)
    return server


async def _arrival(
    server: socket.socket, attached: AttachedOutput, follower: LogFollower, count: int, faults: list[str]
) -> float:
    taken = 0.0
    for _ in range(count):
        follower.begin(REQUEST, _LIMIT)
        server.send(_STDOUT)
        await _turns()
        begun = time.perf_counter()
        server.send(_STDERR)
        complete = await follower.settled(_PATIENCE)
        logs = follower.end(expected=True)
        taken += time.perf_counter() - begun
        if not complete or not logs.reusable:
            faults.append(f"not the logs: {logs}")
    attached.close()
    server.close()
    await attached.ended.wait()
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
