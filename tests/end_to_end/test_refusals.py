"""What is turned away: at the door with a status, after it with an acknowledgement in the words of spec 11.1."""

import json
from base64 import b64encode
from collections.abc import Iterator

import pytest

from tests.end_to_end.caller import Answer, ask, connected
from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Running, annotations_of

SIZE_LIMIT = (1 << 20) + 6068
"""Bytes of a message (spec 1.1.3)."""
LENGTH = "def main(args): return {'length': len(args.get('text', ''))}"


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(
        python("length", LENGTH),
        python("enormous", LENGTH, memory=1024),
        python("tiny", LENGTH, memory=64),
        python("patient", LENGTH, timeout=300_001),
        python("hasty", LENGTH, timeout=99),
        python("talkative", LENGTH, logs=11),
        python("crowded", LENGTH, concurrency=2),
        python("larger-than-the-pool", LENGTH, memory=400),
        python("cobol", LENGTH, kind="cobol:74"),
    )
    with home.running("pool.memory=384 MB") as running:
        yield running


async def send(program: Running, body: bytes, **headers: str) -> Answer:
    return await ask(program.data, "POST", "/invoke", body, **headers)


async def still_works(program: Running) -> None:
    acknowledgement = await program.invoke(message("length", {"text": "abc"}))
    assert acknowledgement["response"]["response"]["result"] == {"length": 3}


def without(field: str) -> bytes:
    whole = json.loads(message("length"))
    del whole[field]
    return json.dumps(whole).encode()


NO_MESSAGES = {
    "nothing": b"",
    "garbage": b"garbage",
    "an array": b"[]",
    "an empty object": b"{}",
    "null": b"null",
    "no Unicode": b"\xff\xfe",
    "half a message": message("length")[:-1],
    "more than a message": message("length") + b"}",
    "nested without end": b"[" * 100_000,
    "no action": without("action"),
    "no user": without("user"),
    "no id": without("activationId"),
    "an odd id": message("length", activationId="no id"),
    "a scalar as content": message("length", content="text"),
    "an odd name": message("length", action={"path": "guest", "name": "../etc/passwd"}),
    "half a user": message("length", user={"subject": "somebody"}),
}


@pytest.mark.parametrize("body", NO_MESSAGES.values(), ids=NO_MESSAGES)
async def test_what_is_no_message_is_a_bad_request(program: Running, body: bytes) -> None:
    answer = await send(program, body)

    assert answer.status == 400
    assert list(answer.json) == ["error"]
    await still_works(program)


async def test_a_refusal_repeats_nothing_of_a_message(program: Running) -> None:
    answer = await send(program, message("length", {"password": "hunter2"})[:-1])

    assert answer.status == 400
    assert b"hunter2" not in answer.body
    assert "hunter2" not in program.log.text()


async def test_a_message_of_exactly_the_size_limit_is_accepted(program: Running) -> None:
    text = "x" * (SIZE_LIMIT - len(message("length", {"text": ""})))
    sent = message("length", {"text": text})
    assert len(sent) == SIZE_LIMIT

    acknowledgement = await program.invoke(sent)

    assert acknowledgement["response"]["response"]["result"] == {"length": len(text)}


async def test_a_message_one_byte_above_it_is_too_large(program: Running) -> None:
    sent = message("length", {"text": "x" * (SIZE_LIMIT + 1 - len(message("length", {"text": ""})))})
    assert len(sent) == SIZE_LIMIT + 1

    answer = await send(program, sent)

    assert answer.status == 413
    assert answer.json == {"error": f"the message is too large: {SIZE_LIMIT} bytes are allowed"}
    await still_works(program)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/invoke", 405), ("POST", "/run", 404)])
async def test_another_method_or_path_is_named_as_such(program: Running, method: str, path: str, status: int) -> None:
    answer = await ask(program.data, method, path, message("length"))

    assert answer.status == status


async def test_a_connection_is_good_for_the_next_message_after_a_refusal(program: Running) -> None:
    async with connected(program.data) as caller:
        refused = await caller.ask("POST", "/invoke", b"garbage")
        answered = await caller.ask("POST", "/invoke", message("length", {"text": "ab"}))

    assert refused.status == 400
    assert answered.json["response"]["response"]["result"] == {"length": 2}


async def refused_with(program: Running, sent: bytes, status: int, text: str, kind: str) -> None:
    """The whole of it: acknowledgement, record, no container, and an invoker that goes on."""
    containers = await program.idle_containers()

    acknowledgement = await program.invoke(sent)

    record = acknowledgement["response"]
    assert record["response"] == {"statusCode": status, "result": {"error": text}}
    assert acknowledgement["isSystemError"] is (status == 3)
    assert record["logs"] == []
    stored = await program.home.record(record["activationId"])
    assert stored["response"] == record["response"]
    assert annotations_of(stored)["kind"].startswith(kind)
    assert await program.idle_containers() == containers
    await still_works(program)


async def test_an_unknown_action_is_an_application_error(program: Running) -> None:
    await refused_with(
        program, message("missing"), 1, "Action could not be found or may have been deleted.", kind="unknown"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("enormous", "memory size 1024 MB exceeds allowed threshold of 384 MB"),
        ("larger-than-the-pool", "memory size 400 MB exceeds allowed threshold of 384 MB"),
        ("tiny", "memory size 64 MB below allowed threshold of 128 MB"),
        ("patient", "duration 300001 milliseconds exceeds allowed threshold of 300000 milliseconds"),
        ("hasty", "duration 99 milliseconds below allowed threshold of 100 milliseconds"),
        ("talkative", "log size 11 MB exceeds allowed threshold of 10 MB"),
        ("crowded", "concurrency 2 exceeds allowed threshold of 1"),
    ],
)
async def test_a_limit_that_is_broken_is_an_application_error(program: Running, name: str, text: str) -> None:
    await refused_with(program, message(name), 1, f"requirement failed: {text}", kind="python:")


async def test_the_limits_of_a_namespace_count_too(program: Running) -> None:
    sent = json.loads(message("length"))
    sent["user"]["limits"] = {"maxActionMemory": 127}

    await refused_with(
        program,
        json.dumps(sent).encode(),
        1,
        "requirement failed: memory size 128 MB exceeds allowed threshold of 127 MB",
        kind="python:",
    )


async def test_an_unknown_kind_is_a_system_error(program: Running) -> None:
    await refused_with(
        program, message("cobol"), 3, "Action version is not compatible and cannot be invoked.", kind="unknown"
    )


async def test_a_non_blocking_call_that_is_refused_is_told_its_id(program: Running) -> None:
    sent = message("missing", blocking=False)

    acknowledgement = await program.invoke(sent)

    assert acknowledgement["response"] == json.loads(sent)["activationId"]
    assert acknowledgement["isSystemError"] is False
    assert "instance" in acknowledgement


async def test_refusals_are_counted(program: Running) -> None:
    before = await program.metrics()

    await send(program, b"garbage")
    await program.invoke(message("missing"))

    after = await program.metrics()
    malformed = "counter_invoker_messages_malformed_total"
    failed = 'counter_activations_status_counter_total{status="application_error"}'
    assert after[malformed] == before[malformed] + 1
    assert after[failed] == before[failed] + 1


async def test_a_stranger_is_turned_away_and_whoever_knows_the_password_is_not(own_home: Home) -> None:
    own_home.put(python("length", LENGTH))
    known, wrong = (b64encode(f"controller:{word}".encode()).decode() for word in ("hunter2", "guess"))

    with own_home.running(INVOKER_HTTP__USERNAME="controller", INVOKER_HTTP__PASSWORD="hunter2") as program:
        nobody = await send(program, message("length"))
        guessed = await send(program, message("length"), Authorization=f"Basic {wrong}")
        answer = await send(program, message("length", {"text": "abc"}), Authorization=f"Basic {known}")
        assert (await program.operator("/readyz")).status == 200

    assert nobody.status == guessed.status == 401
    assert "basic" in nobody.headers["www-authenticate"].lower()
    assert answer.json["response"]["response"]["result"] == {"length": 3}
    assert "hunter2" not in program.log.text()
    assert len(await own_home.recorded()) == 1
