"""`invoker pool`: the containers of the invoker that runs here, and why they were started."""

import time
from collections.abc import Mapping, Sequence

import click
import msgspec

from invoker.cli.operators import ask, operators_url
from invoker.cli.program import CommandLine
from invoker.cli.terminal import json_option, out, say, show_json, show_table, span
from invoker.pool import PoolSnapshot, StartReason, WaitReason
from invoker.pool.snapshot import ActionSnapshot, ColdStart, ContainerSnapshot, PrewarmSnapshot
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
        if as_json:
            show_json(view)
        else:
            if watch is not None and out.is_terminal:
                out.clear()
            _show(view)
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
    say(f"memory: {_size(view.used)} of {_size(view.memory)} used; activations without a container: {view.waiting}")
    _section("containers", _containers(view.containers), empty="none")
    _section("actions", _actions(view.actions))
    _section("prewarmed", _prewarmed(view.prewarmed))
    _section("last cold starts", _cold_starts(view.recent))
    _section("cold starts so far", _counts(view.starts, START_REASONS))
    _section("waits so far", _counts(view.waits, WAIT_REASONS))


def _section(title: str, rows: Sequence[Sequence[str]], *, empty: str | None = None) -> None:
    """Show a table; its first row has the columns' names. Without others it is left out, or said to be `empty`."""
    columns, *others = rows
    if others:
        say(f"\n{title}", "bold underline")
        show_table(columns, others)
    elif empty is not None:
        say(f"\n{title}: {empty}")


def _containers(containers: Sequence[ContainerSnapshot]) -> list[Sequence[str]]:
    return [
        ("CONTAINER", "STATE", "FOR", "KIND", "MEMORY", "NAMESPACE", "ACTION", "RUNS", "SERVED", "AGE", "WHY"),
        *(
            (
                one.name,
                one.state,
                span(one.since),
                one.kind,
                _size(one.memory),
                one.namespace,
                one.action,
                str(one.activations),
                str(one.served),
                span(one.age),
                one.reason or "prewarmed",
            )
            for one in containers
        ),
    ]


def _actions(actions: Sequence[ActionSnapshot]) -> list[Sequence[str]]:
    return [
        ("NAMESPACE", "ACTION", "CONTAINERS", "WAITING", "SERVICE TIME", "START TIME"),
        *(
            (
                one.namespace,
                one.action,
                str(one.containers),
                str(one.waiting),
                _average(one.service_time),
                _average(one.start_time),
            )
            for one in actions
        ),
    ]


def _prewarmed(kinds: Sequence[PrewarmSnapshot]) -> list[Sequence[str]]:
    return [
        ("KIND", "MEMORY", "WANTED", "READY", "STARTING", "LAST FAILURE"),
        *(
            (
                one.kind,
                _size(one.memory),
                str(one.wanted),
                str(one.ready),
                str(one.starting),
                " ".join((one.failure or "").split()),
            )
            for one in kinds
        ),
    ]


def _cold_starts(starts: Sequence[ColdStart]) -> list[Sequence[str]]:
    return [
        ("TIME", "NAMESPACE", "ACTION", "CONTAINER", "FROM", "WHY"),
        *(
            (
                time.strftime("%H:%M:%S", time.localtime(one.at / 1000)),
                one.namespace,
                one.action,
                one.container,
                "prewarmed" if one.prewarmed else "new container",
                f"{one.reason}: {START_REASONS.get(one.reason, _NEWER)}",
            )
            for one in starts
        ),
    ]


def _counts(counts: Mapping[str, int], words: Mapping[str, str]) -> list[Sequence[str]]:
    seen = [(str(number), reason, words.get(reason, _NEWER)) for reason, number in counts.items() if number]
    return [("NUMBER", "WHY", ""), *seen]


def _size(size: int) -> str:
    return str(ByteSize(size))


def _average(seconds: float | None) -> str:
    return "" if seconds is None else span(seconds)
