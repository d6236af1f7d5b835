"""`invoker activation`: the records in the store."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import click
import msgspec

from invoker.cli.names import namespace_option, reference
from invoker.cli.program import CommandLine, run_loop
from invoker.cli.terminal import json_option, note, pass_on, show_json, show_table, start_type, status_text, tell
from invoker.config import RolesSettings
from invoker.contracts import ActivationReader
from invoker.entities.activation import Activation
from invoker.errors import NotSupported
from invoker.wire import record


@click.group()
def activation() -> None:
    """List and show activation records and their logs."""


@activation.command(name="list")
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True)
@click.option("--action", "name", help="Only those of one action.")
@namespace_option
@json_option
@click.pass_obj
def list_activations(program: CommandLine, limit: int, name: str | None, namespace: str, *, as_json: bool) -> None:
    """List the newest activations, newest first."""
    action = reference(name, namespace).document_id if name else None
    found = run_loop(_recent(program, namespace, limit, action))
    columns = ("START", "ACTIVATION", "STATUS", "START TYPE", "DURATION", "ACTION")
    tell([_document(one) for one in found], lambda: show_table(columns, map(_row, found)), as_json=as_json)


@activation.command()
@click.argument("activation_id")
@namespace_option
@json_option
@click.pass_obj
def get(program: CommandLine, activation_id: str, namespace: str, *, as_json: bool) -> None:
    """Show one record: JSON either way, for people with line breaks."""
    document = _document(run_loop(_get(program, namespace, activation_id)))
    tell(document, lambda: pass_on(msgspec.json.format(bytes(document), indent=2).decode()), as_json=as_json)


@activation.command()
@click.argument("activation_id", required=False)
@click.option("--follow", is_flag=True, help="Show the logs of activations as they are recorded, until Ctrl-C.")
@namespace_option
@json_option
@click.pass_obj
def logs(program: CommandLine, activation_id: str | None, namespace: str, *, follow: bool, as_json: bool) -> None:
    """Show the logs of one activation, or of all from now on."""
    if follow == (activation_id is not None):
        raise click.UsageError("say which activation, or --follow")
    if activation_id is None:
        run_loop(_follow(program, namespace, as_json=as_json))
        return
    found = run_loop(_get(program, namespace, activation_id))
    tell(found.logs, lambda: _show_logs(found), as_json=as_json)


@asynccontextmanager
async def _reader(program: CommandLine) -> AsyncIterator[ActivationReader]:
    async with program.plugins.activation_store(program.settings) as store:
        if store.reader is None:
            raise NotSupported("activations", program.settings[RolesSettings].activations, "reader")
        yield store.reader


async def _recent(program: CommandLine, namespace: str, limit: int, action: str | None) -> list[Activation]:
    async with _reader(program) as reader:
        return list(await reader.recent(namespace, limit=limit, action=action))


async def _get(program: CommandLine, namespace: str, activation_id: str) -> Activation:
    async with _reader(program) as reader:
        found = await reader.get(namespace, activation_id)
    if found is None:
        raise click.ClickException(f"there is no activation {activation_id} in namespace {namespace}")
    return found


async def _follow(program: CommandLine, namespace: str, *, as_json: bool) -> None:
    async with _reader(program) as reader:
        async for one in reader.follow(namespace):
            if as_json:
                show_json({"activationId": one.activation_id, "action": one.path, "logs": one.logs})
                continue
            note(f"{one.activation_id} {one.path} {one.outcome.status.word}", "dim")
            _show_logs(one)


def _show_logs(one: Activation) -> None:
    for line in one.logs:
        pass_on(line)


def _row(one: Activation) -> Sequence[object]:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.start / 1000))
    return clock, one.activation_id, status_text(one.outcome.status), start_type(one), f"{one.duration} ms", one.path


def _document(one: Activation) -> msgspec.Raw:
    """Return a record as a controller would show it."""
    return msgspec.Raw(record.recorded(one, compat="openwhisk", updated=one.end).document)
