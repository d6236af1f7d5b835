"""Who reaches the sockets that action proxies listen on: the invoker, and nobody else who could be stopped."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from invoker import Settings
from invoker.testing.containers import PATIENCE
from invoker_process.runtime import process_runtime
from invoker_process.sampling import tree
from invoker_process.settings import ProcessSettings
from tests.plugins.runtime_process.actions import entries, loaded, run, supervisor_of

NOBODY = 65534
LISTENING = "0A"

VISITOR = """
import json, os, socket, sys

def said(family, address):
    with socket.socket(family) as connection:
        connection.settimeout(5)
        try:
            if family == socket.AF_UNIX and address.startswith("/"):
                os.chdir(os.path.dirname(address))  # a path may be too long for a socket
                address = os.path.basename(address)
            connection.connect(address)
            connection.sendall(b"POST /run HTTP/1.0\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
            return connection.makefile("rb").read().decode()
        except OSError as error:
            return str(error)

def visit(paths, ports):
    found = {path: said(socket.AF_UNIX, path) for path in paths}
    return found | {port: said(socket.AF_INET, ("127.0.0.1", port)) for port in ports}
"""
"""Tries every way that it is told of, and returns what came of it."""

OTHER_USER = f"""
{VISITOR}
paths, ports, user = json.load(sys.stdin)
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
json.dump(visit(paths, ports), sys.stdout)
"""

NEIGHBOUR = f"""
{VISITOR}
def main(args):
    names = [line.split(maxsplit=7)[7:] for line in open("/proc/net/unix").read().splitlines()[1:]]
    paths = [name[0].replace("@", "\\0", 1) for name in names if name and args["proxy"] in name[0]]
    for folder, _, files in os.walk(os.path.dirname(os.environ["HOME"])):
        paths += [os.path.join(folder, name) for name in files if name != "lock"]
    return {{"found": visit(paths, []), "looked": os.listdir(os.path.dirname(os.environ["HOME"]))}}
"""
"""A function that looks around for other containers."""


def ways_to(pids: Collection[int]) -> tuple[list[str], list[int]]:
    """Return the paths and TCP ports that lead to sockets of processes, as far as anybody could know of them."""
    inodes = set()
    paths = []
    for descriptor in [each for pid in pids for each in entries(Path(f"/proc/{pid}/fd"))]:
        with suppress(FileNotFoundError):  # that of the listing
            status = descriptor.stat()
            if stat.S_ISSOCK(status.st_mode):
                paths.append(str(descriptor))
                inodes.add(str(status.st_ino))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    paths += [line[7].replace("@", "\0", 1) for line in lines if len(line) > 7 and line[6] in inodes]
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    listening = [line for line in lines if line[3] == LISTENING and line[9] in inodes]
    return paths, [int(line[1].rpartition(":")[2], 16) for line in listening]


async def visited(paths: Iterable[str], ports: Iterable[int], user: int) -> list[str]:
    """Return what `user` is told there."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", OTHER_USER), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    answer, _ = await process.communicate(json.dumps([list(paths), list(ports), user]).encode())
    return list(json.loads(answer).values())


def reached(answers: Iterable[str]) -> list[str]:
    return [answer for answer in answers if answer.startswith("HTTP/1.1 ")]


async def test_another_user_can_not_reach_a_container(tmp_path: Path, absent: Callable[[str], None]) -> None:
    if os.geteuid() != 0:
        absent("only root can become another user")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)  # so that nothing but the runtime's own doing stops anybody
    async with process_runtime(Settings.of(ProcessSettings(work_dir=tmp_path))) as runtime:
        await loaded(runtime, "def main(args): return {}")
        paths, ports = ways_to([os.getpid(), *tree(supervisor_of(runtime))[0]])
        paths += [str(path) for path in entries(tmp_path, "**/*") if path.is_socket()]

        own, others = await visited(paths, ports, 0), await visited(paths, ports, NOBODY)

    assert len(own) == len(others) == len(set(paths)) + len(ports)
    assert reached(own)  # it is root's own, who may look into this process
    assert reached(others) == []


async def test_a_neighbour_that_looks_around_finds_no_other_container(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        await loaded(runtime, "def main(args): return {}", name="wsk_1")
        neighbour = await loaded(runtime, NEIGHBOUR, name="wsk_2")

        result = await run(neighbour, proxy="socket")

    assert {"1", "2"} <= set(result["looked"])
    assert reached(result["found"].values()) == []


async def test_no_process_of_a_container_listens_on_a_tcp_port(settings: Settings, node: str) -> None:
    assert node
    async with process_runtime(settings) as runtime:
        await loaded(runtime, "def main(args): return {}", name="wsk_1")
        await loaded(runtime, "function main() { return {} }", name="wsk_2", kind="nodejs:20")
        pids, _ = tree(supervisor_of(runtime))

        paths, ports = ways_to(pids)

    assert len(pids) == 3
    assert paths
    assert ports == []


async def test_a_deep_working_directory_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["deeper"] * 20)  # a socket's path may have 107 bytes
    async with process_runtime(Settings.of(ProcessSettings(work_dir=deep))) as runtime:
        container = await loaded(runtime, "def main(args): return args")

        assert await run(container, n=1) == {"n": 1}
        assert await container.post("/run", b'{"value":{"n":2}}', timeout=PATIENCE, limit=100)
