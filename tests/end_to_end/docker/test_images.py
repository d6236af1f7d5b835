"""Which image an action runs in, what it may write there, and what its developer is told when there is none."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.docker.place import DockerHome, action, invoke, unharmed
from tests.end_to_end.functions import python
from tests.end_to_end.program import Running, annotations_of
from tests.plugins.runtime_process.proxies.proxy import packed

NODEJS = """
exports.main = () => { console.log("here"); return { folder: process.cwd(), user: process.getuid() }; };
"""
SHELL = """#!/bin/sh
echo started
while read -r line; do
    echo "aside" >&2
    echo '{"shell": true}' >&3
done
"""
WRITES = """
import os
def main(args):
    found = {"folder": os.getcwd(), "home": os.environ["HOME"], "user": os.getuid()}
    for path in ("/tmp/file", "/var/tmp/file", "/dev/shm/file", "/etc/file"):
        try:
            with open(path, "w") as file:
                file.write("text")
            found[path] = "written"
        except OSError as error:
            found[path] = error.strerror
    with open("/proc/self/status") as status:
        lines = dict(line.split(":\\t", 1) for line in status.read().splitlines() if ":\\t" in line)
    found["capabilities"] = int(lines["CapEff"], 16) | int(lines["CapBnd"], 16)
    found["new privileges"] = lines["NoNewPrivs"] == "0"
    return found
"""
ECHO = "def main(args): print('here'); return args"


@pytest.fixture(scope="module")
def program(home: DockerHome, odd: dict[str, str]) -> Iterator[Running]:
    images = home.images
    home.offer(
        {
            "python:3": images.python,
            "plain:1": odd["plain"],
            "layout:18": images.layout_nodejs,
            "loop:1": images.actionloop,
            "hollow:1": odd["hollow"],
            "absent:1": "functions-invoker-tests/no-such-image:1",
        }
    )
    home.put(
        action("layout", "layout:18", packed({"index.js": NODEJS}), binary=True),
        action("loop", "loop:1", SHELL),
        python("writes-strict", WRITES),
        action("writes-image", "plain:1", WRITES),
        action("own", "blackbox", ECHO, image=odd["plain"]),
        action("own-hollow", "blackbox", None, image=odd["hollow"]),
        action("own-absent", "blackbox", None, image="functions-invoker-tests/no-such-image:1"),
        action("hollow", "hollow:1", ""),
        action("absent", "absent:1", ""),
    )
    with home.running("logs.combine_wait=500 ms") as running:
        yield running


async def test_the_layout_of_openwhisks_nodejs_image(program: Running, home: DockerHome) -> None:
    cold, warm = [await invoke(program, "layout") for _ in range(2)]

    assert cold.result["folder"].startswith("/nodejsAction/")
    assert warm.result == cold.result == {"folder": cold.result["folder"], "user": 0}
    assert (cold.logs, warm.logs) == (["stdout: here"], ["stdout: here"])
    await unharmed(program, home.engine)


async def test_the_layout_of_openwhisks_images_for_programs(program: Running, home: DockerHome) -> None:
    cold, warm = [await invoke(program, "loop") for _ in range(2)]

    assert warm.result == cold.result == {"shell": True}
    assert (sorted(cold.logs), warm.logs) == (["stderr: aside", "stdout: started"], ["stderr: aside"])
    await unharmed(program, home.engine)


@pytest.mark.parametrize("policy", ["strict", "image"])
async def test_what_it_may_write(program: Running, policy: str) -> None:
    ended = await invoke(program, f"writes-{policy}")

    elsewhere = "Read-only file system" if policy == "strict" else "written"
    etc = "Read-only file system" if policy == "strict" else "Permission denied"
    assert ended.result == {
        "folder": "/tmp",
        "home": "/tmp",
        "user": 10001,
        "/tmp/file": "written",
        "/var/tmp/file": elsewhere,
        "/dev/shm/file": "written",
        "/etc/file": etc,
        "capabilities": 0,
        "new privileges": False,
    }


async def test_an_image_of_the_developers_own(program: Running, home: DockerHome) -> None:
    cold, warm = [await invoke(program, "own", {"n": n}) for n in (1, 2)]

    assert (cold.result, warm.result) == ({"n": 1}, {"n": 2})
    assert (cold.logs, warm.logs) == (["stdout: here"], ["stdout: here"])
    assert (warm.line["containerType"], annotations_of(cold.record)["kind"]) == ("warm", "blackbox")
    await unharmed(program, home.engine)


@pytest.mark.parametrize("kind", ["hollow", "absent"])
async def test_whose_fault_it_is_that_an_image_does_not_start(program: Running, home: DockerHome, kind: str) -> None:
    developers = await invoke(program, f"own-{kind}")
    operators = await invoke(program, kind)

    image = f"functions-invoker-tests/{kind}"
    assert developers.status == 2
    if kind == "hollow":
        assert developers.result["error"].startswith(f"executable file not found in image {image}:")
    else:
        name = "functions-invoker-tests/no-such-image:1"
        assert developers.result["error"] == f"Failed to pull container image '{name}'."
    assert (operators.status, operators.result) == (3, {"error": "Failed to provision resources to run the action."})
    assert ("cid" in operators.line) == (kind == "hollow"), "an init can be started in it, and finds nothing"
    await unharmed(program, home.engine)


async def test_the_reason_is_in_the_log_for_the_operator(program: Running) -> None:
    ended = await invoke(program, "absent")

    told = f"activation {ended.record['activationId']} did not start: "
    (line,) = (text.removeprefix(told) for text in program.log.messages() if text.startswith(told))
    image = "functions-invoker-tests/no-such-image:1"
    assert line.startswith(f"the engine lacks the image '{image}' of the kind 'absent:1'")
    assert 'docker.pull = "never" forbids to fetch it' in line
