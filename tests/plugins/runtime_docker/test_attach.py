"""What containers print: on real ones, and against answers that a real engine gives too seldom to be tested."""

import asyncio
import re
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.config import Seconds
from invoker.entities.container import Stream
from invoker.testing.containers import RecordedOutput
from invoker_docker.attach import LARGEST_FRAME, AttachedOutput, BadFrame, StreamDemultiplexer
from invoker_docker.engine import EngineClient, connected
from invoker_docker.failures import EngineDown, EngineError
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.invoker_place import ALONE, InvokerPlace
from tests.plugins.runtime_docker.stand_in import raw_stand_in
from tests.plugins.transport_http.certificates import Certificates, issued
from tests.services.troubled_socket import troubled

Written = list[tuple[Stream, bytes]]


STREAMS = {0: Stream.STDOUT, 1: Stream.STDOUT, 2: Stream.STDERR}


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", kind, len(payload)) + payload


def fed(*pieces: bytes) -> tuple[StreamDemultiplexer, Written]:
    written: Written = []
    reader = StreamDemultiplexer(lambda stream, chunk: written.append((stream, chunk)))
    for piece in pieces:
        reader.feed(piece)
    return reader, written


def joined(written: Written) -> Written:
    """Return what was written, with neighbours of one stream together."""
    result: Written = []
    for stream, chunk in written:
        if result and result[-1][0] is stream:
            result[-1] = (stream, result[-1][1] + chunk)
        else:
            result.append((stream, chunk))
    return result


@given(
    frames=st.lists(st.tuples(st.sampled_from(sorted(STREAMS)), st.binary(max_size=40))),
    sizes=st.lists(st.integers(1, 30), min_size=1),
)
def test_what_comes_in_any_pieces_comes_out_in_order(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    data = b"".join(frame(kind, payload) for kind, payload in frames)
    pieces = []
    while data:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]

    reader, written = fed(*pieces)

    assert joined(written) == joined([(STREAMS[kind], payload) for kind, payload in frames if payload])
    assert all(chunk for _, chunk in written)
    assert reader.between_frames


def test_a_payload_is_passed_on_before_it_is_whole() -> None:
    data = frame(1, b"a long line")

    reader, written = fed(data[:12])

    assert written == [(Stream.STDOUT, b"a lo")]
    assert not reader.between_frames


def test_a_header_may_come_byte_by_byte() -> None:
    reader, written = fed(*(bytes([byte]) for byte in frame(2, b"x")))

    assert written == [(Stream.STDERR, b"x")]
    assert reader.between_frames


def test_half_a_header_is_no_end() -> None:
    reader, _ = fed(frame(1, b"x") + b"\x01\x00")

    assert not reader.between_frames


@pytest.mark.parametrize("split", range(9))
@pytest.mark.parametrize(
    "header",
    [
        struct.pack(">BxxxI", 3, 1),
        struct.pack(">BxxxI", 255, 1),
        b"\x01\x00\x01\x00\x00\x00\x00\x01",
        struct.pack(">BxxxI", 1, LARGEST_FRAME + 1),
        b"HTTP/1.1",
    ],
)
def test_what_is_no_header_ends_it_after_what_was_right(header: bytes, split: int) -> None:
    written: Written = []
    reader = StreamDemultiplexer(lambda stream, chunk: written.append((stream, chunk)))
    data = frame(1, b"right") + header

    def feed_both() -> None:
        for piece in (data[: 13 + split], data[13 + split :]):
            reader.feed(piece)

    with pytest.raises(BadFrame, match="is no header of a frame") as caught:
        feed_both()

    assert caught.value.header == header
    assert written == [(Stream.STDOUT, b"right")]


UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"


SAYING = "import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr, flush=True)\nprint('end', end='')"


async def attached(engine: EngineClient, container: str, output: RecordedOutput) -> AttachedOutput:
    attachment = AttachedOutput(container, output.write, output.closed)
    await engine.attach(container, attachment)
    return attachment


async def answered(*pieces: bytes) -> RecordedOutput:
    """Return what is printed where an engine answers so, and then closes the connection."""
    output = RecordedOutput()
    async with (
        raw_stand_in(b"".join(pieces), to=b"/attach") as url,
        connected(DockerSettings(url=url)) as engine,
    ):
        await (await attached(engine, "c", output)).ended.wait()
    assert output.closings == 1
    return output


@pytest.mark.parametrize("head", [UPGRADED, PLAIN])
async def test_either_answer_is_followed_by_the_stream(head: bytes) -> None:
    output = await answered(head, frame(1, b"a"), frame(2, b"b"), frame(0, b"c"))

    assert output.written == {Stream.STDOUT: b"ac", Stream.STDERR: b"b"}


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b'HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n{"message": "nothing"}', EngineError, "attach: nothing"),
        (b"HTTP/1.1 500 No\r\n\r\nnot even JSON", EngineError, "attach: not even JSON"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", EngineError, "attach: refused"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", EngineDown, "attach: no"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", EngineError, "changes the stream"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", EngineDown, "no answer that makes sense"),
        (b"HTTP/1.1 101 UPGR", EngineDown, "attach: the connection broke: "),
        (b"", EngineDown, "attach: the connection broke: "),
        (b"HTTP/1.1 101 UPGRADED\r\n" + b"X: y\r\n" * 20_000, EngineDown, "no answer that makes sense"),
    ],
)
async def test_what_is_no_stream_says_why(answer: bytes, kind: type[EngineError], text: str) -> None:
    output = RecordedOutput()
    async with raw_stand_in(answer, to=b"/attach") as url, connected(DockerSettings(url=url)) as engine:
        with pytest.raises(EngineError, match=re.escape(text)) as caught:
            await attached(engine, "c", output)

    assert type(caught.value) is kind
    assert output.closings == 0


async def test_an_engine_that_says_nothing_is_given_up() -> None:
    async with raw_stand_in(b"", to=b"/attach") as url, troubled(url) as trouble:
        settings = DockerSettings(url=trouble.url, start_timeout=Seconds(0.05))
        async with connected(settings) as engine:
            trouble.stop()
            with pytest.raises(EngineDown, match=r"no answer within 0\.05 s"):
                await attached(engine, "c", RecordedOutput())


@pytest.mark.parametrize("rest", [b"\x09\x00\x00\x00\x00\x00\x00\x01x", frame(1, b"more")[:-1], b"\x01\x00"])
async def test_a_stream_that_goes_wrong_ends_and_is_logged(rest: bytes, caplog: pytest.LogCaptureFixture) -> None:
    output = await answered(UPGRADED, frame(1, b"right\n"), rest)

    assert output.written[Stream.STDOUT].startswith(b"right\n")
    assert "c: its output" in caplog.text


async def test_a_stream_that_ends_between_two_frames_is_nothing_to_log(caplog: pytest.LogCaptureFixture) -> None:
    await answered(UPGRADED, frame(1, b"right\n"))

    assert not caplog.records


async def test_all_that_a_container_prints_comes_from_its_first_byte_to_its_end(place: InvokerPlace) -> None:
    async with printing(place, SAYING) as (engine, name):
        output = RecordedOutput()
        attachment = await attached(engine, name, output)
        await engine.start(name)
        await attachment.ended.wait()

    assert output.written == {Stream.STDOUT: b"out\nend", Stream.STDERR: b"err\n"}


async def test_an_engine_far_away_is_read_over_tls(docker_place: InvokerPlace, tmp_path: Path) -> None:
    certificates = issued(tmp_path)
    output = RecordedOutput()
    async with encrypted(docker_place.url, certificates) as url:
        keys = {"tls_ca": certificates.authority, "tls_cert": certificates.caller, "tls_key": certificates.caller_key}
        async with printing(docker_place.but(url=url, **keys), f"{SAYING}\n" * 1_000) as (engine, name):
            attachment = await attached(engine, name, output)
            await engine.start(name)
            await attachment.ended.wait()

    assert output.written[Stream.STDOUT] == b"out\nend" * 1_000


async def test_a_stream_that_is_corrupted_on_its_way_ends(
    docker_place: InvokerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        troubled(docker_place.url) as trouble,
        printing(docker_place.but(url=trouble.url), f"{SAYING}\nimport time\ntime.sleep(3600)") as (engine, name),
    ):
        output = RecordedOutput()
        attachment = await attached(engine, name, output)
        trouble.corrupt = lambda data: b"\xff" + data[1:]
        await engine.start(name)
        await attachment.ended.wait()

    assert (output.written[Stream.STDOUT], output.closings) == (b"", 1)
    assert "its output can't be read any more" in caplog.text


@asynccontextmanager
async def printing(place: InvokerPlace, code: str) -> AsyncIterator[tuple[EngineClient, str]]:
    """Create a container that runs Python code once it is started."""
    name = f"printing-{place.node.unique_name}"
    code = code.replace("'end', end=''", "'end', end='', flush=True")
    request = {"Image": place.image, "Cmd": ["python3", "-c", code], **ALONE}
    async with connected(place.docker) as engine:
        await engine.create(name, request)
        try:
            yield engine, name
        finally:
            await engine.remove(name)


@asynccontextmanager
async def encrypted(url: str, certificates: Certificates) -> AsyncIterator[str]:
    """Put TLS before an engine, for callers with a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.verify_mode = ssl.CERT_REQUIRED
    async with troubled(url) as way, await asyncio.start_server(way.serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"tcp://localhost:{server.sockets[0].getsockname()[1]}"
