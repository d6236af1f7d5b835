"""`invoker invoke`: one function, here and now, without a door."""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from invoker.app import opened
from invoker.cli.message import new_request
from invoker.cli.names import NAMESPACE, call_options, reference
from invoker.cli.program import CommandLine, run_loop
from invoker.cli.sources import function_from, source_options
from invoker.cli.terminal import err, json_option, pass_on, show_json, start_type, status_text
from invoker.contracts import Answers, FunctionStore
from invoker.entities.activation import Ack, Activation, Status
from invoker.entities.function import Function, FunctionRef, Limits
from invoker.errors import FunctionNotFound
from invoker.wire import request as wire
from invoker.wire.names import Misfit, entity_name

EXIT_CODES = {Status.SUCCESS: 0, Status.APPLICATION_ERROR: 10, Status.DEVELOPER_ERROR: 11, Status.WHISK_ERROR: 12}


@click.command()
@click.argument("what", metavar="NAME|FILE|DIR")
@call_options
@source_options
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Invoke it this many times.")
@json_option
@click.pass_obj
def invoke(
    program: CommandLine,
    *,
    what: str,
    arguments: dict[str, Any],
    environment: dict[str, str],
    kind: str | None,
    main: str | None,
    timeout: int,
    memory: int,
    repeat: int,
    as_json: bool,
) -> None:
    """Invoke an action by name, or a function straight from a file, a zip archive or a folder.

    \b
    invoker invoke hello.py --param name=Ada

    Exit codes: 0 success, 10 application error (it returned an error), 11 developer error (it failed, took too
    long or answered nonsense), 12 system error.
    """
    local = _local(what, kind, main, Limits(timeout=timeout, memory=memory))
    ref = local.ref if local else reference(what, NAMESPACE)
    bodies = (wire.message(new_request(ref, arguments, environment)) for _ in range(repeat))
    sys.exit(EXIT_CODES[run_loop(_invoke(program, local, bodies, as_json=as_json))])


class OneFunction(FunctionStore):
    """A function store that holds one function, which was never stored anywhere."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self.ref = FunctionRef(function.path, function.name, function.version, revision=function.digest.hex())
        """Its digest serves as revision: the same code is the same function."""

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:  # noqa: ARG002 (there is only one)
        """See `FunctionStore.fetch`."""
        if ref.document_id != self._function.document_id:
            raise FunctionNotFound(ref.document_id)
        return self._function


class Shown(Answers):
    """Answers that somebody in this program looks at: `activation` is what became of the invocation."""

    def __init__(self) -> None:
        self.activation: asyncio.Future[Activation] = asyncio.get_running_loop().create_future()

    async def accepted(self) -> None:
        """See `Answers.accepted`: nobody waits for a receipt."""

    async def completed(self, activation: Activation, ack: Ack) -> None:  # noqa: ARG002 (all is shown, whatever a controller would get)
        """See `Answers.completed`."""
        self.activation.set_result(activation)


def _local(what: str, kind: str | None, main: str | None, limits: Limits) -> OneFunction | None:
    """Return the function of a file or folder; `None` if `what` is a name."""
    source = Path(what)
    if not source.exists():
        if source.suffix or what.startswith("."):
            raise click.BadParameter(f"there is no file {what}", param_hint="NAME|FILE|DIR")
        return None
    try:
        name = entity_name(source.resolve().stem, "it")
    except Misfit:  # of a file that may be called anything
        name = "function"
    return OneFunction(function_from(source, path=NAMESPACE, name=name, kind=kind, main=main, limits=limits))


async def _invoke(program: CommandLine, local: OneFunction | None, bodies: Iterable[bytes], *, as_json: bool) -> Status:
    """Invoke once for each message; return how the worst of them ended."""
    worst = Status.SUCCESS
    async with opened(program.plugins, program.settings, functions=local, lasting=False) as core:
        for body in bodies:
            shown = Shown()
            core.invoker.invoke(core.invoker.admit(body, via="cli"), shown)
            activation = await shown.activation
            peak = await core.pool.peak_memory()
            if as_json:
                show_json(_facts(activation, peak))
            else:
                _show(activation, peak)
            worst = max(worst, activation.outcome.status)
    return worst


def _show(activation: Activation, peak: int | None) -> None:
    for line in activation.logs:
        pass_on(line, to_errors=True)
    pass_on(msgspec.json.format(bytes(activation.outcome.response)).decode())
    words = {"none": "never started", "cold": f"cold, init {activation.init_time} ms"}
    start = start_type(activation)
    waited = "" if activation.wait_time is None else f"  waited {activation.wait_time} ms"
    limit = "" if activation.limits is None else f", limit {activation.limits.memory} MB"
    memory = "" if peak is None else f"  memory {peak / (1 << 20):.0f} MB{limit}"
    err.print(
        status_text(activation.outcome.status),
        f" {activation.duration} ms ({words.get(start, start)}){waited}{memory}  {activation.activation_id}",
        sep="",
    )


def _facts(activation: Activation, peak: int | None) -> dict[str, object]:
    return {
        "activationId": activation.activation_id,
        "status": activation.outcome.status.word,
        "result": activation.outcome.response,
        "logs": activation.logs,
        "duration": activation.duration,
        "waitTime": activation.wait_time,
        "initTime": activation.init_time,
        "start": start_type(activation),
        "peakMemory": peak,
    }
