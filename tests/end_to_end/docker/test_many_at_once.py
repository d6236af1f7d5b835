"""Many callers at once, with as much as a message may hold, and rubbish in between."""

import asyncio
import itertools
import json
import random

from tests.end_to_end.caller import connected
from tests.end_to_end.docker.place import MB, DockerHome, running, settled, works
from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Running

CLIENTS = 64
EACH = 3
BUDGET = 768 * MB
TEXT = MB - 100
"""Characters of a parameter, so that the whole of them, and of the result, is nearly as long as is allowed."""
ECHO = "def main(args):\n    print(args['token'])\n    return args"
ECHO_NODEJS = "function main(args) { console.log(args.token); return args; }"
RUBBISH = (
    b"",
    b"{",
    b"null",
    b"\x00\xff" * 500,
    b'{"transid": ["x", 1]}',
    message("one")[:-1],
    message("one").replace(b'"action"', b'"reaction"'),
    message("one", {"text": "x" * (2 * MB)}),
    b"[" * 100_000,
)


async def client(program: Running, names: list[str], number: int) -> list[str]:
    """Invoke one action after the other, each time something else; return the ids of the activations."""
    ids = []
    chance = random.Random(number)
    for turn, name in zip(range(EACH), itertools.cycle(names[number % len(names) :] + names), strict=False):
        async with connected(program.data) as caller:
            rubbish = await caller.ask("POST", "/invoke", chance.choice(RUBBISH))
        assert 400 <= rubbish.status < 500, rubbish

        token = f"client {number}, turn {turn}"
        content = {"token": token, "text": chance.choice("ab") * (TEXT - len(token))}
        sent = message(name, content)
        async with connected(program.data) as caller:
            answer = await caller.ask("POST", "/invoke", sent)
        assert answer.status == 200, answer
        told = answer.json["response"]
        assert told["response"]["result"] == content
        assert told["activationId"] == json.loads(sent)["activationId"]
        ids.append(told["activationId"])
    return ids


async def test_everybody_gets_their_own_answer_and_memory_stays_within_its_budget(own_home: DockerHome) -> None:
    names = ["one", "two", "three"]
    own_home.put(python("one", ECHO), python("two", f"{ECHO}\n# another"), nodejs("three", ECHO_NODEJS))
    settings = (f"pool.memory={BUDGET} B", "intake.queue_bytes=256 MB", "recording.max_bytes=1 GB")

    async with running(own_home, *settings) as program:
        peaks: list[int] = []
        watching = asyncio.create_task(watch(program, peaks))
        ids = await asyncio.gather(*(client(program, names, number) for number in range(CLIENTS)))
        watching.cancel()
        view = await settled(program, own_home.engine)
        metrics = await program.metrics()
        told = list(itertools.chain.from_iterable(ids))
        tokens = {(await own_home.record(one))["logs"][0].partition("stdout: ")[2] for one in told}
        await works(program)

    assert len(set(told)) == CLIENTS * EACH
    assert tokens == {f"client {number}, turn {turn}" for number in range(CLIENTS) for turn in range(EACH)}
    assert max(peaks) <= BUDGET
    assert view["waiting"] == 0
    assert metrics['counter_activations_status_counter_total{status="success"}'] == CLIENTS * EACH
    assert metrics["counter_invoker_messages_malformed_total"] > 0
    assert metrics["gauge_invoker_messages_waiting_bytes"] == metrics["gauge_invoker_activations_running"] == 0


async def watch(program: Running, peaks: list[int]) -> None:
    """Look at the pool's memory all the while."""
    while True:
        peaks.append((await program.info())["memory"]["used"])
