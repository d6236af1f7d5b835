"""What becomes of containers between activations: paused, prewarmed, shared, evicted; as `GET /pool` shows it."""

import asyncio
from typing import Any

from tests.end_to_end.docker.place import MB, VISIT, DockerHome, container_of, invoke, pool, pool_is, running, settled
from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.program import Running
from tests.services.troubled_socket import troubled

WHO = """
import os
count = 0
def main(args):
    global count
    count += 1
    print("run", count)
    return {"host": os.uname().nodename, "count": count}
"""
PAUSES = ("pool.pause=true", "pool.pause_grace=50 ms")
WAITS = f"""{VISIT}
def main(args):
    visit(args["place"]).recv(1)
    return {{"host": os.uname().nodename}}
"""
WAITS_NODEJS = """
const net = require("net"), os = require("os");
let count = 0;
function main(args) {
  const number = (count += 1);
  console.log("run", number);
  if (!args.place) return { host: os.hostname(), number };
  return new Promise((resolve) => {
    const link = net.connect(args.place[1], args.place[0]);
    link.write(JSON.stringify({ number }) + "\\n");
    link.once("data", () => { link.destroy(); resolve({ host: os.hostname(), number }); });
  });
}
"""
BURNS = "import threading\ndef burn():\n while True: pass\n" + WHO.replace(
    'print("run", count)', "count == 1 and threading.Thread(target=burn, daemon=True).start()"
)


async def paused(program: Running, action: str) -> str:
    """Wait until an action's container is paused; return its name."""
    view = await pool_is(program, lambda view: container_of(view, action)["state"] == "paused")
    name: str = container_of(view, action)["name"]
    return name


async def test_a_container_is_paused_and_goes_on_where_it_was(own_home: DockerHome) -> None:
    own_home.put(python("who", WHO))

    async with running(own_home, *PAUSES) as program:
        first = await invoke(program, "who")
        for count in (2, 3):
            name = await paused(program, "who")
            states = await asyncio.to_thread(own_home.engine.containers)
            again = await invoke(program, "who")

            assert states == {name: "paused"}
            assert again.result == {"host": first.result["host"], "count": count}
            assert (again.logs, again.line["containerType"]) == ([f"stdout: run {count}"], "warm")
        name = await paused(program, "who")
        info = await program.info()

    assert info["memory"]["used"] == 128 * MB, "paused, it keeps its memory"
    assert info["containers"]["paused"] == 1
    assert own_home.engine.containers() == {}, "a paused container can be removed"


async def test_who_comes_while_it_is_being_paused_waits_for_it(own_home: DockerHome) -> None:
    own_home.put(python("who", WHO))

    async with (
        troubled(own_home.engine.url) as socket,
        running(own_home, f"docker.url={socket.url}", *PAUSES) as program,
    ):
        with socket.holding("POST .*/pause", answer=True) as hold:
            first = await invoke(program, "who")
            await hold.reached()
            pausing = await pool(program)
            invocation = asyncio.create_task(invoke(program, "who"))
            await pool_is(program, lambda view: container_of(view, "who")["activations"] == 1)
        second = await invocation

    assert container_of(pausing, "who")["state"] == "pausing"
    assert second.result == {"host": first.result["host"], "count": 2}
    assert second.line["containerType"] == "warm"


async def test_a_paused_container_takes_no_time_of_the_processor(own_home: DockerHome) -> None:
    own_home.put(python("burns", BURNS))

    async with running(own_home, *PAUSES) as program:
        await invoke(program, "burns")
        name = await paused(program, "burns")
        stats = [await asyncio.to_thread(cpu, own_home, name) for _ in range(2)]

        assert stats[0] == stats[1] > 0
        assert (await invoke(program, "burns")).result["count"] == 2


def cpu(home: DockerHome, name: str) -> int:
    """Return what the engine says a container has taken of the processor so far, after some milliseconds of looking."""
    stats = home.engine.ask("GET", f"/containers/{name}/stats", stream="false")
    time: int = stats["cpu_stats"]["cpu_usage"]["total_usage"]
    return time


async def test_paused_containers_make_room_and_expire(own_home: DockerHome) -> None:
    own_home.put(python("who", WHO), python("other", f"{WHO}# another"))

    async with running(
        own_home, "pool.pause=true", "pool.pause_grace=20 ms", "pool.memory=128 MB", "pool.idle_timeout=2 s"
    ) as program:
        await invoke(program, "who")
        await paused(program, "who")
        other = await invoke(program, "other")
        assert [one["action"] for one in (await settled(program, own_home.engine))["containers"]] == ["guest/other"]
        again = await invoke(program, "who")
        await pool_is(program, lambda view: view["used"] == 0)
        last = await invoke(program, "who")

    assert [one.line["coldStart"] for one in (other, again, last)] == ["new", "evicted", "expired"]


async def test_the_first_activation_takes_a_prewarmed_container(own_home: DockerHome) -> None:
    own_home.put(python("who", WHO), python("larger", f"{WHO}# another", memory=256))
    prewarm = {"python:3": {"initialCount": 2, "memory": "128 MB"}}
    own_home.offer({"python:3": own_home.images.python}, prewarm)

    async with running(own_home) as program:
        before = await pool_is(program, lambda view: states(view) == ["prewarmed"] * 2)
        first = await invoke(program, "who")
        after = await pool_is(program, lambda view: states(view) == ["idle", "prewarmed", "prewarmed"])
        second = await invoke(program, "who")
        other = await invoke(program, "larger")

    assert before["prewarmed"] == [
        {"kind": "python:3", "memory": 128 * MB, "wanted": 2, "ready": 2, "starting": 0, "failure": None}
    ]
    assert {(one["action"], one["namespace"], one["reason"]) for one in before["containers"]} == {("", "", None)}
    assert (first.line["containerType"], first.line["coldStart"]) == ("prewarm", "new")
    assert first.line["cid"] in {one["name"] for one in before["containers"]}
    assert container_of(after, "who")["name"] == first.line["cid"]
    assert (first.logs, second.logs) == (["stdout: run 1"], ["stdout: run 2"])
    assert second.line["containerType"] == "warm"
    assert (other.line["containerType"], other.line["coldStart"]) == ("cold", "new")


def states(view: Any) -> list[str]:
    """Return the states of all containers, in alphabetical order."""
    return sorted(one["state"] for one in view["containers"])


async def test_a_prewarmed_container_that_dies_is_replaced(own_home: DockerHome) -> None:
    own_home.offer({"python:3": own_home.images.python}, {"python:3": {"initialCount": 1, "memory": "128 MB"}})

    async with running(own_home) as program:
        before = await pool_is(program, lambda view: states(view) == ["prewarmed"])
        name = before["containers"][0]["name"]
        await asyncio.to_thread(own_home.engine.kill, name)
        after = await pool_is(
            program, lambda view: states(view) == ["prewarmed"] and view["containers"][0]["name"] != name
        )
        ended = await invoke(program, "fine")

    assert after["prewarmed"][0]["wanted"] == 1
    assert ended.line["containerType"] == "prewarm"


async def test_two_share_a_nodejs_container_and_neither_has_logs(own_home: DockerHome) -> None:
    own_home.put(nodejs("shares", WAITS_NODEJS, concurrency=2))

    async with running(own_home, "limits.max_concurrency=2") as program, own_home.meeting() as place:
        alone = await invoke(program, "shares")
        both = [asyncio.create_task(invoke(program, "shares", {"place": place.address})) for _ in range(2)]
        visitors = [await place.visitor() for _ in both]
        view = await pool(program)
        for visitor in visitors:
            await visitor.let_go()
        first, second = [await one for one in both]
        alone_again = await invoke(program, "shares")
        kept = await settled(program, own_home.engine)

    assert (container_of(view, "shares")["state"], container_of(view, "shares")["activations"]) == ("busy", 2)
    assert len({one.result["host"] for one in (alone, first, second, alone_again)}) == 1
    assert sorted(one.result["number"] for one in (first, second)) == [2, 3]
    assert (alone.logs, alone_again.logs) == (["stdout: run 1"], ["stdout: run 4"])
    assert (first.logs, second.logs) == ([], [])
    assert container_of(kept, "shares")["served"] == 4


async def test_the_reason_of_each_start_is_shown(own_home: DockerHome) -> None:
    own_home.put(python("waits", WAITS), python("who", WHO), python("another", f"{WHO}# another"))

    async with running(own_home, "pool.memory=256 MB", "pool.scale_out=always") as program, own_home.meeting() as place:
        both = [asyncio.create_task(invoke(program, "waits", {"place": place.address})) for _ in range(2)]
        visitors = [await place.visitor() for _ in both]
        third = asyncio.create_task(invoke(program, "who"))
        full = await pool_is(program, lambda view: view["waiting"] == 1)
        for visitor in visitors:
            await visitor.let_go()
        ends = [await one for one in (*both, third)]
        await asyncio.to_thread(own_home.engine.kill, ends[2].line["cid"])
        await pool_is(program, lambda view: "guest/who" not in {one["action"] for one in view["containers"]})
        died = await invoke(program, "who")
        view = await settled(program, own_home.engine)

    assert full["used"] == full["memory"] == 256 * MB
    assert full["waits"]["memory"] == 1
    assert [one.line["coldStart"] for one in (*ends, died)] == ["new", "always", "new", "died"]
    assert {name: count for name, count in view["starts"].items() if count} == {"new": 2, "always": 1, "died": 1}
    told = [(one["action"], one["reason"], one["container"]) for one in view["recent"]]
    assert told[0] == ("guest/who", "died", died.line["cid"])
    assert len(told) == 4
    assert container_of(view, "who")["reason"] == "died"
