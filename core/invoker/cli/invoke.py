"""`invoker invoke`: one function, here and now, without a door."""

import sys
from pathlib import Path

import click
import msgspec

from invoker.app import opened
from invoker.cli.local import OneFunction, Shown
from invoker.cli.names import NAMESPACE, pairs, parameters, reference
from invoker.cli.program import CommandLine, run_loop
from invoker.cli.requests import new_request
from invoker.cli.sources import function_from
from invoker.cli.terminal import err, json_option, pass_on, show_json, start_type, status_text
from invoker.entities.activation import Activation, Status
from invoker.entities.function import FunctionRef, Limits
from invoker.wire import request as wire

EXIT_CODES = {
    Status.SUCCESS: 0,
    Status.APPLICATION_ERROR: 10,
    Status.DEVELOPER_ERROR: 11,
    Status.WHISK_ERROR: 12,
}


@click.command()
@click.argument("what", metavar="NAME|FILE|DIR")
@click.option("--param", "texts", multiple=True, metavar="KEY=VALUE", help="An argument; JSON, or else text.")
@click.option("--param-file", metavar="FILE", help="A JSON object of arguments.")
@click.option("--env", "environment", multiple=True, metavar="KEY=VALUE", help="A variable of its environment.")
@click.option("--kind", help="Of a file or folder, if it can't be told, such as python:default.")
@click.option("--main", help="Entry point of a file or folder.  [default: main]")
@click.option("--timeout", type=int, default=60_000, show_default=True, metavar="MS", help="Of a file or folder.")
@click.option("--memory", type=int, default=256, show_default=True, metavar="MB", help="Of a file or folder.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Invoke it this many times.")
@json_option
@click.pass_obj
def invoke(
    program: CommandLine,
    *,
    what: str,
    texts: tuple[str, ...],
    param_file: str | None,
    environment: tuple[str, ...],
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
    arguments = parameters(texts, param_file)
    variables = pairs(environment, "--env")
    call = _Call(local, local.ref if local else reference(what, NAMESPACE), arguments, variables, repeat, as_json)
    status = run_loop(_invoke(program, call))
    sys.exit(EXIT_CODES[status])


class _Call(msgspec.Struct, frozen=True):
    """What was asked for."""

    local: OneFunction | None
    ref: FunctionRef
    arguments: dict[str, object]
    environment: dict[str, str]
    repeat: int
    as_json: bool


def _local(what: str, kind: str | None, main: str | None, limits: Limits) -> OneFunction | None:
    """Return the function of a file or folder; `None` if `what` is a name."""
    source = Path(what)
    if not source.exists():
        if source.suffix or what.startswith("."):
            raise click.BadParameter(f"there is no file {what}", param_hint="NAME|FILE|DIR")
        return None
    name = source.resolve().stem
    return OneFunction(function_from(source, path=NAMESPACE, name=name, kind=kind, main=main, limits=limits))


async def _invoke(program: CommandLine, call: _Call) -> Status:
    """Invoke as often as asked; return how the worst of them ended."""
    worst = Status.SUCCESS
    async with opened(program.plugins, program.settings, functions=call.local, lasting=False) as core:
        ref = call.ref
        for _ in range(call.repeat):
            shown = Shown()
            body = wire.message(new_request(ref, call.arguments, call.environment))
            core.invoker.invoke(core.invoker.admit(body, via="cli"), shown)
            activation = await shown.activation
            _show(activation, await core.pool.peak_memory(), as_json=call.as_json)
            worst = max(worst, activation.outcome.status)
    return worst


def _show(activation: Activation, peak: int | None, *, as_json: bool) -> None:
    if as_json:
        show_json(_facts(activation, peak))
        return
    for line in activation.logs:
        pass_on(line, to_errors=True)
    pass_on(msgspec.json.format(bytes(activation.outcome.response)).decode())
    start = start_type(activation)
    if start == "none":
        start = "never started"
    elif start == "cold":
        start = f"cold, init {activation.init_time} ms"
    waited = "" if activation.wait_time is None else f"  waited {activation.wait_time} ms"
    limit = "" if activation.limits is None else f", limit {activation.limits.memory} MB"
    memory = "" if peak is None else f"  memory {peak / (1 << 20):.0f} MB{limit}"
    err.print(
        status_text(activation.outcome.status),
        f" {activation.duration} ms ({start}){waited}{memory}  {activation.activation_id}",
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
