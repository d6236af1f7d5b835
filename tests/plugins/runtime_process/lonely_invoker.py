"""An invoker that starts containers with daemons, prints all their processes, and waits to be killed."""

import asyncio
import json
import sys
from pathlib import Path

from invoker import Settings
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.plugins.runtime_process.actions import DAEMONS, loaded, run


async def main(work_dir: str, cgroup: str) -> None:
    settings = ProcessSettings(work_dir=Path(work_dir), cgroup="auto" if cgroup == "auto" else "off")
    async with process_runtime(Settings.of(settings)) as runtime:
        containers = [await loaded(runtime, DAEMONS, name=f"wsk_{number}") for number in range(3)]
        pids = [pid for container in containers for pid in (await run(container)).values()]
        sys.stdout.write(f"{json.dumps([runtime.supervisor_pid, *pids])}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
