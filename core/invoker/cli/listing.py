"""`invoker plugins` and `invoker version`."""

import importlib.metadata
import platform
from importlib.metadata import EntryPoint

import click
import msgspec

from invoker.cli.program import CommandLine
from invoker.cli.terminal import json_option, note, show_table, tell
from invoker.errors import PluginError
from invoker.plugins import hooks_in, installed


class Row(msgspec.Struct, frozen=True):
    """What there is to say about a plugin."""

    name: str
    active: bool
    distribution: str
    hooks: tuple[str, ...] = ()
    failure: str = ""


@click.command()
@click.option("--all", "everything", is_flag=True, help="Import the inactive ones too, and show what fails.")
@json_option
@click.pass_obj
def plugins(program: CommandLine, *, everything: bool, as_json: bool) -> None:
    """List the plugins that are installed, and the hooks of those in use."""
    rows = [_row(program, name, point, everything=everything) for name, point in sorted(installed().items())]
    cells = [(row.name, row.active, row.distribution, row.failure or ", ".join(row.hooks)) for row in rows]
    tell(rows, lambda: show_table(("PLUGIN", "ACTIVE", "FROM", "HOOKS"), cells), as_json=as_json)
    if not everything and not as_json:
        note("the hooks of inactive plugins are shown with --all, which imports them", "dim")


def _row(program: CommandLine, name: str, point: EntryPoint, *, everything: bool) -> Row:
    active = name in program.plugins.active
    distribution = point.dist.name if point.dist is not None else ""
    if active:
        return Row(name, active, distribution, program.plugins.hooks_of(name))
    try:
        return Row(name, active, distribution, hooks_in(point) if everything else ())
    except PluginError as error:
        return Row(name, active, distribution, failure=str(error))


@click.command()
@json_option
def version(*, as_json: bool) -> None:
    """Show the version."""
    found, python = importlib.metadata.version("functions-invoker"), platform.python_version()
    facts = {"version": found, "python": python, "platform": platform.platform()}
    tell(facts, f"functions-invoker {found} (Python {python})", as_json=as_json)
