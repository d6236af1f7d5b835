"""Actions that test what a child process can do, and how to look after what they leave."""

import asyncio
import contextlib
import json
import os
import select
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from invoker.contracts import Container, ContainerRuntime, Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime
from invoker.testing.containers import PATIENCE, RecordedOutput
from invoker_process.runtime import ProcessRuntime

LIMIT = 128 << 20
NOTHING: Mapping[str, str] = MappingProxyType({})

DAEMONS = """
import os

def daemon(environment):
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            os.write(write, b"%d" % os.getpid())
            os.execve("/bin/sleep", ["sleep", "3600"], environment)
        os._exit(0)
    os.wait()
    return int(os.read(read, 20))

def main(args):
    return {"proxy": os.getpid(), "plain": daemon({}), "with_environment": daemon(dict(os.environ))}
"""
"""Starts two daemons, each of which has left its session twice; both hold on to the streams."""

GREEDY_CHILD = """
import subprocess, sys

CODE = "kept = []\\nwhile True: kept.append(bytearray(1 << 20))"

def main(args):
    subprocess.Popen([sys.executable, "-I", "-S", "-c", CODE], start_new_session=args["daemon"])
    while True:
        pass
"""


def a_spec(
    name: str, kind: str = "python:3", memory: int = LIMIT, environment: Mapping[str, str] = NOTHING
) -> ContainerSpec:
    runtime = Runtime(kind=kind, family=kind.partition(":")[0])
    return ContainerSpec(name=name, runtime=runtime, memory=memory, environment=environment)


async def loaded(
    runtime: ContainerRuntime,
    code: str,
    *,
    name: str = "wsk_1",
    kind: str = "python:3",
    output: Output | None = None,
    environment: Mapping[str, str] = NOTHING,
) -> Container:
    """Return a container that has taken `code`."""
    spec = a_spec(name, kind, environment=environment)
    container = await runtime.create(spec, output or RecordedOutput())
    value = {"name": "action", "main": "main", "binary": False, "code": code, "env": {}}
    reply = await container.post("/init", json.dumps({"value": value}).encode(), timeout=PATIENCE, limit=1 << 20)
    assert reply.status == 200, reply.body
    return container


async def run(container: Container, **arguments: object) -> Any:
    """Return the result of a run that must succeed."""
    body = json.dumps({"value": arguments}).encode()
    reply = await container.post("/run", body, timeout=PATIENCE, limit=1 << 20)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def supervisor_of(runtime: ProcessRuntime) -> int:
    """Return the process of its supervisor; 0 if there is none at the moment."""
    return 0 if runtime._supervisor is None else runtime._supervisor.pid


def entries(path: Path, pattern: str = "*") -> list[Path]:
    """Return what is in a directory."""
    return sorted(path.glob(pattern))


def descriptors_of(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(entries(Path(f"/proc/{pid}/fd")))


class Watch:
    """Processes that are looked at by descriptors, so that no other can take the place of one."""

    def __init__(self, descriptors: dict[int, int]) -> None:
        self._descriptors = descriptors

    def running(self) -> set[int]:
        """Return those that have not ended."""
        poll = select.poll()
        for descriptor in self._descriptors.values():
            poll.register(descriptor, select.POLLIN)
        ended = {descriptor for descriptor, _ in poll.poll(0)}
        return {pid for pid, descriptor in self._descriptors.items() if descriptor not in ended}

    async def end(self) -> None:
        """Wait until all have ended."""
        loop = asyncio.get_running_loop()
        for descriptor in self._descriptors.values():
            ended = asyncio.Event()
            loop.add_reader(descriptor, ended.set)
            try:
                async with asyncio.timeout(PATIENCE):
                    await ended.wait()
            finally:
                loop.remove_reader(descriptor)


@contextlib.contextmanager
def watching(pids: Iterable[int]) -> Iterator[Watch]:
    """Watch processes, all of which run."""
    with contextlib.ExitStack() as opened:
        descriptors = {}
        for pid in pids:
            descriptors[pid] = os.pidfd_open(pid)
            opened.callback(os.close, descriptors[pid])
        watch = Watch(descriptors)
        assert watch.running() == set(descriptors)
        yield watch
