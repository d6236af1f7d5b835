import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.entities.container import Stream
from invoker_docker.frames import LARGEST, BadFrame, FrameReader

Written = list[tuple[Stream, bytes]]

STREAMS = {0: Stream.STDOUT, 1: Stream.STDOUT, 2: Stream.STDERR}


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", kind, len(payload)) + payload


def fed(*pieces: bytes) -> tuple[FrameReader, Written]:
    written: Written = []
    reader = FrameReader(lambda stream, chunk: written.append((stream, chunk)))
    for piece in pieces:
        buffer = bytearray(piece + b"what an earlier read left in the buffer")
        reader.feed(memoryview(buffer), len(piece))
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
        struct.pack(">BxxxI", 1, LARGEST + 1),
        b"HTTP/1.1",
    ],
)
def test_what_is_no_header_ends_it_after_what_was_right(header: bytes, split: int) -> None:
    written: Written = []
    reader = FrameReader(lambda stream, chunk: written.append((stream, chunk)))
    data = frame(1, b"right") + header

    def feed_both() -> None:
        for piece in (data[: 13 + split], data[13 + split :]):
            reader.feed(memoryview(piece), len(piece))

    with pytest.raises(BadFrame, match="is no header of a frame") as caught:
        feed_both()

    assert caught.value.header == header
    assert written == [(Stream.STDOUT, b"right")]
