"""Functions that take more than there is: memory, processes, space, output. Each ends as it should, and alone."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.docker.place import (
    HOARD,
    MB,
    VISIT,
    DockerHome,
    action,
    invoke,
    pool,
    pool_is,
    unharmed,
)
from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.program import Running, annotations_of

MEMORY = {"error": "The action exhausted its memory and was aborted."}
ABNORMAL_RUN = {"error": "The action did not produce a valid response and exited unexpectedly."}
WARNING = "stderr: The action did not initialize or run as expected. Log data might be missing."
TRUNCATED = "Logs were truncated because the total bytes size exceeds the limit of {} bytes."
LIMIT = "stderr: The memory limit is 128 MB; the action was stopped after using 128 MB."
SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
PROCESSES = 100

HOARDS_IN_INIT = f"{HOARD}\nprint('begins', flush=True)\nhoard()"
HOARDS_IN_RUN = f"{HOARD}\ndef main(args): print('begins', flush=True); hoard()"
HOARDS_NODEJS = """
function main() {
  console.log("begins");
  const kept = [];
  return new Promise(() => setInterval(() => kept.push(Buffer.alloc(4 << 20, 1))));
}
"""
HOARDS_LATER = f"""{VISIT}{HOARD}
import threading
def main(args):
    def later():
        visit(args["place"]).recv(1)
        hoard()
    if "place" in args:
        threading.Thread(target=later, daemon=True).start()
    return {{"host": os.uname().nodename}}
"""
CHILD_HOARDS = """
import os, subprocess, sys
def main(args):
    if "leave" in args:
        os._exit(3)
    return {"code": subprocess.call([sys.executable, "-c", "kept = [b'x' * (4 << 20) for _ in range(1000)]"])}
"""
LOOP_HOARDS = "#!/bin/sh\nread -r line\necho begins\nexec tail /dev/zero\n"
BOMB = """
import errno, os, signal
def main(args):
    count = 0
    try:
        while True:
            if os.fork() == 0:
                signal.pause()
            count += 1
    except OSError as error:
        return {"forked": count, "error number": errno.errorcode[error.errno]}
"""
BOMB_THAT_GOES_ON = """
import os
def main(args):
    print("begins", flush=True)
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""
FILLS = """
import errno, os
def main(args):
    path = os.path.join(args["folder"], "file")
    size = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while size < args["most"]:
                size += file.write(bytes(1 << 20))
    except OSError as error:
        return {"size": size >> 20, "error number": errno.errorcode[error.errno]}
    finally:
        if os.path.exists(path):
            os.remove(path)
    return {"size": size >> 20}
"""
FLOODS = """
import os
LINE = b"x" * 99 + b"\\n"
def main(args):
    left = args["size"]
    while left > 0:
        left -= os.write(1, LINE * 600)
    return {"pid": os.getpid()}
"""
FORGES = f"""
import os
def main(args):
    print("before")
    print({SENTINEL!r})
    print("after")
    return {{"host": os.uname().nodename}}
"""


@pytest.fixture(scope="module")
def program(home: DockerHome, odd: dict[str, str]) -> Iterator[Running]:
    home.offer(
        {
            "python:3": home.images.python,
            "nodejs:18": home.images.nodejs,
            "loop:1": home.images.actionloop,
            "plain:1": odd["plain"],
        }
    )  # under `plain` the file system is the image's own
    home.put(
        python("hoards-in-init", HOARDS_IN_INIT),
        python("hoards-in-run", HOARDS_IN_RUN),
        nodejs("hoards-nodejs", HOARDS_NODEJS),
        python("hoards-later", HOARDS_LATER),
        python("child-hoards", CHILD_HOARDS),
        action("loop-hoards", "loop:1", LOOP_HOARDS),
        python("bomb", BOMB),
        python("bomb-that-goes-on", BOMB_THAT_GOES_ON, timeout=1000),
        python("fills-strict", FILLS),
        action("fills-image", "plain:1", FILLS),
        python("floods", FLOODS),
        python("forges", FORGES),
    )
    with home.running(f"docker.pids={PROCESSES}") as running:
        yield running


@pytest.mark.parametrize("name", ["hoards-in-init", "hoards-in-run", "hoards-nodejs"])
async def test_memory(program: Running, home: DockerHome, name: str) -> None:
    ended = await invoke(program, name)

    assert (ended.status, ended.result) == (2, MEMORY)
    assert ended.logs == ["stdout: begins", WARNING, LIMIT]
    assert annotations_of(ended.record)["peakMemory"] == 128 * MB
    await unharmed(program, home.engine)


async def test_memory_of_a_program_whose_proxy_lives_on(program: Running, home: DockerHome) -> None:
    ended = await invoke(program, "loop-hoards")

    assert (ended.status, ended.result) == (2, MEMORY)
    assert ended.logs == ["stdout: begins", WARNING, LIMIT]
    assert annotations_of(ended.record)["peakMemory"] == 128 * MB
    await unharmed(program, home.engine)


async def test_memory_while_nobody_waits_for_it(program: Running, home: DockerHome) -> None:
    async with home.meeting() as place:
        first = await invoke(program, "hoards-later", {"place": place.address})
        await (await place.visitor()).let_go()
        await pool_is(program, lambda view: first.line["cid"] not in {one["name"] for one in view["containers"]})
        second = await invoke(program, "hoards-later")

    assert second.result["host"] != first.result["host"]
    assert second.line["coldStart"] == "died"
    await unharmed(program, home.engine)


async def test_memory_of_a_child_process_is_the_functions_own_affair(program: Running, home: DockerHome) -> None:
    first = await invoke(program, "child-hoards")
    second = await invoke(program, "child-hoards", {"leave": True})

    assert first.result == {"code": -9}
    assert (second.status, second.result) == (2, ABNORMAL_RUN)
    assert second.logs == [WARNING, "stderr: The container exited with status 3."]
    await unharmed(program, home.engine)


async def test_processes(program: Running, home: DockerHome) -> None:
    ended = await invoke(program, "bomb")

    assert ended.result["error number"] == "EAGAIN"
    assert PROCESSES - 10 < ended.result["forked"] < PROCESSES
    await unharmed(program, home.engine)


async def test_processes_that_are_made_for_ever(program: Running, home: DockerHome) -> None:
    ended = await invoke(program, "bomb-that-goes-on")

    assert (ended.status, ended.result) == (2, {"error": "The action exceeded its time limits of 1000 milliseconds."})
    await unharmed(program, home.engine)
    assert "guest/bomb-that-goes-on" not in {one["action"] for one in (await pool(program))["containers"]}


@pytest.mark.parametrize(
    ("name", "folder", "result"),
    [
        ("fills-strict", "/tmp", {"size": 48, "error number": "ENOSPC"}),
        ("fills-strict", "/dev/shm", {"size": 16, "error number": "ENOSPC"}),
        ("fills-strict", "/var/tmp", {"size": 0, "error number": "EROFS"}),
        ("fills-image", "/tmp", {"size": 300}),
    ],
)
async def test_space(program: Running, home: DockerHome, name: str, folder: str, result: Any) -> None:
    ends = [await invoke(program, name, {"folder": folder, "most": 300 * MB}) for _ in range(2)]

    assert [ended.result for ended in ends] == [result] * 2
    assert ends[1].line["containerType"] == "warm", "nothing was killed"
    await unharmed(program, home.engine)


async def test_output(program: Running, home: DockerHome) -> None:
    flood = await invoke(program, "floods", {"size": 100 * MB})
    again = await invoke(program, "floods", {"size": 100})

    limit = 10 * MB
    assert flood.result == again.result, "the container is kept"
    assert flood.logs[-1] == f"stderr: {TRUNCATED.format(limit)}"
    assert sum(len(line) for line in flood.record["logs"][:-1]) == limit // 138 * 138
    assert set(flood.logs[:-1]) == {"stdout: " + "x" * 99}
    assert set(again.logs) == {"stdout: " + "x" * 99}
    await unharmed(program, home.engine)


async def test_output_that_claims_to_be_the_end(program: Running, home: DockerHome) -> None:
    first = await invoke(program, "forges")
    second = await invoke(program, "forges")

    assert [ended.logs for ended in (first, second)] == [["stdout: before"]] * 2
    assert first.status == second.status == 0
    assert first.result["host"] != second.result["host"], "what is left of its output would be the next one's"
    await unharmed(program, home.engine)
