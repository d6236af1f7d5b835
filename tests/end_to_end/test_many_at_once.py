"""Many callers at once: nobody gets another's answer, nobody is forgotten, and memory stays within its budget."""

import asyncio
import itertools
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.end_to_end.caller import ask, connected
from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.meeting import PYTHON, meeting
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Running

CLIENTS = 64
EACH = 20
BUDGET = 1 << 30
ECHO = "import os\ndef main(args): print(args['token']); return {'token': args['token'], 'pid': os.getpid()}"
WAITS = f"""{PYTHON}
def main(args):
    visit(args["port"]).recv(1)
    return {{}}
"""
ECHO_NODEJS = "function main(args) { console.log(args.token); return { token: args.token, pid: process.pid }; }"


@asynccontextmanager
async def watched(program: Running) -> AsyncIterator[list[int]]:
    """Look at the pool's memory all the while; yields what was seen."""
    seen: list[int] = []

    async def look() -> None:
        while True:
            seen.append((await program.info())["memory"]["used"])

    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(look())
        yield seen
        looking.cancel()


async def client(program: Running, names: list[str], number: int, pids: Counter[int]) -> list[str]:
    """Invoke one action after the other on one connection; return the ids of its activations."""
    ids = []
    async with connected(program.data) as caller:
        for turn, name in zip(range(EACH), itertools.cycle(names[number % 4 :] + names[: number % 4]), strict=False):
            token = f"client {number}, turn {turn}"
            sent = message(name, {"token": token})
            answer = await caller.ask("POST", "/invoke", sent)
            assert answer.status == 200
            record = answer.json["response"]
            assert record["response"]["result"]["token"] == token
            assert record["activationId"] == json.loads(sent)["activationId"]
            ids.append(record["activationId"])
            pids[record["response"]["result"]["pid"]] += 1
    return ids


async def test_every_caller_gets_its_own_answers_and_memory_stays_within_its_budget(own_home: Home) -> None:
    names = ["one", "two", "three", "four"]
    fourth = nodejs("four", ECHO_NODEJS) if shutil.which("node") else python("four", ECHO)
    own_home.put(*(python(name, f"{ECHO}\n# {name}") for name in names[:3]), fourth)
    pids: Counter[int] = Counter()

    with own_home.running(f"pool.memory={BUDGET} B") as program:
        async with watched(program) as memory:
            ids = await asyncio.gather(*(client(program, names, number, pids) for number in range(CLIENTS)))
        stored = await all_stored(program, CLIENTS * EACH)
        metrics = await program.metrics()
        records = await own_home.recorded()

    told = list(itertools.chain.from_iterable(ids))
    assert len(set(told)) == CLIENTS * EACH
    assert sorted(records) == sorted(told)
    assert stored == CLIENTS * EACH
    assert max(memory) <= BUDGET
    assert metrics['counter_activations_status_counter_total{status="success"}'] == CLIENTS * EACH
    assert metrics['counter_invoker_containerStart_counter_total{containerState="cold"}'] == len(pids)
    assert len(pids) < CLIENTS * EACH / 2, "warm containers are used again"
    logs = [line["aid"] for line in program.log.lines if "aid" in line]
    assert sorted(logs) == sorted(told)


async def all_stored(program: Running, number: int) -> float:
    """Wait until so many records are stored; return how many are."""
    async with asyncio.timeout(30):
        while (stored := (await program.metrics())["counter_invoker_records_stored_total"]) < number:
            await asyncio.sleep(0.01)
    return stored


async def test_a_message_for_a_busy_pool_is_not_overtaken_for_ever(own_home: Home) -> None:
    own_home.put(python("crowd", ECHO), python("loner", f"{ECHO}\n# another"))

    with own_home.running("pool.memory=128 MB") as program:  # room for one
        async with asyncio.TaskGroup() as tasks:
            crowd = [tasks.create_task(crowding(program)) for _ in range(8)]
            await program.reaches(lambda info: info["waiting"] > 0)

            answer = await program.invoke(message("loner", {"token": "let me in"}))

            for task in crowd:
                task.cancel()

    assert answer["response"]["response"]["result"]["token"] == "let me in"


async def crowding(program: Running) -> None:
    """Ask for the same action again and again."""
    while True:
        await program.invoke(message("crowd", {"token": "again"}))


async def test_what_waits_is_bounded_and_who_does_not_fit_is_told_to_come_again(own_home: Home) -> None:
    own_home.put(python("echo", "def main(args): return {'n': len(args['text'])}"), python("waits", WAITS))
    text = "x" * 100_000

    async with meeting() as place:
        with own_home.running("pool.memory=128 MB", "intake.queue_bytes=250 KB") as program:
            async with asyncio.TaskGroup() as tasks:
                first = tasks.create_task(program.invoke(message("waits", {"port": place.port})))
                visitor = await place.visitor()
                queued = [tasks.create_task(program.invoke(message("echo", {"text": text}))) for _ in range(2)]
                await program.reaches(lambda info: info["waiting"] == 2)

                refused = await ask(program.data, "POST", "/invoke", message("echo", {"text": text}))
                await visitor.let_go()
                await first

            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.json == {"error": "too many messages wait for a container; try again in 1 s"}
            assert [(await each)["response"]["response"]["result"] for each in queued] == [{"n": 100_000}] * 2
            metrics = await program.metrics()
            assert metrics['counter_invoker_messages_busy_total{reason="queue"}'] == 1
            assert metrics["gauge_invoker_messages_waiting_bytes"] == 0
