"""How containers end: whatever ends them, nothing of them is left."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest

from invoker import Settings
from invoker.entities.container import ContainerState
from invoker.errors import Lost, StartFailed
from invoker.testing.containers import RecordedOutput
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from tests.plugins.runtime_process.actions import DAEMONS, Watch, entries, loaded, run, supervisor_of, watching

Left = Callable[[], Awaitable[Collection[object]]]

LONELY = Path(__file__).with_name("lonely_invoker.py")


async def test_removal_reaches_daemons_that_left_their_session_twice(settings: Settings, left: Left) -> None:
    output = RecordedOutput()
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, DAEMONS, output=output)

        with watching((await run(container)).values()) as watch:
            await container.remove()

            assert watch.running() == set()
        assert output.closings == 1
        assert not await left()


async def test_leaving_reaches_the_daemons_of_twenty_containers_and_the_supervisor(
    settings: Settings, left: Left
) -> None:
    with contextlib.ExitStack() as watched:
        async with process_runtime(settings) as runtime:
            containers = [await loaded(runtime, DAEMONS, name=f"wsk_{number}") for number in range(20)]
            pids = [pid for container in containers for pid in (await run(container)).values()]
            watch = watched.enter_context(watching([supervisor_of(runtime), *pids]))

        assert len(pids) == 60
        assert watch.running() == set()
    assert not await left()


async def test_a_proxy_that_exits_takes_its_daemons_with_it(settings: Settings, left: Left) -> None:
    output = RecordedOutput()
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, DAEMONS, output=output)
        pids = await run(container)
        with watching(pids.values()) as watch:
            os.kill(pids["proxy"], signal.SIGKILL)

            await watch.end()
            await output.ends()  # the daemons had the streams open

        state = await container.inspect()
        assert (state.running, state.exit_code, state.memory_exhausted) == (False, -signal.SIGKILL, False)
        await container.remove()
        assert not await left()


async def test_a_request_was_lost_when_its_connection_broke_however_long_it_took_to_learn_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = 0.2
    monkeypatch.setattr("invoker_process.container.LAST_WORDS", waited)
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, "import os\ndef main(args):\n  os.closerange(3, 50)\n  while True: pass")

        with pytest.raises(Lost) as caught:
            await run(container)

        assert caught.value.state.running  # so there was nothing to learn
        assert caught.value.at is not None
        assert time.monotonic() - caught.value.at >= waited


async def test_one_container_ends_without_the_others(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        first, second = [await loaded(runtime, DAEMONS, name=name) for name in ("wsk_1", "wsk_2")]
        await run(first)
        with watching((await run(second)).values()) as watch:
            await first.remove()

            assert len(watch.running()) == 3
            assert "proxy" in await run(second)
            await second.remove()


@pytest.mark.parametrize("step", ["pass", "os.setsid()"])
async def test_processes_that_flee_by_forking_are_caught(settings: Settings, left: Left, step: str) -> None:
    code = f"""
import os
def main(args):
    for _ in range(2):
        if os.fork() == 0:
            while True:
                if os.fork():
                    os._exit(0)
                {step}
    return {{}}
"""
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, code)
        await run(container)

        await container.remove()

        assert not await left()


async def lonely(work_dir: Path, what: str, cgroup: str = "off") -> tuple[asyncio.subprocess.Process, int, list[int]]:
    """Start an invoker of its own; return it, the process of its supervisor, and those of its containers."""
    invoker = await asyncio.create_subprocess_exec(
        *(sys.executable, str(LONELY), str(work_dir), cgroup, what), stdout=asyncio.subprocess.PIPE
    )
    assert invoker.stdout is not None
    supervisor, *pids = json.loads(await invoker.stdout.readline())
    return invoker, supervisor, pids


async def test_a_killed_invoker_leaves_nothing(tmp_path: Path, cgroup: str) -> None:
    invoker, supervisor, pids = await lonely(tmp_path, "daemons", cgroup)
    with watching([supervisor, *pids]) as watch:
        invoker.kill()
        await invoker.wait()

        await watch.end()

    assert len(pids) == 9
    assert entries(tmp_path) == []


@pytest.mark.parametrize("killed", ["invoker", "invoker and supervisor"])
async def test_proxies_leave_with_a_killed_invoker_whatever_they_are_doing(
    tmp_path: Path, node: str, killed: str
) -> None:
    invoker, supervisor, pids = await lonely(tmp_path, "states")
    with watching([supervisor, *pids]) as watch:
        invoker.kill()
        if killed != "invoker":
            os.kill(supervisor, signal.SIGKILL)
        await invoker.wait()

        await watch.end()

    assert len(pids) == 8  # idle, warm, busy and stopped, in both languages


async def test_the_supervisor_leaves_signals_to_the_invoker(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(supervisor_of(runtime), number)

        container = await loaded(runtime, DAEMONS)

        assert os.getsid(supervisor_of(runtime)) != os.getsid(0)
        assert "proxy" in await run(container)


class TestAKilledSupervisor:
    async def test_loses_its_containers_and_is_replaced(self, settings: Settings, left: Left) -> None:
        output = RecordedOutput()
        async with process_runtime(settings) as runtime:
            container = await loaded(runtime, DAEMONS, output=output)
            with watching((await run(container)).values()) as watch:
                os.kill(supervisor_of(runtime), signal.SIGKILL)
                await output.ends()
                await container.remove()

                await assert_ended(watch)
            assert await container.inspect() == ContainerState(running=False)

            another = await loaded(runtime, DAEMONS)  # of the same name
            assert "proxy" in await run(another)
        assert output.closings == 1
        assert not await left()

    async def test_loses_requests_in_flight(self, settings: Settings) -> None:
        output = RecordedOutput()
        async with process_runtime(settings) as runtime:
            code = "def main(args):\n    print('here', flush=True)\n    while True: pass"
            container = await loaded(runtime, code, output=output)
            request = asyncio.ensure_future(run(container))
            await output.says(b"here")

            os.kill(supervisor_of(runtime), signal.SIGKILL)

            with pytest.raises(Lost) as caught:
                await request
            assert not caught.value.state.running

    async def test_is_waited_for_by_whoever_starts_something_meanwhile(self, settings: Settings) -> None:
        async with process_runtime(settings) as runtime:
            killed = supervisor_of(runtime)
            os.kill(killed, signal.SIGKILL)
            while supervisor_of(runtime):  # until the loop has noticed
                await asyncio.sleep(0)

            containers = await asyncio.gather(*(loaded(runtime, DAEMONS, name=name) for name in ("wsk_1", "wsk_2")))

            assert [container.name for container in containers] == ["wsk_1", "wsk_2"]
            assert supervisor_of(runtime) not in {0, killed}

    async def test_without_a_successor_fails_starts_until_there_is_one(self, tmp_path: Path) -> None:
        base = tmp_path / "base"
        async with process_runtime(Settings.of(ProcessSettings(work_dir=base))) as runtime:
            container = await loaded(runtime, DAEMONS)
            base.rename(tmp_path / "moved")
            base.touch()
            os.kill(supervisor_of(runtime), signal.SIGKILL)
            await container.remove()

            with pytest.raises(StartFailed, match="no supervisor"):
                await loaded(runtime, DAEMONS)

            base.unlink()
            (tmp_path / "moved").rename(base)
            assert "proxy" in await run(await loaded(runtime, DAEMONS))
        assert entries(base) == []

    async def test_is_no_reason_to_stay_behind(self, settings: Settings, tmp_path: Path) -> None:
        async with process_runtime(settings) as runtime:
            await loaded(runtime, DAEMONS)
            os.kill(supervisor_of(runtime), signal.SIGKILL)

        assert entries(tmp_path) == []

    async def test_of_an_earlier_invoker_is_cleaned_up_after(self, tmp_path: Path) -> None:
        invoker, supervisor, pids = await lonely(tmp_path, "daemons")
        with watching(pids[2::3]) as watch:  # the daemons that kept their environment
            os.kill(invoker.pid, signal.SIGSTOP)  # so that it can't start another supervisor
            os.kill(supervisor, signal.SIGKILL)
            invoker.kill()
            await invoker.wait()

            async with process_runtime(Settings.of(ProcessSettings(work_dir=tmp_path))):
                assert watch.running() == set()
        kill_the_rest(pids)
        assert entries(tmp_path) == []


async def assert_ended(watch: Watch) -> None:
    """All have ended; without control groups, a daemon that hid its environment may go on, as the decision says."""
    hidden = watch.running()
    assert len(hidden) <= 1
    kill_the_rest(hidden)
    await watch.end()


def kill_the_rest(pids: Collection[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
