"""The rules in the machine's own tables: put, kept, and taken away again."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from invoker.config import NodeSettings
from invoker.contracts import ContainerRuntime
from invoker_firewall.guard import Firewall, guarded
from tests.plugins.firewall.filters import (
    DOCKERS_RULES,
    BridgedRuntime,
    change,
    edit,
    rules,
    saved,
    settings,
    up,
)
from tests.plugins.firewall.machine import BRIDGE

BOTH_KINDS = pytest.mark.parametrize("kind", ["nft", "legacy"], indirect=True)
PROGRAMS = ("iptables", "ip6tables")
TABLES = ("filter", "security")
CHAINS_EACH = 2
OTHER = NodeSettings(id=1, unique_name="other")

pytestmark = pytest.mark.usefixtures("kind")


def ours(program: str = "iptables", table: str = "filter") -> list[str]:
    return [line for line in rules(program, table=table) if "FUNCTIONS-INVOKER" in line]


def chain_of(letter: str) -> str:
    (chain,) = {line.split()[0][1:] for line in ours() if line.startswith(":") and line.endswith(f"-{letter} -")}
    return chain


@asynccontextmanager
async def standing(*bridges: str, node: NodeSettings | None = None) -> AsyncIterator[Firewall]:
    """A firewall that a test looks after itself."""
    firewall = Firewall(settings(node))
    await firewall.put_up(BridgedRuntime(*bridges or (BRIDGE,)))
    yield firewall
    await firewall.take_down()


@contextlib.contextmanager
def nothing_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.clear()
    yield
    assert caplog.messages == []


@BOTH_KINDS
@pytest.mark.parametrize("forwarded", ["DOCKER-USER", "FORWARD"], indirect=True)
async def test_the_rules_are_there_and_go_without_a_trace(forwarded: str) -> None:
    edit("-A", "INPUT", "-i", "eth0", "-j", "DROP")
    before = {program: rules(program) for program in PROGRAMS}

    async with up():
        during = {(program, table): ours(program, table) for program in PROGRAMS for table in TABLES}
        jumps = rules(chain=forwarded)

    assert all(len([line for line in lines if line.startswith(":")]) == CHAINS_EACH for lines in during.values())
    assert jumps[0].startswith(f"-A {forwarded} -i {BRIDGE} ")
    assert {program: rules(program) for program in PROGRAMS} == before
    assert [ours(program, "security") for program in PROGRAMS] == [[], []]


async def test_they_are_there_when_the_runtime_is_given_and_until_it_has_closed() -> None:
    seen: dict[str, bool] = {}

    @asynccontextmanager
    async def inner() -> AsyncIterator[ContainerRuntime]:
        seen["while it opens"] = bool(ours())
        yield BridgedRuntime(BRIDGE)
        seen["when its containers are gone"] = bool(ours())

    async with guarded(inner(), settings()):
        seen["while it is used"] = bool(ours())
    seen["afterwards"] = bool(ours())

    assert seen == {
        "while it opens": False,
        "while it is used": True,
        "when its containers are gone": True,
        "afterwards": False,
    }


async def test_the_runtime_is_given_as_it_is() -> None:
    runtime = BridgedRuntime(BRIDGE)

    async with up(runtime) as given:
        assert given is runtime


async def test_a_failure_of_whoever_uses_it_takes_them_away() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with up():
            raise ZeroDivisionError

    assert caught.value.subgroup(ZeroDivisionError) is not None
    assert ours() == []


async def test_who_is_cancelled_takes_them_away() -> None:
    there = asyncio.Event()

    async def use() -> None:
        async with up():
            there.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        user = tasks.create_task(use())
        await there.wait()
        assert ours()
        user.cancel()

    assert ours() == []


async def test_what_a_killed_life_left_is_replaced() -> None:
    killed = Firewall(settings(allow=("10.9.9.9",)))
    await killed.put_up(BridgedRuntime("br-of-old", BRIDGE))
    assert "br-of-old" in str(ours())

    async with up():
        replaced = [*ours(), *ours(table="security")]

    assert BRIDGE in str(replaced)
    assert "br-of-old" not in str(replaced)
    assert "10.9.9.9" not in str(replaced)
    assert ours() == []


async def test_two_invokers_leave_each_others_rules_alone() -> None:
    async with standing("bridge1") as first:
        async with standing("bridge2", node=OTHER) as second:
            await first.look()
            await second.look()
            both = rules(chain="INPUT")
        one = rules(chain="INPUT")

    assert [("bridge1" in str(jumps), "bridge2" in str(jumps)) for jumps in (both, one)] == [
        (True, True),
        (True, False),
    ]
    assert ours() == []


async def test_two_invokers_do_not_quarrel_about_who_is_first(caplog: pytest.LogCaptureFixture) -> None:
    async with standing("bridge1") as first, standing("bridge2", node=OTHER) as second:
        before = rules()
        with nothing_logged(caplog):
            await first.look()
            await second.look()

        assert rules() == before


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ([["-F", "{F}"]], "table filter: chain {F} was emptied"),
        ([["-D", "{I}", "1"]], "table filter: chain {I} was changed"),
        ([["-I", "{I}", "1", "-j", "ACCEPT"]], "table filter: chain {I} was changed"),
        ([["-D", "INPUT", "1"]], "table filter: the jump to {I} is gone from INPUT"),
        ([["-D", "INPUT", "1"], ["-F", "{I}"], ["-X", "{I}"]], "table filter: chain {I} is gone"),
        ([["-I", "INPUT", "1", "-j", "ACCEPT"]], "table filter: another rule was put before the jump to {I} in INPUT"),
        ([["-I", "FORWARD", "1", "-j", "ACCEPT"]], "table filter: another rule was put before the jump to {F}"),
        ([["-F"]], "table filter: chain {F} was emptied; chain {I} was emptied"),
        ([["-t", "security", "-F", "{F}"]], "table security: chain {F} was emptied"),
    ],
)
@BOTH_KINDS
@pytest.mark.parametrize("program", PROGRAMS)
async def test_what_somebody_changes_is_noticed_and_put_back(
    program: str, edits: list[list[str]], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with standing() as firewall:
        chains = {letter: chain_of(letter) for letter in "FI"}
        before = {table: ours(program, table) for table in TABLES}
        for arguments in edits:
            edit(*(argument.format(**chains) for argument in arguments), program=program)

        await firewall.look()

        assert {table: ours(program, table) for table in TABLES} == before
        assert rules(program, chain="INPUT")[0].endswith(chains["I"])
        (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert record.name == "invoker.firewall"
        assert told.format(**chains) in record.getMessage()


async def test_rules_of_others_are_left_alone_as_long_as_they_let_nothing_through(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with standing() as firewall:
        edit("-I", "INPUT", "1", "-p", "tcp", "--dport", "22", "-j", "DROP")
        edit("-I", "INPUT", "1", "-i", "eth0", "-j", "ACCEPT")
        edit("-A", "INPUT", "-j", "ACCEPT")
        before = rules()
        with nothing_logged(caplog):
            await firewall.look()

        assert rules() == before


async def test_they_are_looked_after_from_time_to_time(caplog: pytest.LogCaptureFixture) -> None:
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
            edit("-F", chain_of("I"))
            await noticed.wait()

            assert rules(chain=chain_of("I"))
    finally:
        logger.removeHandler(listener)


async def test_they_move_when_docker_comes(caplog: pytest.LogCaptureFixture) -> None:
    async with standing() as firewall:
        chain = chain_of("F")
        change(DOCKERS_RULES.replace("-A FORWARD -j DOCKER-USER", "-I FORWARD 1 -j DOCKER-USER"))
        await firewall.look()

        assert rules(chain="DOCKER-USER")[0].endswith(chain)
        assert chain not in str(rules(chain="FORWARD"))


async def test_they_follow_the_runtimes_bridges(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    runtime = BridgedRuntime("bridge1")
    firewall = Firewall(settings())
    await firewall.put_up(runtime)

    runtime.names = ["bridge2"]
    await firewall.look()

    assert ["bridge1" in line for line in ours() if line.startswith("-A INPUT")] == [False]
    assert "follow a change of bridges" in caplog.messages[-1]
    await firewall.take_down()


@pytest.mark.parametrize(("docker", "other"), [("nft", "legacy"), ("legacy", "nft")])
async def test_the_kind_of_tables_that_docker_uses_is_used(docker: str, other: str, kind: str) -> None:
    change(DOCKERS_RULES, f"iptables-{docker}")

    async with up():
        in_dockers, in_other = (
            [line for line in saved(f"iptables-{each}", "-t", "filter") if "FUNCTIONS-INVOKER" in line]
            for each in (docker, other)
        )

    assert in_dockers
    assert in_other == []
