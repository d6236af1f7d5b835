"""`invoker config`: where settings come from and what they are."""

import sys
from pathlib import Path

import click

from invoker.app import verify
from invoker.cli.program import CommandLine
from invoker.cli.terminal import MISUSED, json_option, note, say, show_json, show_table
from invoker.config import as_toml, template, to_jsonable
from invoker.errors import SettingsError


@click.group()
def config() -> None:
    """Make, show, check and explain the settings."""


@config.command()
@click.argument("file", default="invoker.toml", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def init(program: CommandLine, file: Path, *, as_json: bool) -> None:
    """Write a commented settings file with every setting at its default; never over one that exists."""
    try:
        with file.open("x") as new:
            new.write(template(program.sections))
    except FileExistsError as error:
        raise click.ClickException(f"{file} is there already; move it away, or name another file") from error
    except OSError as error:
        raise click.ClickException(f"can't write {file}: {error.strerror}") from error
    if as_json:
        show_json({"written": str(file)})
        return
    say(f"wrote {file}; uncomment what you want to change, then: invoker --config {file} config validate")


@config.command()
@json_option
@click.pass_obj
def show(program: CommandLine, *, as_json: bool) -> None:
    """Show the settings in effect. Secrets are not shown."""
    settings = program.settings
    if as_json:
        show_json(to_jsonable(settings, program.sections))
    else:
        click.echo(as_toml(settings, program.sections), nl=False)


@config.command()
@json_option
@click.pass_obj
def validate(program: CommandLine, *, as_json: bool) -> None:
    """Check the settings; every fault is listed."""
    try:
        warnings = [*program.layers.warnings, *verify(program.settings)]
    except SettingsError as error:
        if not as_json:
            raise
        show_json({"valid": False, "faults": error.faults})
        sys.exit(MISUSED)
    if as_json:
        show_json({"valid": True, "warnings": warnings})
        return
    for warning in warnings:
        note(f"warning: {warning}", "yellow")
    say("the settings are valid", "green")


@config.command()
@json_option
@click.pass_obj
def explain(program: CommandLine, *, as_json: bool) -> None:
    """Show where each value comes from."""
    explained = program.layers.explain(program.sections)
    if as_json:
        show_json(
            {
                "files": [str(file) for file in program.layers.files],
                "values": [{"key": one.key, "value": one.value, "origin": one.origin} for one in explained],
            }
        )
        return
    show_table(("SETTING", "VALUE", "FROM"), [(one.key, one.value, one.origin) for one in explained])
    files = ", ".join(str(file) for file in program.layers.files) or "none"
    note(f"files read: {files}", "dim")
