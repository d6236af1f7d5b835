"""Limits of memory and processes: what becomes of a container that has too much."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Literal

import pytest

from invoker import Settings
from invoker.errors import Lost
from invoker.testing.containers import PATIENCE
from invoker_process.container import ProcessContainer
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from tests.plugins.runtime_process.actions import GREEDY_CHILD, LIMIT, loaded, run, supervisor_of

Left = Callable[[], Awaitable[Collection[object]]]

MB = 1 << 20


@pytest.fixture
def settings(tmp_path: Path, cgroup: str) -> Settings:
    return Settings.of(ProcessSettings(work_dir=tmp_path, cgroup="auto" if cgroup == "auto" else "off"))


SERVED_BY_A_CHILD = """
import subprocess, sys

CODE = "kept = []\\nwhile True: kept.append(bytearray(1 << 20))"

def main(args):
    raise RuntimeError(f"ended with {subprocess.run([sys.executable, '-I', '-S', '-c', CODE]).returncode}")
"""


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


async def test_memory_that_a_child_exhausts_is_told_though_the_proxy_lives_to_answer(tmp_path: Path) -> None:
    """The kernel kills one process of a group of version 1: whatever comes of that, the others are yet to be killed."""
    async with process_runtime(Settings.of(ProcessSettings(work_dir=tmp_path))) as runtime:
        container = await loaded(runtime, SERVED_BY_A_CHILD)
        assert isinstance(container, ProcessContainer)
        if not kept_by_the_kernel(tmp_path, "memory.oom_control"):
            pytest.skip("no memory group of version 1 can be made here")
        os.kill(supervisor_of(runtime), signal.SIGSTOP)
        running = asyncio.ensure_future(run(container))
        try:
            while not running.done() and container._asked is None:  # until it has answered
                await asyncio.sleep(0)
        finally:
            os.kill(supervisor_of(runtime), signal.SIGCONT)

        with pytest.raises(Lost) as caught:
            await running

    assert caught.value.state.memory_exhausted
    assert caught.value.at is not None


async def test_a_failure_of_another_cause_is_answered_as_it_is(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, "def main(args): raise ValueError('mine')")

        reply = await container.post("/run", b"{}", timeout=PATIENCE, limit=1000)

    assert (reply.status, b"ValueError: mine" in reply.body) == (502, True)


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


MANY = """
import os, time
def main(args):
    for _ in range(200):  # and no more, whatever becomes of the limit
        if os.fork() == 0:
            if args["daemons"]:
                os.setsid()
            time.sleep(600)
            os._exit(0)
    while True:
        time.sleep(600)
"""

FORKS = """
import os, time
def main(args):
    for started in range(args["wanted"]):
        try:
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
        except BlockingIOError:
            return {"started": started}
    return {"started": args["wanted"]}
"""


def limited(work_dir: Path, cgroup: Literal["auto", "off"]) -> Settings:
    return Settings.of(ProcessSettings(work_dir=work_dir, cgroup=cgroup, processes=64))


@pytest.mark.parametrize("daemons", [False, True])
async def test_a_container_of_too_many_processes_is_stopped_where_they_are_sampled(
    tmp_path: Path, left: Left, caplog: pytest.LogCaptureFixture, *, daemons: bool
) -> None:
    async with process_runtime(limited(tmp_path, "off")) as runtime:
        container = await loaded(runtime, MANY)
        with pytest.raises(Lost) as caught:
            await run(container, daemons=daemons)
        await container.remove()

        assert not await left()

    remark = "The limit is 64 processes and threads; the action was stopped with more."
    assert caught.value.state.remark == remark
    assert (caught.value.state.exit_code, caught.value.state.memory_exhausted) == (-9, False)
    assert f"wsk_1: {remark}" in caplog.messages


async def test_a_container_is_refused_processes_where_the_kernel_limits_them(tmp_path: Path, left: Left) -> None:
    async with process_runtime(limited(tmp_path, "auto")) as runtime:
        container = await loaded(runtime, FORKS)
        if not kept_by_the_kernel(tmp_path, "pids.max"):
            pytest.skip("processes can't be limited here")

        assert await run(container, wanted=100) == {"started": 63}
        assert (await container.inspect()).running
        await container.remove()

        assert not await left()


async def test_one_that_ends_after_it_was_refused_a_process_says_so(tmp_path: Path) -> None:
    code = f"{FORKS}\nforks = main\ndef main(args):\n    forks({{'wanted': 100}})\n    os._exit(5)"
    async with process_runtime(limited(tmp_path, "auto")) as runtime:
        container = await loaded(runtime, code)
        if not kept_by_the_kernel(tmp_path, "pids.max"):
            pytest.skip("processes can't be limited here")
        with pytest.raises(Lost) as caught:
            await run(container)

    assert caught.value.state.remark == "The limit is 64 processes and threads, which the action had reached."
    assert caught.value.state.exit_code == 5


async def test_an_action_within_its_limit_of_processes_is_left_alone(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, FORKS)

        results = [await run(container, wanted=40) for _ in range(3)]
        state = await container.inspect()

    assert results == [{"started": 40}] * 3
    assert (state.running, state.remark) == (True, "")


def kept_by_the_kernel(work_dir: Path, file: str) -> bool:
    """Whether a group of the one container there is has a file, as is remembered for whoever cleans up."""
    remembered = "\n".join(path.read_text() for path in work_dir.glob("functions-invoker-*/cgroups"))
    return any((Path(path) / "1" / file).exists() for path in remembered.splitlines())
