"""The table in the kernel: put, kept, and taken away again; and the runtime that is behind it."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from invoker.config import NodeSettings, PoolSettings, node_of
from invoker.contracts import ContainerRuntime, MetricFamily, Part
from invoker.errors import StartFailed
from invoker.testing.builders import a_spec
from invoker.testing.containers import PATIENCE, RecordedOutput
from invoker_firewall.guard import guarded
from invoker_firewall.table import Table
from tests.conftest import program
from tests.plugins.firewall.filters import TABLE, BridgedRuntime, listed, nft, opened, settings, up
from tests.plugins.firewall.machine import BRIDGE

OTHER = NodeSettings(id=1, unique_name="other")
OTHER_TABLE = Table(node_of(OTHER, PoolSettings())).name
STRANGER = "table inet stranger { chain forward { type filter hook forward priority 0; accept; }; }"

pytestmark = pytest.mark.usefixtures("machine")


@contextlib.contextmanager
def nothing_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.clear()
    yield
    assert caplog.messages == []


def warning(caplog: pytest.LogCaptureFixture) -> str:
    """The one warning there is."""
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.name, record.levelno) == ("invoker.firewall", logging.WARNING)
    return record.getMessage()


async def test_the_table_is_there_and_goes_without_a_trace() -> None:
    nft(STRANGER)
    before = nft("list ruleset", "--handle")

    async with up():
        during = nft("list tables").splitlines()

    assert during == ["table inet stranger", f"table {TABLE}"]
    assert nft("list ruleset", "--handle") == before


async def test_it_is_there_from_when_the_invoker_is_about_to_run_until_its_runtime_has_closed() -> None:
    seen: dict[str, bool] = {}

    class Runtime(BridgedRuntime):
        async def sweep(self, *, force: bool = False) -> Sequence[str]:
            seen["by force"] = force
            seen["while it sweeps"] = bool(listed())
            return ["swept"]

    @asynccontextmanager
    async def inner() -> AsyncIterator[ContainerRuntime]:
        yield Runtime(BRIDGE)
        seen["when its containers are gone"] = bool(listed())

    async with guarded(inner(), settings()) as runtime:
        seen["while somebody looks"] = bool(listed())
        assert await runtime.sweep(force=True) == ["swept"]
        seen["while it is used"] = bool(listed())
    seen["afterwards"] = bool(listed())

    assert seen == {
        "while somebody looks": False,
        "by force": True,
        "while it sweeps": False,
        "while it is used": True,
        "when its containers are gone": True,
        "afterwards": False,
    }


async def test_without_a_sweep_it_is_there_before_the_first_container() -> None:
    seen = []

    class Runtime(BridgedRuntime):
        async def create(self, *arguments: Any) -> Any:
            seen.append(bool(listed()))
            return await super().create(*arguments)

    async with opened(Runtime(BRIDGE)) as runtime, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(runtime.create(a_spec(), RecordedOutput()))

    assert seen == [True] * 3
    assert not listed()


async def test_who_only_looks_leaves_the_table_of_one_that_runs_alone() -> None:
    async with up():
        before = listed(handles=True)
        async with opened(allow=("10.9.9.9",)):
            beside = listed(handles=True)
        after = listed(handles=True)

    assert before
    assert before == beside == after


async def test_a_runtime_that_refuses_to_sweep_has_the_table_of_another_left_alone() -> None:
    class Rivalled(BridgedRuntime):
        async def sweep(self, *, force: bool = False) -> Sequence[str]:
            raise StartFailed("another invoker runs")

    async with up():
        before = listed(handles=True)
        async with opened(Rivalled(BRIDGE)) as second:
            with pytest.raises(StartFailed, match="another invoker runs"):
                await second.sweep()
        after = listed(handles=True)

    assert before
    assert before == after


async def test_what_is_not_the_firewalls_is_the_runtimes() -> None:
    class Runtime(BridgedRuntime):
        def faults(self) -> Sequence[str]:
            return ["the engine is down"]

        def metrics(self) -> Sequence[MetricFamily]:
            return [MetricFamily("docker_things", "gauge", "Things.", [({}, 1)])]

    runtime = Runtime(BRIDGE)
    async with up(runtime) as given:
        assert [name for name in dir(ContainerRuntime) if not hasattr(given, name)] == []
        assert (given.runtimes(), given.bridges(), given.running) == (runtime.runtimes(), [BRIDGE], runtime.running)
        assert list(given.faults()) == ["the engine is down"]
        assert [family.name for family in given.metrics()] == ["docker_things", "firewall_rejected_packets"]
        assert not isinstance(given, Part)  # whatever the contract will get has no default here


async def test_a_failure_of_whoever_uses_it_takes_it_away() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with up():
            raise ZeroDivisionError

    assert caught.value.subgroup(ZeroDivisionError) is not None
    assert not listed()


async def test_who_is_cancelled_takes_it_away() -> None:
    there = asyncio.Event()

    async def use() -> None:
        async with up():
            there.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        user = tasks.create_task(use())
        await there.wait()
        assert listed()
        user.cancel()

    assert not listed()


async def test_what_a_killed_life_left_is_replaced() -> None:
    nft('table TABLE { chain input { type filter hook input priority 0; iifname "br-of-old" accept; }; }')

    async with up():
        replaced = listed()

    assert BRIDGE in replaced
    assert "br-of-old" not in replaced
    assert not listed()


async def test_two_invokers_leave_each_others_tables_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with up(BridgedRuntime("bridge1")) as first:
        async with up(BridgedRuntime("bridge2"), node=OTHER) as second:
            before = listed(handles=True), listed(OTHER_TABLE, handles=True)
            with nothing_logged(caplog):
                await first.look()
                await second.look()
            after = listed(handles=True), listed(OTHER_TABLE, handles=True)
        assert listed(handles=True) == before[0]

    assert all(before)
    assert before == after
    assert not listed()
    assert not listed(OTHER_TABLE)


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        (["delete table TABLE"], "it is gone"),
        (["flush ruleset"], "it is gone"),
        (["insert rule TABLE input accept"], "with 'accept # handle "),
        (["flush chain TABLE input"], 'without \'iifname != "invtest0" accept # handle '),
        (["flush chain TABLE forward", "delete chain TABLE forward"], "without 'chain forward { # handle "),
        (["add chain TABLE more"], "with 'chain more { # handle "),
        (["add table TABLE { flags dormant; }"], "with 'flags dormant'"),
        (["chain TABLE input { policy drop; }"], "with 'type filter hook input priority filter - 10; policy drop;'"),
        ([f"add chain TABLE {'x' * 100}{number}" for number in range(4)], "…"),
    ],
)
async def test_what_somebody_changes_is_noticed_and_put_back(
    edits: list[str], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with up() as runtime:
        before = listed()
        for command in edits:
            nft(command)
        changed = listed()

        await runtime.look()

        assert changed != before
        assert listed() == before
        said = warning(caplog)
        assert said.startswith(f"somebody changed the firewall, table {TABLE}: ")
        assert said.endswith("; put back")
        assert told in said
        assert len(said) < 400
        assert list(runtime.faults()) == []


async def test_rules_of_others_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with up() as runtime:
        nft(STRANGER)
        before = listed(handles=True), listed("inet stranger", handles=True)
        with nothing_logged(caplog):
            await runtime.look()

        assert (listed(handles=True), listed("inet stranger", handles=True)) == before


async def test_it_is_looked_after_from_time_to_time() -> None:
    noticed = asyncio.Event()
    logger = logging.getLogger("invoker.firewall")

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "somebody changed" in record.getMessage():
                noticed.set()

    listener = Listener()
    logger.addHandler(listener)
    try:
        async with up(reconcile_interval=0.01):
            nft("delete table TABLE")
            async with asyncio.timeout(PATIENCE):
                await noticed.wait()

            assert listed()
    finally:
        logger.removeHandler(listener)


async def test_it_follows_the_runtimes_bridges(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    runtime = BridgedRuntime("bridge1")
    async with up(runtime) as given:
        for names in (["bridge2", "bridge3"], []):
            runtime.names = names
            await given.look()

            assert [each in listed() for each in ("bridge1", "bridge2", "bridge3")] == [False, *[bool(names)] * 2]
            assert caplog.messages[-1] == f"the rules of table {TABLE} follow a change of bridges or name servers"


async def test_what_can_t_be_looked_after_is_a_fault_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with up() as runtime:
        before = listed()
        nft("delete table TABLE")
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path))
            for _ in range(2):
                await runtime.look()
                assert list(runtime.faults()) == caplog.messages  # told once
        await runtime.look()

        assert caplog.messages == [
            "the firewall can't be looked after, and may be gone: nft: not found on PATH: install nftables",
            f"somebody changed the firewall, table {TABLE}: it is gone; put back",
        ]
        assert list(runtime.faults()) == []
        assert listed() == before


@pytest.mark.parametrize("required", [True, False])
async def test_rules_that_can_t_be_put_after_all_refuse_or_are_a_fault(
    *, required: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(required=required) as runtime:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path))
            if required:
                with pytest.raises(StartFailed, match=r"^firewall.required: the firewall can't be looked after"):
                    await runtime.sweep()
                with pytest.raises(StartFailed, match=r"^firewall.required: "):
                    await runtime.create(a_spec(), RecordedOutput())
            else:
                await runtime.sweep()
            assert len(runtime.faults()) == 1
        await runtime.create(a_spec(), RecordedOutput())

        assert listed()
        assert list(runtime.faults()) == []


async def test_a_table_that_can_t_be_taken_away_is_named_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        async with up():
            put = listed()
            patch.setenv("PATH", str(tmp_path))
    left = listed()
    async with up():  # the next life takes it over
        pass

    assert put
    assert left == put
    assert not listed()
    assert warning(caplog) == f"table {TABLE} is left behind: nft: not found on PATH: install nftables"


async def test_a_table_whose_putting_was_cut_off_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: Callable[[str], None]
) -> None:
    slow = tmp_path / "nft"
    slow.write_text(f'#!/bin/sh\n{program("nft", absent)} "$@" || exit\n[ "$1" != --file ] || exec sleep 600\n')
    slow.chmod(0o700)
    async with opened() as runtime:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
            sweeping = asyncio.create_task(runtime.sweep())
            async with asyncio.timeout(PATIENCE):
                while not listed():
                    await asyncio.sleep(0.01)
            sweeping.cancel()
            await asyncio.wait([sweeping])
        left = listed()

    assert sweeping.cancelled()
    assert left
    assert not listed()
