"""`invoker pool`: the containers of the invoker that runs here, and why they were started."""

import functools
import time
from collections.abc import Iterable, Mapping, Sequence

import click
import msgspec

from invoker.cli.operators import ask, operators_url
from invoker.cli.program import CommandLine
from invoker.cli.terminal import json_option, out, say, show_table, tell
from invoker.pool import PoolSnapshot, StartReason, WaitReason
from invoker.pool.snapshot import ColdStart, ContainerSnapshot, PrewarmSnapshot
from invoker.units import ByteSize

START_REASONS: Mapping[str, str] = {
    StartReason.NEW.value: "there was no container of its action",
    StartReason.BUSY.value: "all were busy, for longer than a start was expected to take",
    StartReason.ALWAYS.value: "all were busy, and pool.scale_out is always",
    StartReason.OVERDUE.value: "it had waited for one of its action's as long as a start is worth",
    StartReason.EVICTED.value: "the last one had made room for another action",
    StartReason.EXPIRED.value: "the last one had been idle for pool.idle_timeout",
    StartReason.DIED.value: "the last one had ended, or was removed after a failure",
    StartReason.LATE_LOGS.value: "the last one was removed, for the end of an activation's output never came",
    StartReason.MOVED.value: "another container did not take the activation",
}
WAIT_REASONS: Mapping[str, str] = {
    WaitReason.SOONER.value: "one of its action's, at work or starting, was expected to be free before a new one",
    WaitReason.MEMORY.value: "there was no memory for another container (pool.memory)",
    WaitReason.STARTS.value: "as many containers were being created as may be at once (pool.parallel_starts)",
    WaitReason.ROOM.value: "the runtime had no room for another container, for want of something other than memory",
}
_NEWER = "of a newer invoker"


@click.command()
@click.option("--url", metavar="URL", help="Where an invoker serves operators.  [default: as the settings say]")
@click.option("--watch", type=click.FloatRange(0.1), metavar="SECONDS", help="Show it again and again, until Ctrl-C.")
@json_option
@click.pass_obj
def pool(program: CommandLine, *, url: str | None, watch: float | None, as_json: bool) -> None:
    """Show the containers of the running invoker, its actions, and why activations started cold or waited.

    The invoker is asked where the settings say that it serves operators (http.admin), or at --url, such as
    http://127.0.0.1:8081.
    """
    where = operators_url(program) if url is None else url
    while True:
        view = _view(ask(where, "pool"))
        if watch is not None and not as_json and out.is_terminal:
            out.clear()
        tell(view, functools.partial(_show, view), as_json=as_json)
        if watch is None:
            return
        time.sleep(watch)


def _view(body: bytes) -> PoolSnapshot:
    try:
        return msgspec.json.decode(body, type=PoolSnapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise click.ClickException(
            f"what answers is no invoker of this version ({error}); for any: curl <url>/pool"
        ) from error


def _show(view: PoolSnapshot) -> None:
    used, memory = ByteSize(view.used), ByteSize(view.memory)
    say(f"memory: {used} of {memory} used; activations without a container: {view.waiting}")
    _section(
        "containers",
        ("CONTAINER", "STATE", "FOR", "KIND", "MEMORY", "NAMESPACE", "ACTION", "RUNS", "SERVED", "AGE", "WHY"),
        map(_container, view.containers),
        empty="none",
    )
    columns = ("NAMESPACE", "ACTION", "CONTAINERS", "WAITING", "SERVICE TIME", "START TIME")
    _section("actions", columns, map(msgspec.structs.astuple, view.actions))
    columns = ("KIND", "MEMORY", "WANTED", "READY", "STARTING", "LAST FAILURE")
    _section("prewarmed", columns, map(_prewarmed, view.prewarmed))
    columns = ("TIME", "NAMESPACE", "ACTION", "CONTAINER", "FROM", "WHY")
    _section("last cold starts", columns, map(_cold_start, view.recent))
    for title, counts, words in (("cold starts", view.starts, START_REASONS), ("waits", view.waits, WAIT_REASONS)):
        rows = [(number, reason, words.get(reason, _NEWER)) for reason, number in counts.items() if number]
        _section(f"{title} so far", ("NUMBER", "WHY", ""), rows)


def _section(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str | None = None) -> None:
    """Show a table; without rows it is left out, or said to be `empty`."""
    if found := list(rows):
        say(f"\n{title}", "bold underline")
        show_table(columns, found)
    elif empty is not None:
        say(f"\n{title}: {empty}")


def _container(one: ContainerSnapshot) -> Sequence[object]:
    what = (one.name, one.state, one.since, one.kind, ByteSize(one.memory), one.namespace, one.action)
    return (*what, one.activations, one.served, one.age, one.reason or "prewarmed")


def _prewarmed(one: PrewarmSnapshot) -> Sequence[object]:
    failure = " ".join((one.failure or "").split())
    return one.kind, ByteSize(one.memory), one.wanted, one.ready, one.starting, failure


def _cold_start(one: ColdStart) -> Sequence[object]:
    clock = time.strftime("%H:%M:%S", time.localtime(one.at / 1000))
    origin = "prewarmed" if one.prewarmed else "new container"
    why = f"{one.reason}: {START_REASONS.get(one.reason, _NEWER)}"
    return clock, one.namespace, one.action, one.container, origin, why
