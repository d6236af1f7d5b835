import asyncio
import os

import pytest

from invoker.entities.container import Stream
from invoker.testing.containers import RecordedOutput
from invoker_process.container import CHUNK, OutputPipes

OUT, ERR = Stream.STDOUT, Stream.STDERR


@pytest.fixture
async def output() -> RecordedOutput:
    return RecordedOutput()


async def test_what_is_written_is_pushed_to_its_stream(output: RecordedOutput) -> None:
    pipes = OutputPipes(output)
    out, err = pipes.attach(OUT), pipes.attach(ERR)

    os.write(out, b"hello")
    os.write(err, b"careful")
    await output.says(b"hello", OUT)
    await output.says(b"careful", ERR)

    assert output.closings == 0
    os.close(out)
    os.close(err)
    await output.ends()


async def test_the_end_is_told_when_both_streams_have_ended(output: RecordedOutput) -> None:
    pipes = OutputPipes(output)
    out, err = pipes.attach(OUT), pipes.attach(ERR)

    os.close(out)
    os.write(err, b"still here")
    await output.says(b"still here", ERR)
    before = output.closings
    os.close(err)
    await output.ends()
    pipes.close()

    assert (before, output.closings) == (0, 1)


async def test_closing_takes_what_is_in_the_pipes_though_somebody_holds_them_open(output: RecordedOutput) -> None:
    pipes = OutputPipes(output)
    out, err = pipes.attach(OUT), pipes.attach(ERR)
    os.write(out, b"x" * CHUNK)
    os.write(err, b"last words")

    pipes.close()
    pipes.close()

    assert output.written == {OUT: b"x" * CHUNK, ERR: b"last words"}
    assert output.closings == 1
    with pytest.raises(BrokenPipeError):
        os.write(out, b"too late")
    os.close(out)
    os.close(err)


async def test_pipes_that_were_never_made_end_as_well(output: RecordedOutput) -> None:
    OutputPipes(output).close()

    assert output.closings == 1


async def test_a_flood_is_taken_and_the_loop_goes_on(output: RecordedOutput) -> None:
    pipes = OutputPipes(output)
    out, err = pipes.attach(OUT), pipes.attach(ERR)
    os.close(err)
    total = 16 << 20

    def flood() -> None:
        with os.fdopen(out, "wb", buffering=0) as file:
            for _ in range(total >> 20):
                file.write(b"x" * (1 << 20))

    turns = 0

    async def count() -> None:
        nonlocal turns
        while not output.closings:
            turns += 1
            await asyncio.sleep(0)

    await asyncio.gather(asyncio.to_thread(flood), count())

    assert len(output.written[OUT]) == total
    assert turns >= total // CHUNK
