"""The log: written by a thread, never in anybody's way."""

import io
import logging
import threading

import msgspec
import pytest

from invoker.config import TelemetrySettings
from invoker.telemetry import log_writing

JSON = TelemetrySettings(format="json")


def written(stream: io.BytesIO) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def test_a_log_record_becomes_a_json_line_with_its_extra_fields() -> None:
    stream = io.BytesIO()

    with log_writing(JSON, stream):
        logging.getLogger("invoker.test").info("listening on %s", "there", extra={"url": "http://there"})

    (line,) = written(stream)
    assert (line["message"], line["url"], line["level"], line["logger"]) == (
        "listening on there",
        "http://there",
        "info",
        "invoker.test",
    )


def test_an_exception_is_in_its_line() -> None:
    stream = io.BytesIO()

    with log_writing(JSON, stream):
        try:
            raise LookupError("why")
        except LookupError:
            logging.getLogger("invoker.test").exception("failed")

    (line,) = written(stream)
    assert "LookupError: why" in str(line["exception"])


def test_text_is_for_people() -> None:
    stream = io.BytesIO()

    with log_writing(TelemetrySettings(format="text"), stream):
        logging.getLogger("invoker.test").warning("mind the gap")

    assert stream.getvalue().endswith(b"warning mind the gap\n")


def test_text_for_people_does_not_control_their_terminal() -> None:
    stream = io.BytesIO()

    with log_writing(TelemetrySettings(format="text"), stream):
        logging.getLogger("invoker.test").warning("it said %s", "\x1b[2J\x9b2J\x07\r\tso")

    assert stream.getvalue().endswith(b"it said \\u001b[2J\\u009b2J\\u0007\\u000d\tso\n")


def test_lines_keep_their_order() -> None:
    stream = io.BytesIO()

    with log_writing(JSON, stream) as writer:
        for number in range(1000):
            writer.line(b"%d\n" % number)

    assert stream.getvalue() == b"".join(b"%d\n" % number for number in range(1000))


def test_what_is_below_the_level_is_left_out() -> None:
    stream = io.BytesIO()

    with log_writing(TelemetrySettings(format="json", level="warning"), stream):
        logging.getLogger("invoker.test").info("chatter")
        logging.getLogger("invoker.test").warning("news")

    assert [line["message"] for line in written(stream)] == ["news"]


def test_libraries_say_nothing_at_debug() -> None:
    stream = io.BytesIO()
    levels = [logging.getLogger(name).level for name in (None, "invoker")]

    with log_writing(TelemetrySettings(format="json", level="debug"), stream):
        logging.getLogger("aiodocker").debug("executing")
        logging.getLogger("aiodocker").info("opened")
        logging.getLogger("invoker.sqlite").debug("of ours")

    assert [line["message"] for line in written(stream)] == ["opened", "of ours"]
    assert [logging.getLogger(name).level for name in (None, "invoker")] == levels


def test_text_that_is_no_unicode_is_written_all_the_same() -> None:
    stream = io.BytesIO()

    with log_writing(JSON, stream):
        logging.getLogger("invoker.test").info("odd \udcff name")

    (line,) = written(stream)
    assert str(line["message"]).startswith("odd ")


def test_a_stuck_terminal_holds_nobody_up_and_what_it_missed_is_counted() -> None:
    released = threading.Event()
    line = b"x" * 1023 + b"\n"

    class Stuck(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            released.wait()
            return super().write(data)

    stream = Stuck()
    with log_writing(JSON, stream) as writer:
        for _ in range(20_000):
            writer.line(line)
        missed = writer.left_out
        released.set()

    assert missed >= 9_000
    assert b"log lines were left out" in stream.getvalue()


@pytest.mark.parametrize("gone", [OSError("gone"), ValueError("closed")])
def test_a_terminal_that_is_gone_ends_nothing(gone: Exception) -> None:
    class Gone(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            raise gone

    with log_writing(JSON, Gone()) as writer:
        writer.line(b"hello\n")

    assert writer.left_out == 1
