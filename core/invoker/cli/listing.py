"""`invoker plugins` and `invoker version`."""

import importlib.metadata
import platform
from importlib.metadata import EntryPoint
from typing import Any

import click

from invoker.cli.program import CommandLine
from invoker.cli.terminal import json_option, note, show_table, tell
from invoker.errors import PluginError
from invoker.plugins import hooks_in, installed


@click.command()
@click.option("--all", "everything", is_flag=True, help="Import the inactive ones too, and show what fails.")
@json_option
@click.pass_obj
def plugins(program: CommandLine, *, everything: bool, as_json: bool) -> None:
    """List the plugins that are installed, and the hooks of those in use."""
    rows = [_row(program, name, point, everything=everything) for name, point in sorted(installed().items())]
    cells = [(it["name"], it["active"], it["distribution"], it["failure"] or ", ".join(it["hooks"])) for it in rows]
    tell(rows, lambda: show_table(("PLUGIN", "ACTIVE", "FROM", "HOOKS"), cells), as_json=as_json)
    if not everything and not as_json:
        note("the hooks of inactive plugins are shown with --all, which imports them", "dim")


def _row(program: CommandLine, name: str, point: EntryPoint, *, everything: bool) -> dict[str, Any]:
    hooks: tuple[str, ...] = ()
    active, failure = name in program.plugins.active, ""
    try:
        hooks = program.plugins.hooks_of(name) if active else hooks_in(point) if everything else ()
    except PluginError as error:
        failure = str(error)
    distribution = point.dist.name if point.dist is not None else ""
    return {"name": name, "active": active, "distribution": distribution, "hooks": hooks, "failure": failure}


@click.command()
@json_option
def version(*, as_json: bool) -> None:
    """Show the version."""
    found, python = importlib.metadata.version("functions-invoker"), platform.python_version()
    facts = {"version": found, "python": python, "platform": platform.platform()}
    tell(facts, f"functions-invoker {found} (Python {python})", as_json=as_json)
