"""`invoker message`: an activation message as a controller would send it, for curl."""

import os
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from invoker.cli.names import call_options, namespace_option, reference
from invoker.cli.program import CommandLine, fetched, run_loop
from invoker.entities.function import FunctionRef
from invoker.entities.request import Caller, Request, Transaction
from invoker.wire import request as wire


@click.command()
@click.argument("name")
@call_options
@namespace_option
@click.option("--blocking/--non-blocking", default=True, help="Whether the answer carries the result.")
@click.pass_obj
def message(
    program: CommandLine,
    *,
    name: str,
    arguments: dict[str, Any],
    environment: dict[str, str],
    namespace: str,
    blocking: bool,
) -> None:
    """Print a valid activation message for an action that is in the function store.

    \b
    invoker message hello --param name=Ada | curl --data-binary @- http://127.0.0.1:8080/invoke
    """
    ref = reference(name, namespace)
    function = run_loop(fetched(program, ref))
    # With the revision the invoker may answer from its cache (spec 6.7.4).
    ref = msgspec.structs.replace(ref, version=function.version, revision=function.revision)
    click.echo(wire.message(new_request(ref, arguments, environment, blocking=blocking)))


def new_request(
    ref: FunctionRef, arguments: Mapping[str, Any], environment: Mapping[str, str], *, blocking: bool = True
) -> Request:
    """Return a request in the name of the action's own namespace. `environment` becomes init parameters."""
    start = time.time_ns() // 1_000_000
    transaction_id = secrets.token_hex(16)
    raw = msgspec.Raw(msgspec.json.encode([transaction_id, start]))
    return Request(
        activation_id=uuid.uuid4().hex,
        transaction=Transaction(transaction_id, start, extra_logging=False, raw=raw),
        function=ref,
        caller=Caller(
            subject=f"{os.environ.get('USER') or 'local'}-cli",
            namespace=ref.path.split("/")[0],
            namespace_uuid=str(uuid.uuid4()),
        ),
        controller="0",
        blocking=blocking,
        content=msgspec.Raw(msgspec.json.encode({**arguments, **environment})),
        init_names=tuple(environment),
    )
