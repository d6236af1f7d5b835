"""`invoker plugins` and `invoker version`."""

import importlib.metadata
import platform
from importlib.metadata import EntryPoint

import click
import msgspec

from invoker.cli.program import CommandLine
from invoker.cli.terminal import json_option, note, say, show_json, show_table
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
    if as_json:
        show_json(rows)
        return
    show_table(
        ("PLUGIN", "ACTIVE", "FROM", "HOOKS"),
        [
            (row.name, "yes" if row.active else "", row.distribution, row.failure or ", ".join(row.hooks))
            for row in rows
        ],
    )
    if not everything:
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
    found = importlib.metadata.version("functions-invoker")
    if as_json:
        show_json({"version": found, "python": platform.python_version(), "platform": platform.platform()})
    else:
        say(f"functions-invoker {found} (Python {platform.python_version()})")
