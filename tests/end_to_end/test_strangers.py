"""Plugins that others wrote: what they may decide and see, and what becomes of us when they break."""

import json
from pathlib import Path
from typing import Any

from tests.end_to_end.distributions import distribution, search_path
from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home

ECHO = "def main(args): return args"
OPENS = """
from contextlib import asynccontextmanager

from invoker import hookimpl
"""
REFUSES = f"""{OPENS}
from invoker.contracts import Admission

class Blocked(Admission):
    def refusal(self, request):
        return "not today" if request.caller.namespace == "blocked" else None

@hookimpl
@asynccontextmanager
async def open_admission(settings):
    yield Blocked()
"""
LOOKS_ON = f"""{OPENS}
import os

from invoker.contracts import Observer

class Watching(Observer):
    def finished(self, request, activation):
        with open(os.environ["SEEN"], "a") as seen:
            seen.write(request.activation_id + "\\n")
        if activation.name == "sore":
            raise RuntimeError("the observer broke")

@hookimpl
@asynccontextmanager
async def open_observer():
    yield Watching()
"""
STUMBLES = f"""{OPENS}
class Stumbling:
    def __init__(self, store):
        self.store = store
        self.tries = 0

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def put_many(self, batch):
        self.tries += 1
        if self.tries < 3:
            raise RuntimeError("the store broke")
        await self.store.put_many(batch)

@hookimpl(wrapper=True)
def open_activation_store(settings):
    inner = yield

    @asynccontextmanager
    async def outer():
        async with inner as store:
            yield Stumbling(store)

    return outer()
"""
HAS_NOTHING = f"""{OPENS}
from invoker.contracts import FunctionStore

class Broken(FunctionStore):
    async def fetch(self, ref, *, exact):
        raise RuntimeError("the store broke")

@hookimpl
@asynccontextmanager
async def open_function_store(settings):
    yield Broken()
"""


def installed(home: Home, code: str) -> str:
    """Install a plugin called `stranger`; return the search path that has it."""
    return search_path(home, distribution(home.folder, "stranger", "stranger = stranger", stranger=code))


def exceptions(lines: list[dict[str, Any]]) -> list[str]:
    """Take what is expected here out of the log: tracebacks of a stranger's own making."""
    found = [line.pop("exception").splitlines()[-1] for line in lines if "exception" in line]
    return list(map(str, found))


async def test_a_refused_namespace_is_told_its_id_and_leaves_no_record(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    path = installed(own_home, REFUSES)

    with own_home.running('extra=["stranger"]', PYTHONPATH=path) as program:
        sent = message("echo", namespace="blocked")
        refused = await program.invoke(sent)
        admitted = await program.invoke(message("echo"))
        await own_home.record(admitted["response"]["activationId"])
        metrics = await program.metrics()

    assert refused["response"] == json.loads(sent)["activationId"]  # though somebody waits for it (spec 2.4)
    assert refused["isSystemError"] is False
    assert "instance" in refused
    assert await own_home.recorded("blocked") == []
    assert metrics['counter_activations_status_counter_total{status="application_error"}'] == 1


async def test_an_observer_sees_every_activation_and_costs_none_when_it_breaks(own_home: Home, tmp_path: Path) -> None:
    own_home.put(python("echo", ECHO), python("sore", ECHO))
    seen = tmp_path / "seen"
    path = installed(own_home, LOOKS_ON)

    with own_home.running('extra=["stranger"]', PYTHONPATH=path, SEEN=str(seen)) as program:
        ids = [(await program.invoke(message(name)))["response"]["activationId"] for name in ("echo", "sore", "echo")]
        await own_home.record(ids[1])

        program.stop()
        assert exceptions(program.log.lines) == ["RuntimeError: the observer broke"]

    assert seen.read_text().split() == ids
    assert f"an observer failed on activation {ids[1]}" in program.log.messages()


async def test_a_store_that_breaks_is_tried_again_until_it_has_the_records(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    path = installed(own_home, STUMBLES)

    with own_home.running('extra=["stranger"]', PYTHONPATH=path) as program:
        answer = await program.invoke(message("echo", {"a": 1}))
        record = await own_home.record(answer["response"]["activationId"])

        program.stop()
        assert exceptions(program.log.lines) == ["RuntimeError: the store broke"] * 2

    assert record["response"]["result"] == {"a": 1}


async def test_a_function_store_that_breaks_is_our_failure_and_the_next_message_is_taken(own_home: Home) -> None:
    path = installed(own_home, HAS_NOTHING)

    with own_home.running("functions=stranger", PYTHONPATH=path) as program:
        answers = [await program.invoke(message("echo")) for _ in range(2)]
        await own_home.record(answers[1]["response"]["activationId"])

        program.stop()
        assert exceptions(program.log.lines) == ["RuntimeError: the store broke"] * 2

    for answer in answers:
        assert answer["isSystemError"] is True
        assert answer["response"]["response"] == {"statusCode": 3, "result": {"error": "Action could not be fetched."}}
