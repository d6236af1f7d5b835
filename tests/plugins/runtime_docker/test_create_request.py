"""The request that a container is created with, whole: goldens for each policy, and what real engines make of it."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime
from invoker_docker.create_request import create_request, file_system
from invoker_docker.engine import Abilities, connected
from invoker_docker.images import ImageReference
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.invoker_place import PROCESSES, a_name
from tests.plugins.runtime_docker.tiny_image import asked

GOLDENS = Path(__file__).parent / "goldens"


MIB = 1 << 20


POOL = 2048 * MIB


DOCKER = Abilities(init=True)


PODMAN = Abilities(podman=True)


LABELS = {"functions-invoker.invoker": "0", "functions-invoker.action": "guest/hello"}


FULL = DockerSettings(
    network="functions-b",
    file_system="strict",
    writable=("/home/action", "/var/cache"),
    oci_runtime="runsc",
    cpus=1.5,
    dns=("10.0.0.53",),
    dns_search=("svc.example.org",),
    dns_options=("ndots:1",),
    labels={"org.example.rack": "7"},
    environment={"TZ": "UTC"},
    pids=256,
    open_files=4096,
    extra={"StopSignal": "SIGKILL", "HostConfig": {"OomScoreAdj": 500, "CapDrop": ["NET_RAW"]}},
)


def a_spec(image: str = "openwhisk/action-python-v3.11:nightly", memory: int = 256, **more: Any) -> ContainerSpec:
    environment = {"__OW_API_HOST": "https://api.example.org", "__OW_ALLOW_CONCURRENT": "false"}
    runtime = Runtime(kind="python:3.11", family="python", image=image)
    given: dict[str, Any] = {"name": "wsk0_1a2b3c4d_1", "runtime": runtime, "memory": memory * MIB}
    return ContainerSpec(**given | {"environment": environment} | more)


def a_request(settings: DockerSettings | None = None, spec: ContainerSpec | None = None, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"pool_memory": POOL, "labels": LABELS, "able": DOCKER} | more
    return create_request(spec or a_spec(), settings or DockerSettings(), **given)


@pytest.mark.parametrize(
    ("golden", "settings", "able"),
    [
        ("image", DockerSettings(), Abilities(init=True, quota=True)),
        ("strict", DockerSettings(file_system="strict"), Abilities(init=True, quota=True)),
        ("full", FULL, DOCKER),
        ("podman", DockerSettings(), PODMAN),
        ("podman-strict", DockerSettings(file_system="strict"), PODMAN),
    ],
)
def test_the_whole_request_is_as_agreed(golden: str, settings: DockerSettings, able: Abilities) -> None:
    agreed = (GOLDENS / f"{golden}.json").read_text(encoding="utf-8")

    assert json.dumps(a_request(settings, able=able), indent=2) + "\n" == agreed


def test_a_megabyte_of_memory_is_1048576_bytes_and_there_is_no_swap() -> None:  # T73
    limits = a_request(spec=a_spec(memory=256))["HostConfig"]

    assert (limits["Memory"], limits["MemorySwap"]) == (268_435_456, 268_435_456)


@pytest.mark.parametrize(
    ("pool", "memory", "shares"),
    [
        (1024, 256, 256),
        (1024, 384, 512),
        (1024, 1024, 1024),
        (1024, 2048, 1024),
        (1 << 20, 128, 2),
        (3 * 256, 256, 341),
    ],
)
def test_processor_shares_are_those_of_whole_containers(pool: int, memory: int, shares: int) -> None:  # T74, 10.7.2
    request = a_request(spec=a_spec(memory=memory), pool_memory=pool * MIB)

    assert request["HostConfig"]["CpuShares"] == shares


@pytest.mark.parametrize(
    ("cpus", "pool", "nano"), [(3.0, 1024, 750_000_000), (1.0, 3 * 256, 333_330_000), (0.5, 1 << 20, 10_000_000)]
)
def test_processors_are_divided_by_memory(cpus: float, pool: int, nano: int) -> None:  # 10.7.3
    request = a_request(DockerSettings(cpus=cpus), pool_memory=pool * MIB)

    assert request["HostConfig"]["NanoCpus"] == nano


def sizes_in(request: Mapping[str, Any]) -> list[int]:
    """Return what can be filled in memory under "strict"."""
    host = request["HostConfig"]
    tmpfs = [int(options.rpartition("size=")[2]) for options in host["Tmpfs"].values()]
    return [host["ShmSize"], *tmpfs]


@pytest.mark.parametrize("memory", [128, 129, 256, 512, 3000])
@pytest.mark.parametrize("writable", [(), ("/a",), ("/a", "/b", "/c")])
@pytest.mark.parametrize("able", [DOCKER, PODMAN])
def test_what_can_be_filled_is_half_of_the_memory_at_most(
    memory: int, writable: tuple[str, ...], able: Abilities
) -> None:
    settings = DockerSettings(file_system="strict", writable=writable)

    sizes = sizes_in(a_request(settings, a_spec(memory=memory), able=able))

    assert sum(sizes) <= memory * MIB // 2
    assert all(size % 4096 == 0 and size >= MIB for size in sizes)  # the kernel rounds up to pages


def test_a_directory_that_podman_makes_writable_can_be_given_room() -> None:
    settings = DockerSettings(file_system="strict", writable=("/run",))

    tmpfs = a_request(settings, able=PODMAN)["HostConfig"]["Tmpfs"]

    assert tmpfs["/run"] == tmpfs["/tmp"]
    assert tmpfs["/var/tmp"].endswith(f"size={MIB}")


@pytest.mark.parametrize("policy", ["image", "strict"])
def test_the_working_directory_is_the_images(policy: Any) -> None:
    request = a_request(DockerSettings(file_system=policy))

    assert "WorkingDir" not in request
    assert "Entrypoint" not in request
    assert "Cmd" not in request


def test_the_first_pattern_that_fits_says_what_an_image_may_write() -> None:
    settings = DockerSettings(file_systems={"functions-invoker/node": "image", "functions-invoker/*": "strict"})

    def policy(image: str) -> str:
        return file_system(settings, ImageReference.parse(image))

    assert policy("functions-invoker/node:20") == "image"
    assert policy("functions-invoker/python:3") == "strict"
    assert policy("docker.io/functions-invoker/python") == "strict"
    assert policy("example.org/functions-invoker/python") == "image"


def test_the_operators_variables_come_last_and_win() -> None:
    settings = DockerSettings(environment={"__OW_API_HOST": "https://other", "A": "1=2"})

    assert a_request(settings)["Env"] == ["__OW_API_HOST=https://other", "__OW_ALLOW_CONCURRENT=false", "A=1=2"]


def test_labels_of_ours_can_not_be_replaced() -> None:
    request = a_request(DockerSettings(labels={"mine": "1"}), labels={"mine": "theirs", "functions-invoker.boot": "b"})

    assert request["Labels"] == {"mine": "theirs", "functions-invoker.boot": "b"}


def test_extra_merges_tables_and_replaces_lists() -> None:
    extra = {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "CapDrop": []}}

    request = a_request(DockerSettings(extra=extra))

    assert request["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert request["HostConfig"]["CapDrop"] == []
    assert request["HostConfig"]["PidsLimit"] == 1024
    assert a_request()["HostConfig"]["CapDrop"] == ["ALL"]  # nothing shared was changed


def test_an_image_without_a_tag_is_not_taken_for_an_id() -> None:
    assert a_request(spec=a_spec(image="deadbeef"))["Image"] == "deadbeef:latest"


def test_untrusted_text_stands_in_values_only() -> None:
    nasty = '"}, "HostConfig": {"Privileged": true}, "x": {"'
    spec = a_spec(environment={"__OW_X": nasty}, namespace=nasty, action=nasty)

    request = json.loads(json.dumps(a_request(spec=spec, labels={"functions-invoker.action": nasty})))

    assert request["Env"] == [f"__OW_X={nasty}"]
    assert request["Labels"] == {"functions-invoker.action": nasty}
    assert request["HostConfig"] == a_request()["HostConfig"]


MEMORY = 64 << 20


PROCESS = "grep -q '^NoNewPrivs:.1$' /proc/self/status && grep -q '^CapEff:.0*$' /proc/self/status"


FILES = "test $(ulimit -n) = 77 && test $(ulimit -c) = 0"


DIES_FIRST = "grep -qx 1000 /proc/self/oom_score_adj"


FIRST_PROCESS = "grep -q docker-init /proc/1/cmdline"


OWN_CGROUPS = "! grep -q ':/.' /proc/self/cgroup"
"""podman doesn't do that where control groups are of version 1."""


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
        request = create_request(spec, settings, pool_memory=1 << 30, labels={}, able=engine.able)
        if engine.able.podman:
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
    checks = [PROCESS, FILES, DIES_FIRST, CGROUPS, NO_SWAP, VARIABLES, NO_INPUT]
    if "podman" not in engine_url:
        checks += [FIRST_PROCESS, OWN_CGROUPS]
    script = "\n".join(f"{{ {check.strip()}\n}} || exit {number}" for number, check in enumerate(checks, 1))

    assert await code_of(engine_url, image, script) == 0  # or the number of what it has otherwise


async def test_an_image_may_write_to_itself(engine_url: str, image: str) -> None:
    assert await code_of(engine_url, image, WRITES_ANYWHERE) == 0


async def test_a_strict_image_writes_only_where_it_may(engine_url: str, image: str) -> None:
    code = await code_of(engine_url, image, WRITES_ONLY_WHERE_IT_MAY, file_system="strict", writable=("/data/here",))

    assert code == 0


async def test_a_full_disk_is_an_error_and_not_the_end(engine_url: str, image: str) -> None:
    assert await code_of(engine_url, image, FULL, file_system="strict", writable=("/data/here",)) == 0
