"""One connection of the load generator: a request, its answer, the next request. `httptools`, no client library."""

import asyncio
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias, cast

import httptools

from bench.messages import FIRST, Template

Judge: TypeAlias = Callable[[bytes, int], bool]

_OK: Final = 200
SHOWN: Final = 5
"""Wrong answers that are kept to be shown."""


class Tally:
    """What all connections of a round have seen."""

    numbers = FIRST
    """The next request's number; never used twice, in whichever round."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.latencies = array("q")
        """Nanoseconds from the write of a request to the last byte of its answer."""
        self.wrong = 0
        self.examples: list[str] = []
        self.stopped = False
        """No further requests are sent."""

    def next_number(self) -> int:
        """Return a number that nobody has."""
        number = Tally.numbers
        Tally.numbers = number + 1
        return number

    def refuse(self, number: int, said: str) -> None:
        """Count a wrong answer."""
        self.wrong += 1
        if len(self.examples) < SHOWN:
            self.examples.append(f"{number}: {said[:300]}")


class Client(asyncio.Protocol):
    """A caller that has one request in flight until it has no more. The parser calls its `on_*` methods."""

    def __init__(self, tally: Tally, templates: Iterator[Template]) -> None:
        """It may share the iterator with others."""
        self._tally = tally
        self._templates = templates
        self._parser = httptools.HttpResponseParser(self)
        self._number = 0
        self._sent = 0
        self._body = b""
        self._transport: asyncio.Transport | None = None
        self.ended = asyncio.get_running_loop().create_future()
        """Set when the last answer has come, or the connection is gone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send the next request, if there is one."""
        assert self._transport is not None
        template = next(self._templates, None)
        if template is None:
            self.ended.set_result(None)
            return
        self._number = self._tally.next_number()
        self._body = b""
        request = template.render(self._number)
        self._sent = time.perf_counter_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lose(f"no HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if not self.ended.done():
            self._lose(f"the connection was closed: {error}")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def on_body(self, data: bytes) -> None:
        """Keep what came."""
        self._body = self._body + data if self._body else data

    def on_message_complete(self) -> None:
        """Judge the answer and go on."""
        tally = self._tally
        tally.latencies.append(time.perf_counter_ns() - self._sent)
        status = self._parser.get_status_code()
        if status != _OK or not tally.judge(self._body, self._number):
            tally.refuse(self._number, f"{status} {self._body.decode(errors='replace')}")
        if tally.stopped:
            self.ended.set_result(None)
        else:
            self.send()

    def _lose(self, why: str) -> None:
        self._tally.refuse(self._number, why)
        self.close()
        if not self.ended.done():
            self.ended.set_result(None)
