"""Memory: what becomes of a container that has too much."""

from pathlib import Path

import pytest

from invoker import Settings
from invoker.errors import Lost
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from tests.plugins.runtime_process.actions import GREEDY_CHILD, LIMIT, loaded, run

MB = 1 << 20


@pytest.fixture
def settings(tmp_path: Path, cgroup: str) -> Settings:
    return Settings.of(ProcessSettings(work_dir=tmp_path, cgroup="auto" if cgroup == "auto" else "off"))


async def end_of(settings: Settings, code: str, *, kind: str = "python:3", **arguments: object) -> Lost:
    """Return how a container ended that runs `code`."""
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, code, kind=kind)
        with pytest.raises(Lost) as caught:
            await run(container, **arguments)
        return caught.value


@pytest.mark.parametrize("daemon", [False, True])
async def test_what_a_child_takes_counts_whether_or_not_it_is_a_daemon(settings: Settings, *, daemon: bool) -> None:
    lost = await end_of(settings, GREEDY_CHILD, daemon=daemon)

    assert lost.state.memory_exhausted
    assert not lost.state.running


async def test_a_greedy_nodejs_action_ends_as_well(settings: Settings, node: str) -> None:
    assert node
    code = "function main() { const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1)) }"

    lost = await end_of(settings, code, kind="nodejs:20")

    assert lost.state.memory_exhausted
    assert lost.state.peak_memory is not None
    assert lost.state.peak_memory > LIMIT * 3 // 4


async def test_a_living_container_tells_the_most_it_has_had(settings: Settings) -> None:
    code = "def main(args):\n    kept = bytearray(60 << 20)\n    return {'size': len(kept)}\n"
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, code)
        before = await container.inspect()
        await run(container)
        after = await container.inspect()

    assert before.running
    assert after.running
    assert before.peak_memory is not None
    assert after.peak_memory is not None
    assert 1 * MB < before.peak_memory < 60 * MB


async def test_what_several_together_take_is_too_much(settings: Settings) -> None:
    code = """
import os
def main(args):
    for _ in range(3):
        if os.fork() == 0:
            kept = bytearray(os.urandom(1 << 20)) * 50
            while True: pass
    while True: pass
"""

    lost = await end_of(settings, code)

    assert lost.state.memory_exhausted


async def test_an_action_within_its_limit_is_left_alone(settings: Settings) -> None:
    code = """
def main(args):
    kept = bytearray(70 << 20)
    return {"length": len(kept)}
"""
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, code)

        results = [await run(container) for _ in range(20)]

        assert results == [{"length": 70 << 20}] * 20
        assert (await container.inspect()).running


async def test_an_end_of_another_cause_is_not_put_on_the_memory(settings: Settings) -> None:
    lost = await end_of(settings, "import os, signal\ndef main(args): os.kill(os.getpid(), signal.SIGKILL)")

    assert (lost.state.exit_code, lost.state.memory_exhausted) == (-9, False)
