import pytest

from invoker_process.frames import (
    Ask,
    Exited,
    FrameReader,
    Gone,
    Kill,
    Message,
    Ready,
    Refused,
    Spawn,
    Spawned,
    Told,
    encode,
)

MESSAGES: list[Message] = [
    Spawn(1, ["/usr/bin/python", "-I"], {"LANG": "C.UTF-8", "__OW_API_HOST": "https://ö"}, 1 << 28, 1024, 1 << 30),
    Kill(2),
    Ask(2),
    Told(2, 7 << 20),
    Told(2, None),
    Ready("/sys/fs/cgroup/x", ""),
    Refused("no"),
    Spawned(1, ""),
    Exited(3, -9, memory_exhausted=True, peak=123),
    Exited(4, 0, memory_exhausted=False, peak=None),
    Gone(5),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    (read,) = FrameReader().feed(encode(message))

    assert read == message
    assert type(read) is type(message)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100, 10_000])
def test_however_the_bytes_are_split_the_messages_are_the_same(size: int) -> None:
    data = b"".join(map(encode, MESSAGES))
    reader = FrameReader()

    read = [message for at in range(0, len(data), size) for message in reader.feed(data[at : at + size])]

    assert read == MESSAGES
