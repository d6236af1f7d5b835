"""A store that does not take records, or fails: callers go on being answered, and no record is lost or made twice."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.end_to_end.caller import ask
from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Running

ECHO = "def main(args): return args"
IMPATIENT = ("sqlite.busy_timeout=50 ms", "recording.first_retry=10 ms", "recording.last_retry=20 ms")
LOST_RECORDS = 4
PAGE = 4096
PENDING = "gauge_invoker_records_pending"


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the file as another process may: nobody can write meanwhile."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def warmed(program: Running) -> None:
    """Have one activation behind it, with its record."""
    acknowledgement = await program.invoke(message("echo"))
    await program.home.record(acknowledgement["response"]["activationId"])


async def failing(program: Running) -> None:
    """Wait until a write has failed."""
    await asyncio.to_thread(
        program.log.wait, lambda line: "the activation store takes no records" in str(line.get("message")), 30
    )


async def test_answers_go_on_while_the_file_is_held_and_the_records_come_afterwards(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    with own_home.running(*IMPATIENT) as program:
        await warmed(program)
        with locked(own_home.database):
            sent = [message("echo", {"n": number}) for number in range(20)]
            answers = [await program.invoke(each) for each in sent]
            await failing(program)
            waiting = await program.operator("/readyz")
            pending = (await program.metrics())[PENDING]

        records = [await own_home.record(json.loads(each)["activationId"]) for each in sent]
        await program.becomes_ready()

    assert [each["response"]["response"]["result"] for each in answers] == [{"n": number} for number in range(20)]
    assert waiting.status == 503
    fault, reason = waiting.json
    assert fault.startswith("the activation store takes no records; ")
    assert "sqlite.busy_timeout" in reason
    assert pending > 0
    assert [each["response"]["result"] for each in records] == [{"n": number} for number in range(20)]
    assert len(await own_home.recorded()) == 21
    assert "the activation store works again" in program.log.messages()


async def test_the_default_patience_waits_for_another_writer_without_a_word(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    with own_home.running() as program:
        with locked(own_home.database):
            first = await program.invoke(message("echo"))

        await own_home.record(first["response"]["activationId"])

    assert [line for line in program.log.lines if line.get("level") in ("warning", "error")] == [hostile(program)]


def hostile(program: Running) -> object:
    """Return the one warning that there always is."""
    return next(line for line in program.log.lines if "hostile" in str(line.get("message")))


async def test_when_no_more_records_fit_messages_are_turned_away_until_they_do(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    with own_home.running(*IMPATIENT, "recording.max_bytes=20 KB") as program:
        await warmed(program)
        with locked(own_home.database):
            accepted = 0
            answer = await ask(program.data, "POST", "/invoke", message("echo", {"text": "x" * 2000}))
            while answer.status == 200:
                accepted += 1
                answer = await ask(program.data, "POST", "/invoke", message("echo", {"text": "x" * 2000}))
            full = await program.operator("/readyz")
            alive = await program.operator("/livez")

        await program.becomes_ready()
        again = await program.invoke(message("echo"))
        await own_home.record(again["response"]["activationId"])
        busy = (await program.metrics())['counter_invoker_messages_busy_total{reason="records"}']

    assert 4 <= accepted <= 20
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json == {"error": "too many activation records wait for the store; try again in 5 s"}
    assert full.status == 503
    assert full.json[0].startswith(f"activation records can't be stored and {accepted} wait")
    assert alive.status == 200
    assert busy == 1
    assert len(await own_home.recorded()) == accepted + 2


async def test_stopping_waits_for_the_store(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    with own_home.running(*IMPATIENT) as program:
        await warmed(program)
        with locked(own_home.database):
            sent = message("echo")
            await program.invoke(sent)
            await failing(program)
            program.process.terminate()
            await asyncio.to_thread(program.log.wait, lambda line: "stopping" in str(line.get("message")), 30)

        assert await asyncio.to_thread(program.ended) == 0

    assert json.loads(sent)["activationId"] in await own_home.recorded()


async def test_records_that_the_store_never_took_are_lost_and_said_to_be(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    with own_home.running(
        *IMPATIENT, "recording.safety=memory", "recording.grace=100 ms", code=LOST_RECORDS
    ) as program:
        await warmed(program)
        with locked(own_home.database):
            for _ in range(3):
                await program.invoke(message("echo"))
            await failing(program)
            program.process.terminate()

            assert await asyncio.to_thread(program.ended) == LOST_RECORDS

    assert "3 activation records could not be stored and are lost" in program.log.messages()


async def test_a_file_that_is_no_database_is_named_and_what_to_do(own_home: Home) -> None:
    own_home.state.mkdir()
    own_home.database.write_bytes(b"this is no database" * 100)

    called = await asyncio.to_thread(own_home.call, "run")

    assert called.code == 1
    assert "Traceback" not in called.errors
    assert f"{own_home.database}" in called.errors
    assert "it is no database: move it away, or name another file in sqlite.path" in called.errors


async def test_a_file_that_was_deleted_is_made_anew_and_takes_the_records_that_come(own_home: Home) -> None:
    """The function is still in memory, so that its callers notice nothing."""
    own_home.put(python("echo", ECHO))
    with own_home.running() as program:
        await warmed(program)
        own_home.database.unlink()

        sent = [await program.invoke(message("echo", {"n": number})) for number in range(3)]

        for each in sent:
            record = await own_home.record(each["response"]["activationId"])
            assert record["response"] == each["response"]["response"]
    told = [text for text in program.log.messages() if "was deleted or replaced" in text]
    assert told == [
        f"{own_home.database} was deleted or replaced: from now on the file of that name has the activation records"
    ]


async def test_a_damaged_file_is_found_by_check_though_it_opens(own_home: Home) -> None:
    own_home.put(*(python(f"echo-{number}", ECHO + "\n#" + "x" * 50_000) for number in range(20)))
    size = own_home.database.stat().st_size
    with own_home.database.open("r+b") as file:
        file.seek(size // 2 // PAGE * PAGE)
        file.write(b"\xff" * PAGE)

    called = await asyncio.to_thread(own_home.call, "check", "--json")

    findings = {each["part"]: each for each in called.json}
    assert called.code == 1
    assert not findings["activations"]["ok"]
    assert "it is damaged: move it and its -wal file away" in findings["activations"]["text"]


async def test_a_killed_invoker_has_stored_what_it_had_time_to_and_its_file_is_whole(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    with own_home.running("recording.flush_interval=1 ms", code=-9) as program:
        await warmed(program)
        program.process.kill()

        assert await asyncio.to_thread(program.ended) == -9

    with closing(sqlite3.connect(own_home.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(await own_home.recorded()) == 1
