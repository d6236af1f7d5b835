"""`invoker action`: the functions in the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import msgspec

from invoker.cli.names import NAMESPACE, reference
from invoker.cli.program import CommandLine, run_loop
from invoker.cli.sources import function_from
from invoker.cli.terminal import json_option, pass_on, say, show_json, show_table
from invoker.config import RolesSettings
from invoker.contracts import FunctionCatalog
from invoker.entities.function import Function, FunctionRef, Limits
from invoker.errors import NotSupported

namespace_option = click.option("--namespace", default=NAMESPACE, show_default=True)


@click.group()
def action() -> None:
    """Put, list, get and delete actions in the function store."""


@action.command()
@click.argument("name")
@click.argument("source", metavar="FILE|DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--kind", help="If it can't be told, such as python:default or nodejs:20.")
@click.option("--main", help="Entry point.  [default: main]")
@click.option("--timeout", type=int, default=60_000, show_default=True, metavar="MS")
@click.option("--memory", type=int, default=256, show_default=True, metavar="MB")
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
    """Create or replace an action from a source file, a zip archive or a folder."""
    ref = reference(name, namespace)
    limits = Limits(timeout=timeout, memory=memory, logs=logs)
    function = function_from(source, path=ref.path, name=ref.name, kind=kind, main=main, limits=limits)
    revision = run_loop(_put(program, function))
    if as_json:
        show_json({"name": function.document_id, "revision": revision, "kind": function.kind})
    else:
        say(f"put {function.document_id} ({function.kind}), revision {revision}")


@action.command(name="list")
@namespace_option
@json_option
@click.pass_obj
def list_actions(program: CommandLine, namespace: str, *, as_json: bool) -> None:
    """List the actions of a namespace."""
    functions = run_loop(_functions(program, namespace))
    if as_json:
        show_json([_facts(function) for function in functions])
    else:
        show_table(
            ("ACTION", "KIND", "TIMEOUT", "MEMORY", "REVISION"),
            [
                (
                    function.document_id,
                    function.kind,
                    f"{function.limits.timeout} ms",
                    f"{function.limits.memory} MB",
                    function.revision or "",
                )
                for function in functions
            ],
        )


@action.command()
@click.argument("name")
@namespace_option
@click.option("--code", is_flag=True, help="Print the code alone: text, or base64 of an archive.")
@json_option
@click.pass_obj
def get(program: CommandLine, name: str, namespace: str, *, code: bool, as_json: bool) -> None:
    """Show one action."""
    function = run_loop(_get(program, reference(name, namespace)))
    if code:
        pass_on(function.code or "", end=False)
    elif as_json:
        show_json({**_facts(function), "code": function.code})
    else:
        show_table(("FIELD", "VALUE"), _rows(function))


@action.command()
@click.argument("name")
@namespace_option
@json_option
@click.pass_obj
def delete(program: CommandLine, name: str, namespace: str, *, as_json: bool) -> None:
    """Remove an action."""
    ref = reference(name, namespace)
    run_loop(_delete(program, ref))
    if as_json:
        show_json({"deleted": ref.document_id})
    else:
        say(f"deleted {ref.document_id}")


@asynccontextmanager
async def _catalog(program: CommandLine) -> AsyncIterator[FunctionCatalog]:
    async with program.plugins.function_store(program.settings) as store:
        if store.catalog is None:
            raise NotSupported("functions", program.settings[RolesSettings].functions, "catalog")
        yield store.catalog


async def _put(program: CommandLine, function: Function) -> str:
    async with _catalog(program) as catalog:
        return await catalog.put(function)


async def _functions(program: CommandLine, namespace: str) -> list[Function]:
    async with _catalog(program) as catalog:
        return list(await catalog.functions(namespace))


async def _get(program: CommandLine, ref: FunctionRef) -> Function:
    async with program.plugins.function_store(program.settings) as store:
        return await store.fetch(ref, exact=False)


async def _delete(program: CommandLine, ref: FunctionRef) -> None:
    async with _catalog(program) as catalog:
        await catalog.delete(ref)


def _rows(function: Function) -> list[tuple[str, str]]:
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
        ("logs", str(limits.logs)),
        ("concurrency", str(limits.concurrency)),
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
