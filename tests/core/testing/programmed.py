"""Fake containers that do what the contract suite's programs do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invoker.entities.container import ContainerSpec, Reply
from invoker.testing.containers import KINDS, FakeContainer, FakeRuntime, Script, reply
from invoker.testing.programs import EXIT_CODE, MEET, TICK_SECONDS, Program


def a_spec(name: str) -> ContainerSpec:
    kind = KINDS.resolve("python:default")
    assert kind is not None
    return ContainerSpec(name=name, runtime=kind, memory=128 << 20)


@asynccontextmanager
async def fake_runtime(script: Script | None = None, *, pausable: bool = True) -> AsyncIterator[FakeRuntime]:
    """Open a runtime of containers in memory; leaving removes them all."""
    runtime = FakeRuntime(script, pausable=pausable)
    try:
        yield runtime
    finally:
        for container in list(runtime.running.values()):
            await container.remove()


def programmed() -> Script:
    """A script that does what the contract suite's programs do."""
    loaded: dict[str, Program] = {}
    begun: dict[str, float] = {}
    meeting: list[asyncio.Future[Reply]] = []

    async def script(container: FakeContainer, path: str, body: bytes) -> Reply:
        value = json.loads(body)["value"]
        if path == "/init":
            begun[container.name] = asyncio.get_running_loop().time()
            if value["code"] == MEET:
                container.script = meet
                return reply(b"{}")
            loaded[container.name] = Program(value["code"])
            if loaded[container.name] is Program.SAY:
                container.say(b"from init\n")
            return reply(b"{}")
        if loaded[container.name] is Program.TICK:
            await asyncio.sleep(0)
            ran = asyncio.get_running_loop().time() - begun[container.name] - container.stood
            return reply(json.dumps({"ticks": int(ran / TICK_SECONDS)}).encode())
        return await run(container, loaded[container.name], value)

    async def meet(container: FakeContainer, path: str, body: bytes) -> Reply:
        if not meeting:
            meeting.append(asyncio.get_running_loop().create_future())
            return await meeting[0]
        meeting.pop().set_result(reply(b'{"turn":1}'))
        return reply(b'{"turn":2}')

    return script


async def run(container: FakeContainer, program: Program, value: dict[str, object]) -> Reply:
    match program:
        case Program.SAY:
            container.say(f"{value['text']}\n".encode())
        case Program.ENVIRON:
            names = value["names"]
            assert isinstance(names, list)
            return reply(json.dumps({name: container.spec.environment.get(name) for name in names}).encode())
        case Program.FLOOD:
            for _ in range(int(str(value["lines"]))):
                container.say(b"x" * 99 + b"\n")
        case Program.LONG:
            return reply(json.dumps({"text": "x" * int(str(value["length"]))}).encode())
        case Program.HANG:
            container.say(b"here\n")
            await asyncio.get_running_loop().create_future()
        case Program.EXIT:
            container.die(exit_code=EXIT_CODE)
        case Program.GREEDY:
            container.die(exit_code=-9, memory_exhausted=True, peak_memory=container.spec.memory)
    return reply(json.dumps(value).encode())
