"""`invoker action`: the functions in the store."""

import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from invoker.app import manifest_of
from invoker.cli.names import namespace_option, reference
from invoker.cli.program import CommandLine, fetched, run_loop
from invoker.cli.sources import function_from, source_options
from invoker.cli.terminal import json_option, pass_on, show_table, tell
from invoker.config import LimitsSettings, PoolSettings, RolesSettings
from invoker.contracts import FunctionCatalog
from invoker.entities.function import Function, Limits
from invoker.entities.request import NARROWS_NOTHING
from invoker.entities.runtimes import Runtimes
from invoker.errors import InvokerError, NotSupported
from invoker.functions import LimitsCheck

T = TypeVar("T")


@click.group()
def action() -> None:
    """Put, list, get and delete actions in the function store."""


@action.command()
@click.argument("name")
@click.argument("source", metavar="FILE|DIR", type=click.Path(exists=True, path_type=Path))
@source_options
@click.option("--logs", type=int, default=10, show_default=True, metavar="MB", help="KB in 'functions' compatibility.")
@namespace_option
@json_option
@click.pass_obj
def put(
    program: CommandLine,
    *,
    name: str,
    source: Path,
    kind: str | None,
    main: str | None,
    timeout: int,
    memory: int,
    logs: int,
    namespace: str,
    as_json: bool,
) -> None:
    """Create or replace an action from a source file, a zip archive or a folder.

    What can't run here is refused: of a kind that there isn't, or with limits outside those of the settings.
    """
    ref = reference(name, namespace)
    limits = Limits(timeout=timeout, memory=memory, logs=logs)
    function = function_from(source, path=ref.path, name=ref.name, kind=kind, main=main, limits=limits)
    _check(program, function)
    revision = _with_catalog(program, lambda catalog: catalog.put(function))
    facts = {"name": function.document_id, "revision": revision, "kind": function.kind}
    tell(facts, f"put {function.document_id} ({function.kind}), revision {revision}", as_json=as_json)


@action.command(name="list")
@namespace_option
@json_option
@click.pass_obj
def list_actions(program: CommandLine, namespace: str, *, as_json: bool) -> None:
    """List the actions of a namespace."""
    found = _with_catalog(program, lambda catalog: catalog.functions(namespace))
    columns = ("ACTION", "KIND", "TIMEOUT", "MEMORY", "REVISION")
    rows = [
        (one.document_id, one.kind, f"{one.limits.timeout} ms", f"{one.limits.memory} MB", one.revision)
        for one in found
    ]
    tell([_facts(one) for one in found], lambda: show_table(columns, rows), as_json=as_json)


@action.command()
@click.argument("name")
@namespace_option
@click.option("--code", is_flag=True, help="Print the code alone: text, or base64 of an archive.")
@json_option
@click.pass_obj
def get(program: CommandLine, name: str, namespace: str, *, code: bool, as_json: bool) -> None:
    """Show one action."""
    function = run_loop(fetched(program, reference(name, namespace)))
    if code:
        pass_on(function.code or "", end=False)
        return
    facts = {**_facts(function), "code": function.code}
    tell(facts, lambda: show_table(("FIELD", "VALUE"), _rows(function)), as_json=as_json)


@action.command()
@click.argument("name")
@namespace_option
@json_option
@click.pass_obj
def delete(program: CommandLine, name: str, namespace: str, *, as_json: bool) -> None:
    """Remove an action."""
    ref = reference(name, namespace)
    _with_catalog(program, lambda catalog: catalog.delete(ref))
    tell({"deleted": ref.document_id}, f"deleted {ref.document_id}", as_json=as_json)


def _check(program: CommandLine, function: Function) -> None:
    """Refuse what can't run here; any kind can where nobody can tell, since an invoker that runs has the runtime."""
    settings = program.settings
    limits = LimitsCheck(settings[LimitsSettings], settings[PoolSettings].memory, settings[RolesSettings].compat)
    if (violation := limits.violation(function.limits, NARROWS_NOTHING)) is not None:
        raise click.BadParameter(violation)
    if function.kind == "blackbox":
        raise click.BadParameter("an action of kind 'blackbox' needs an image, which can't be given here")
    kinds = manifest_of(settings, str)
    if kinds is None:
        with suppress(InvokerError):
            kinds = run_loop(_offered(program))
    if kinds and kinds.resolve(function.kind) is None:
        known = ", ".join(sorted(each.kind for each in kinds))
        raise click.BadParameter(f"nothing here runs kind {function.kind!r}; kinds: {known}")


async def _offered(program: CommandLine) -> Runtimes:
    logging.getLogger("invoker").addHandler(logging.NullHandler())  # what it warns of is no news of the action
    async with program.plugins.container_runtime(program.settings) as runtime:
        return runtime.runtimes()


def _with_catalog(program: CommandLine, use: Callable[[FunctionCatalog], Coroutine[Any, Any, T]]) -> T:
    """Return what `use` makes of the store's catalog."""

    async def run() -> T:
        async with program.plugins.function_store(program.settings) as store:
            if store.catalog is None:
                raise NotSupported("functions", program.settings[RolesSettings].functions, "catalog")
            return await use(store.catalog)

    return run_loop(run())


def _rows(function: Function) -> list[tuple[str, object]]:
    """The facts in words."""
    limits = function.limits
    return [
        ("name", function.document_id),
        ("version", function.version),
        ("revision", function.revision or "none"),
        ("kind", function.kind),
        ("code", "archive" if function.binary else "text"),
        ("entry point", function.main or "main"),
        ("timeout", f"{limits.timeout} ms"),
        ("memory", f"{limits.memory} MB"),
        ("logs", limits.logs),
        ("concurrency", limits.concurrency),
    ]


def _facts(function: Function) -> dict[str, object]:
    return {
        "name": function.document_id,
        "version": function.version,
        "revision": function.revision,
        "kind": function.kind,
        "binary": function.binary,
        "main": function.main,
        "limits": msgspec.structs.asdict(function.limits),
    }
