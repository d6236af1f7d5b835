"""Action proxies that misbehave: what callers are told, how often they ran, and what becomes of their containers."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.docker.place import DockerHome, Ended, action, container_of, invoke, pool, unharmed
from tests.end_to_end.messages import message
from tests.end_to_end.program import Running, annotations_of

ABNORMAL_RUN = "The action did not produce a valid response and exited unexpectedly."
ABNORMAL_INIT = "The action did not initialize and exited unexpectedly."
TIMEOUT = 400
DEAF = "stderr: Nothing listened on port 8080 of the container: it runs no action proxy."
LATE = f"The action exceeded its time limits of {TIMEOUT} milliseconds."
WARNING = "stderr: The action did not initialize or run as expected. Log data might be missing."
OUTPUT = ["stdout: out", "stderr: err"]

WAYS = (
    "never-answers",
    "never-initialises",
    "answers-byte-by-byte",
    "answers-without-a-length",
    "answers-in-chunks",
    "answers-rubbish",
    "answers-half",
    "breaks-the-connection",
    "closes-when-it-has-read-the-second",
    "closes-after-each",
    "closes-for-good",
    "is-unwell",
    "is-unwell-in-init",
    "is-unwell-the-second-time",
    "says-more-than-it-was-asked",
)


@pytest.fixture(scope="module")
def program(home: DockerHome, odd: dict[str, str]) -> Iterator[Running]:
    home.offer({"python:3": odd["plain"], "odd:1": odd["odd"], "mute:1": odd["mute"], "leaver:1": odd["leaver"]})
    quick = {"never-answers", "never-initialises"}
    home.put(
        *(action(way, "odd:1", way, timeout=TIMEOUT if way in quick else 60_000) for way in WAYS),
        action("mute", "mute:1", "", timeout=TIMEOUT),
        action("leaver", "leaver:1", ""),
    )
    with home.running() as running:
        yield running


async def counted(program: Running, home: DockerHome, name: str, times: int) -> tuple[list[Ended], list[int]]:
    """Invoke an action several times; return how each ended, and the numbers of its runs as it counted them itself."""
    async with home.meeting() as place:
        ends = [await invoke(program, name, {"place": place.address}) for _ in range(times)]
        counts = [visitor.facts["count"] for visitor in place.visitors()]
    await unharmed(program, home.engine)
    return ends, counts


@pytest.mark.parametrize(
    "way", ["answers-byte-by-byte", "answers-without-a-length", "answers-in-chunks", "closes-after-each"]
)
async def test_an_answer_may_come_in_any_form(program: Running, home: DockerHome, way: str) -> None:
    ends, counts = await counted(program, home, way, 3)

    assert [end.result for end in ends] == [{"count": 1}, {"count": 2}, {"count": 3}]
    assert [sorted(end.logs, reverse=True) for end in ends] == [OUTPUT] * 3
    assert [end.line["containerType"] for end in ends] == ["cold", "warm", "warm"]
    assert counts == [1, 2, 3]


@pytest.mark.parametrize("way", ["answers-rubbish", "answers-half", "breaks-the-connection"])
async def test_what_is_no_answer_is_a_developer_error_and_nothing_is_run_again(
    program: Running, home: DockerHome, way: str
) -> None:
    (end,), counts = await counted(program, home, way, 1)

    assert (end.status, end.result) == (2, {"error": ABNORMAL_RUN})
    assert sorted(end.logs[:-1], reverse=True) == OUTPUT
    assert end.logs[-1] == WARNING
    assert counts == [1]
    assert f"guest/{way}" not in {one["action"] for one in (await pool(program))["containers"]}


async def test_a_kept_connection_that_ends_when_the_request_was_read_runs_nothing_twice(
    program: Running, home: DockerHome
) -> None:
    (first, second, third), counts = await counted(program, home, "closes-when-it-has-read-the-second", 3)

    assert first.result == {"count": 1}
    assert (second.status, second.result) == (2, {"error": ABNORMAL_RUN})
    assert (third.result, third.line["containerType"], third.line["coldStart"]) == ({"count": 1}, "cold", "died")
    assert counts == [1, 2, 1]


async def test_a_request_that_was_not_sent_goes_to_another_container(program: Running, home: DockerHome) -> None:
    (first, second), counts = await counted(program, home, "closes-for-good", 2)

    assert [end.result for end in (first, second)] == [{"count": 1}] * 2
    assert (second.line["containerType"], second.line["coldStart"]) == ("cold", "moved")
    assert second.line["cid"] != first.line["cid"]
    assert container_of(await pool(program), "closes-for-good")["name"] == second.line["cid"]
    assert counts == [1, 1]


async def test_a_proxy_that_is_unwell_is_left_for_another(program: Running, home: DockerHome) -> None:
    (first, second), counts = await counted(program, home, "is-unwell-the-second-time", 2)

    assert [end.result for end in (first, second)] == [{"count": 1}] * 2
    assert (second.line["coldStart"], annotations_of(second.record)["coldStart"]) == ("moved", "moved")
    assert counts == [1, 2, 1]


@pytest.mark.parametrize(
    ("way", "error", "tries"),
    [
        ("is-unwell", "The action did not produce a valid JSON or JSON Array response: {}", [1]),
        ("is-unwell-in-init", "The action failed during initialization: {}", []),
    ],
)
async def test_fresh_proxies_that_are_not_well_may_have_acted_and_are_tried_once(
    program: Running, home: DockerHome, way: str, error: str, tries: list[int]
) -> None:
    with home.engine.events() as events:
        (end,), counts = await counted(program, home, way, 1)

    assert (end.status, end.result) == (2, {"error": error})
    assert counts == tries
    assert len([one for one in events.lines if one["Action"] == "create"]) == 1


@pytest.mark.parametrize(
    ("name", "error", "counts"),
    [
        ("never-answers", LATE, [1]),
        ("never-initialises", LATE.replace("seconds.", "seconds during initialization."), []),
        ("mute", LATE.replace("seconds.", "seconds during initialization."), []),
    ],
)
async def test_a_proxy_that_takes_the_connection_and_never_answers_is_late(
    program: Running, home: DockerHome, name: str, error: str, counts: list[int]
) -> None:
    (end,), ran = await counted(program, home, name, 1)

    assert (end.status, end.result) == (2, {"error": error})
    assert annotations_of(end.record)["timeout"] is True
    assert (DEAF in end.logs) == (name == "mute")
    assert ran == counts


async def test_a_proxy_that_leaves_at_once_did_not_initialise(program: Running, home: DockerHome) -> None:
    end = await invoke(program, "leaver")

    assert (end.status, end.result) == (2, {"error": ABNORMAL_INIT})
    assert end.logs == ["stdout: going", WARNING, "stderr: The container exited with status 7."]
    await unharmed(program, home.engine)


async def test_an_answer_that_nobody_asked_for_is_nobodys(program: Running, home: DockerHome) -> None:
    ends, counts = await counted(program, home, "says-more-than-it-was-asked", 3)

    assert [end.result for end in ends] == [{"count": 1}, {"count": 2}, {"count": 3}]
    assert counts == [1, 2, 3]


async def test_many_that_want_a_broken_proxy_at_once_are_each_answered_once(program: Running, home: DockerHome) -> None:
    async with home.meeting() as place:
        sent: list[Any] = [message("answers-half", {"place": place.address}) for _ in range(4)]
        answers = await asyncio.gather(*map(program.invoke, sent))
        counts = [visitor.facts["count"] for visitor in place.visitors()]

    assert [one["response"]["response"]["result"] for one in answers] == [{"error": ABNORMAL_RUN}] * 4
    assert counts == [1] * 4
    await unharmed(program, home.engine)
