"""An invoker that is killed, or its supervisor: what is left, and how it goes on."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from tests.end_to_end.caller import connected
from tests.end_to_end.functions import VISITORS
from tests.end_to_end.meeting import meeting
from tests.end_to_end.messages import message
from tests.end_to_end.processes import descendants, gone, held, of_actions, wait_for
from tests.end_to_end.program import Home, Running

ABNORMAL = {"error": "The action did not produce a valid response and exited unexpectedly."}


async def ended(program: Running) -> int:
    return await asyncio.to_thread(program.ended)


async def test_nothing_is_left_of_an_invoker_that_was_killed_and_the_next_one_works(
    own_home: Home, visitor_name: str
) -> None:
    with own_home.with_functions(*VISITORS).running(code=-signal.SIGKILL) as program:
        async with meeting() as place, connected(program.data) as caller:
            fine = await program.invoke(message("fine"))
            await own_home.record(fine["response"]["activationId"])
            await caller.send("POST", "/invoke", message(visitor_name, {"port": place.port}))
            visitor = await place.visitor()
            with held([*descendants(program.process.pid), *visitor.pids]) as processes:
                program.signal(signal.SIGKILL)

                await asyncio.to_thread(wait_for, processes)
            assert await ended(program) == -signal.SIGKILL

    assert of_actions(own_home.work) == []
    with own_home.running() as program:
        acknowledgement = await program.invoke(message("fine"))
        assert acknowledgement["response"]["response"]["result"] == {"fine": True}
    assert set(await own_home.recorded()) == {fine["response"]["activationId"], record_id(acknowledgement)}
    assert list(own_home.work.iterdir()) == []


def record_id(acknowledgement: dict[str, Any]) -> str:
    found: str = acknowledgement["response"]["activationId"]
    return found


async def test_a_warden_that_is_killed_costs_its_containers_and_no_more(own_home: Home) -> None:
    with own_home.with_functions(*VISITORS).running() as program:
        async with meeting() as place:
            sent = message("waits", {"port": place.port})
            invocation = asyncio.create_task(program.invoke(sent))
            visitor = await place.visitor()
            (supervisor,) = (pid for pid in descendants(program.process.pid) if parent(pid) == program.process.pid)

            os.kill(supervisor, signal.SIGKILL)
            acknowledgement = await invocation
            await gone(visitor.pids)
            again = await program.invoke(message("fine"))

    assert acknowledgement["response"]["response"] == {"statusCode": 2, "result": ABNORMAL}
    assert again["response"]["response"]["result"] == {"fine": True}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
