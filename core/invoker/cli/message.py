"""`invoker message`: an activation message, for curl."""

import click
import msgspec

from invoker.cli.names import NAMESPACE, pairs, parameters, reference
from invoker.cli.program import CommandLine, run_loop
from invoker.cli.requests import new_request
from invoker.entities.function import FunctionRef
from invoker.wire import request as wire


@click.command()
@click.argument("name")
@click.option("--param", "texts", multiple=True, metavar="KEY=VALUE", help="An argument; JSON, or else text.")
@click.option("--param-file", metavar="FILE", help="A JSON object of arguments.")
@click.option("--env", "environment", multiple=True, metavar="KEY=VALUE", help="A variable of its environment.")
@click.option("--namespace", default=NAMESPACE, show_default=True)
@click.option("--blocking/--non-blocking", default=True, help="Whether the answer carries the result.")
@click.pass_obj
def message(
    program: CommandLine,
    *,
    name: str,
    texts: tuple[str, ...],
    param_file: str | None,
    environment: tuple[str, ...],
    namespace: str,
    blocking: bool,
) -> None:
    """Print a valid activation message for an action that is in the function store.

    \b
    invoker message hello --param name=Ada | curl --data-binary @- http://127.0.0.1:8080/invoke
    """
    ref = run_loop(_newest(program, reference(name, namespace)))
    request = new_request(ref, parameters(texts, param_file), pairs(environment, "--env"), blocking=blocking)
    click.echo(wire.message(request))


async def _newest(program: CommandLine, ref: FunctionRef) -> FunctionRef:
    """Name the revision: with it the invoker may answer from its cache (spec 6.7.4)."""
    async with program.plugins.function_store(program.settings) as store:
        function = await store.fetch(ref, exact=False)
    return msgspec.structs.replace(ref, version=function.version, revision=function.revision)
