"""An invoker that starts containers, prints the processes of all of them, and waits to be killed."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Literal, cast

from invoker import Settings
from invoker.testing.containers import RecordedOutput
from invoker_process.runtime import ProcessRuntime, process_runtime
from invoker_process.sampling import look
from invoker_process.settings import ProcessSettings

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.plugins.runtime_process.actions import DAEMONS, a_spec, loaded, run, supervisor_of

IDLE = {"python": "def main(args): return {}", "nodejs": "function main() { return {} }"}
BUSY = {
    "python": "def main(args):\n  print('busy', flush=True)\n  while True: pass",
    "nodejs": "function main() { console.log('busy'); for (;;); }",
}


def children(runtime: ProcessRuntime) -> list[int]:
    """Return the first process of each container."""
    return look(supervisor_of(runtime))[1]


async def daemons(runtime: ProcessRuntime) -> list[int]:
    """Three containers with two daemons each."""
    containers = [await loaded(runtime, DAEMONS, name=f"wsk_{number}") for number in range(3)]
    return [pid for container in containers for pid in (await run(container)).values()]


async def states(runtime: ProcessRuntime) -> list[int]:
    """In each language that this machine has: a prewarmed proxy, a warm one, one that is busy, one that is stopped."""
    running = set()
    for family in {kind.family for kind in runtime.runtimes()}:
        kind = f"{family}:default"
        stopped = set(children(runtime))
        await run(await loaded(runtime, IDLE[family], name=f"{family}_stopped", kind=kind))
        (pid,) = set(children(runtime)) - stopped
        os.kill(pid, signal.SIGSTOP)
        await runtime.create(a_spec(f"{family}_prewarmed", kind), RecordedOutput())
        await run(await loaded(runtime, IDLE[family], name=f"{family}_warm", kind=kind))
        output = RecordedOutput()
        busy = await loaded(runtime, BUSY[family], name=f"{family}_busy", kind=kind, output=output)
        running.add(asyncio.ensure_future(run(busy)))
        await output.says(b"busy")
    return children(runtime)


async def main(work_dir: str, cgroup: str, what: str) -> None:
    settings = ProcessSettings(work_dir=Path(work_dir), cgroup=cast("Literal['auto', 'off']", cgroup))
    async with process_runtime(Settings.of(settings)) as runtime:
        pids = await {"daemons": daemons, "states": states}[what](runtime)
        sys.stdout.write(f"{json.dumps([supervisor_of(runtime), *pids])}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
