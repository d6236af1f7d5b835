"""Which container an activation gets, what is in it, and what is left of it afterwards (spec 10.2)."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.meeting import NODEJS, PYTHON, meeting
from tests.end_to_end.messages import message
from tests.end_to_end.processes import gone
from tests.end_to_end.program import Home, Running, annotations_of

WHO = """
import os
count = 0

def main(args):
    global count
    count += 1
    return {"pid": os.getpid(), "count": count}
"""
WHO_NODEJS = """
let count = 0;
function main() { count += 1; return { pid: process.pid, count }; }
"""
SEES = """
import os, sys

def main(args):
    return {
        "environment": sorted(os.environ),
        "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),
        "folder": os.getcwd(),
        "home": os.environ["HOME"],
        "arguments": sys.argv,
        "writable": open("file", "w").write("text"),
    }
"""
STARTS_DAEMON = f"""{PYTHON}
def main(args):
    if args.get("fail"):
        raise ValueError("fail")
    return {{"pid": os.getpid(), "daemon": daemon()}}
"""
STARTS_DAEMON_NODEJS = f"""{NODEJS}
function main(args) {{
  if (args.fail) throw new Error("fail");
  return {{ pid: process.pid, daemon: daemon() }};
}}
"""
LATE = f"""{PYTHON}
import threading

def main(args):
    def later():
        visit(args["port"]).recv(1)
        print("nobody's line")
        visit(args["port"])
    if "port" in args:
        threading.Thread(target=later, daemon=True).start()
    print("a line")
    return {{}}
"""
LEAVES = f"""{PYTHON}
import threading

def main(args):
    def later():
        visit(args["port"]).recv(1)
        os._exit(0)
    if "port" in args:
        threading.Thread(target=later, daemon=True).start()
    return {{"pid": os.getpid()}}
"""
WAITS = f"""{PYTHON}
def main(args):
    visit(args["port"]).recv(1)
    return {{"pid": os.getpid()}}
"""


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(
        python("who-python", WHO),
        nodejs("who-nodejs", WHO_NODEJS),
        python("who-twice", WHO + "# the same with another digest"),
        python("changes", WHO),
        python("sees", SEES),
        python("daemon-python", STARTS_DAEMON),
        nodejs("daemon-nodejs", STARTS_DAEMON_NODEJS),
        python("late", LATE),
        python("leaves", LEAVES),
    )
    with home.running("pool.memory=8 GB", INVOKER_TELEMETRY__LEVEL="info") as running:
        yield running


async def told(program: Running, name: str, content: Any = None, **fields: Any) -> Any:
    """Invoke an action that succeeds; return its result."""
    acknowledgement = await program.invoke(message(name, content, **fields))
    response = acknowledgement["response"]["response"]
    assert response["statusCode"] == 0, response
    return response["result"]


async def test_the_next_activation_gets_the_same_warm_container(program: Running, language: str) -> None:
    first = await told(program, f"who-{language}")
    second = await told(program, f"who-{language}")

    assert second == {"pid": first["pid"], "count": first["count"] + 1}


async def test_a_warm_start_is_told_from_a_cold_one(program: Running) -> None:
    cold = await program.invoke(message("who-twice"))
    warm = await program.invoke(message("who-twice"))

    assert annotations_of(cold["response"])["initTime"] >= 0
    assert "initTime" not in annotations_of(warm["response"])
    lines = [program.log.of_activation(each["response"]["activationId"]) for each in (cold, warm)]
    assert [line["containerType"] for line in lines] == ["cold", "warm"]
    assert lines[0]["cid"] == lines[1]["cid"]


async def test_another_namespace_never_gets_the_container(program: Running) -> None:
    ours = await told(program, "who-python")
    theirs = await told(program, "who-python", namespace="somebody-else")

    assert theirs["pid"] != ours["pid"]
    assert theirs["count"] == 1


async def test_another_binding_never_gets_the_container(program: Running) -> None:
    action = {"path": "guest", "name": "who-python", "version": "0.0.1"}

    direct = await told(program, "who-python")
    bound = await told(program, "who-python", action={**action, "binding": "guest/bound"})

    assert bound["pid"] != direct["pid"]


async def test_new_code_is_run_as_soon_as_it_is_put(program: Running) -> None:
    old = await told(program, "changes", revision=None)
    program.home.put(python("changes", "def main(args): return {'new': True}"))

    new = await told(program, "changes", revision=None)

    assert old["count"] == 1
    assert new == {"new": True}


async def test_a_new_revision_of_the_same_code_costs_no_cold_start(program: Running) -> None:
    old = await told(program, "who-python", revision=None)
    program.home.put(python("who-python", WHO))

    new = await told(program, "who-python", revision=None)

    assert new["pid"] == old["pid"]


async def test_a_function_sees_its_own_environment_and_folder_alone(program: Running) -> None:
    sees = await told(program, "sees")

    assert [name for name in sees["environment"] if not name.startswith("__OW_")] == ["HOME", "LANG", "PATH", "TMPDIR"]
    assert sees["folder"] == sees["home"]
    assert sees["folder"].startswith(f"{program.home.work}/")
    assert len(sees["arguments"]) == 1
    assert len(sees["descriptors"]) <= 10  # three streams and the proxy's own


async def test_a_daemon_outlives_the_activation_and_goes_with_the_container(program: Running, language: str) -> None:
    name = f"daemon-{language}"

    first = await told(program, name)
    second = await told(program, name)
    os.kill(first["daemon"], 0)  # it is there

    failed = await program.invoke(message(name, {"fail": True}))

    assert second["pid"] == first["pid"]
    assert failed["response"]["response"]["statusCode"] == 2
    await gone([first["pid"], first["daemon"], second["daemon"]])


async def test_what_is_printed_between_two_activations_belongs_to_neither(program: Running) -> None:
    async with meeting() as place:
        first = await program.invoke(message("late", {"port": place.port}))
        await (await place.visitor()).let_go()
        await place.visitor()  # the line is printed
        second = await program.invoke(message("late"))

    for acknowledgement in (first, second):
        record = await program.home.record(acknowledgement["response"]["activationId"])
        assert [line[31:] for line in record["logs"]] == ["stdout: a line"]
    assert "initTime" not in annotations_of(second["response"])


async def test_a_container_that_leaves_while_it_is_idle_is_replaced(program: Running) -> None:
    async with meeting() as place:
        first = await told(program, "leaves", {"port": place.port})
        visitor = await place.visitor()
        idle = await program.idle_containers()
        await visitor.let_go()
        await gone([first["pid"]])
        await program.reaches(lambda info: info["containers"]["idle"] == idle - 1)

        second = await told(program, "leaves")

    assert second["pid"] != first["pid"]
    assert await program.idle_containers() == idle


async def test_idle_containers_make_room_for_others(own_home: Home) -> None:
    own_home.put(python("one", WHO), python("two", WHO + "# two"), python("three", WHO + "# three"))

    with own_home.running("pool.memory=256 MB") as program:
        one = await told(program, "one")
        two = await told(program, "two")
        three = await told(program, "three")  # in the place of the one that was idle for longest
        again = await told(program, "two")

        assert again == {"pid": two["pid"], "count": 2}
        await gone([one["pid"]])
        assert three["count"] == 1
        info = await program.info()
        assert info["memory"] == {"total": 256 << 20, "used": 256 << 20}


async def test_who_finds_no_memory_waits_for_it(own_home: Home) -> None:
    own_home.put(python("waits", WAITS), python("who", WHO))

    async with meeting() as place:
        with own_home.running("pool.memory=128 MB") as program:
            first = asyncio.create_task(told(program, "waits", {"port": place.port}))
            visitor = await place.visitor()
            second = asyncio.create_task(told(program, "who"))
            await program.reaches(lambda info: info["waiting"] == 1)
            await visitor.let_go()

            assert (await first)["pid"] == visitor.facts["pid"]
            assert (await second)["count"] == 1


async def test_idle_containers_go_after_their_time(own_home: Home) -> None:
    own_home.put(python("who", WHO))

    with own_home.running("pool.idle_timeout=100 ms") as program:
        first = await told(program, "who")

        await gone([first["pid"]])
        assert await program.idle_containers() == 0
        assert (await told(program, "who"))["pid"] != first["pid"]


async def test_a_work_directory_that_somebody_cleared_away_is_made_again(own_home: Home) -> None:
    own_home.put(python("one", WHO), python("two", WHO + "# two"))

    with own_home.running() as program:
        await told(program, "one")
        shutil.rmtree(own_home.work)

        assert (await told(program, "two"))["count"] == 1
        assert (await told(program, "one"))["count"] == 2

    assert list(own_home.work.iterdir()) == []
