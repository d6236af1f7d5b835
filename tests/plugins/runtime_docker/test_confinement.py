"""What real engines make of the create request, seen from inside a container."""

import asyncio
import json
from typing import Any

from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime
from invoker_docker.creation import create_request
from invoker_docker.engine import connected
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.engines import PROCESSES, a_name
from tests.plugins.runtime_docker.tiny_image import asked

MEMORY = 64 << 20

PROCESS = "grep -q '^NoNewPrivs:.1$' /proc/self/status && grep -q '^CapEff:.0*$' /proc/self/status"
FILES = "test $(ulimit -n) = 77"
CGROUPS = """
cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | grep -qx 67108864 &&
cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null | grep -qx 33
"""
NO_SWAP = """
cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null | grep -qx 67108864 ||
cat /sys/fs/cgroup/memory.swap.max 2>/dev/null | grep -qx 0
"""
VARIABLES = """test "$__OW_API_HOST" = 'https://a b"c$d' && test "$TZ" = UTC"""
NO_INPUT = 'test -z "$(cat)"'

WRITES_ANYWHERE = "touch /bin/x && cp /bin/busybox /etc/busybox && /etc/busybox true"
WRITES_HERE = "cp /bin/busybox $place/busybox && $place/busybox true"
WRITES_ONLY_WHERE_IT_MAY = f"""
if touch /bin/x || touch /etc/x; then exit 8; fi
for place in /tmp /data/here; do {WRITES_HERE} || exit 9; done
test "$HOME" = /tmp
"""
FULL = """
for place in /tmp /data/here /dev/shm /run /var/tmp; do
    if cat /dev/zero > $place/full; then exit 8; fi
done
test -s /tmp/full && test -s /data/here/full && test -s /dev/shm/full
"""


async def code_of(url: str, image: str, script: str, **more: Any) -> int:
    """Run a script in a container as actions have it; return its exit code."""
    settings = DockerSettings(url=url, pids=33, open_files=77, environment={"TZ": "UTC"}, **more)
    runtime = Runtime(kind="a:1", family="a", image=image)
    environment = {"__OW_API_HOST": 'https://a b"c$d'}
    spec = ContainerSpec(name=a_name(), runtime=runtime, memory=MEMORY, environment=environment)
    async with connected(settings) as engine:
        request = create_request(spec, settings, pool_memory=1 << 30, labels={}, podman=engine.kind.podman)
        if engine.kind.podman:
            request["HostConfig"]["Ulimits"].append(PROCESSES)
        request["HostConfig"]["NetworkMode"] = "none"
        try:
            await engine.create(spec.name, request | {"Cmd": ["sh", "-c", script]})
            await engine.start(spec.name)
            _, ended = await asyncio.to_thread(asked, url, "POST", f"/containers/{spec.name}/wait")
        finally:
            await engine.remove(spec.name)
    code: int = json.loads(ended)["StatusCode"]
    return code


async def test_a_container_has_what_it_was_asked_for_with_and_no_more(engine_url: str, image: str) -> None:
    checks = [PROCESS, FILES, CGROUPS, NO_SWAP, VARIABLES, NO_INPUT]
    script = "\n".join(f"{{ {check.strip()}\n}} || exit {number}" for number, check in enumerate(checks, 1))

    assert await code_of(engine_url, image, script) == 0  # or the number of what it has otherwise


async def test_an_image_may_write_to_itself(engine_url: str, image: str) -> None:
    assert await code_of(engine_url, image, WRITES_ANYWHERE) == 0


async def test_a_strict_image_writes_only_where_it_may(engine_url: str, image: str) -> None:
    code = await code_of(engine_url, image, WRITES_ONLY_WHERE_IT_MAY, file_system="strict", writable=("/data/here",))

    assert code == 0


async def test_a_full_disk_is_an_error_and_not_the_end(engine_url: str, image: str) -> None:
    assert await code_of(engine_url, image, FULL, file_system="strict", writable=("/data/here",)) == 0
