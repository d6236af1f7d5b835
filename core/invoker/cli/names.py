"""How people name actions, and what they call them with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from invoker.cli.terminal import F
from invoker.entities.function import FunctionRef
from invoker.wire.names import Misfit, entity_name, entity_path

NAMESPACE = "guest"
"""Whom actions belong to when nobody says otherwise, as on a stock OpenWhisk."""

_FROM_FILE = "invoker.arguments"

namespace_option = click.option("--namespace", default=NAMESPACE, show_default=True)


def reference(name: str, namespace: str) -> FunctionRef:
    """Read `hello`, `package/hello` or `/namespace/[package/]hello`."""
    parts = [part for part in name.split("/") if part]
    if not name.startswith("/"):
        parts.insert(0, namespace)
    if not 2 <= len(parts) <= 3:  # noqa: PLR2004 (namespace, package, name)
        raise click.BadParameter(f"{name!r} is no action name: use NAME, PACKAGE/NAME or /NAMESPACE/PACKAGE/NAME")
    try:
        return FunctionRef(entity_path("/".join(parts[:-1]), "its path"), entity_name(parts[-1], "it"))
    except Misfit as error:
        raise click.BadParameter(
            f"{name!r}: {error}: letters, digits and _ @ . & - may be in one, and spaces within"
        ) from error


def call_options(command: F) -> F:
    """Add what an action is called with: `arguments`, those of a file and those that stand here, and `environment`."""
    form: dict[str, Any] = {"multiple": True, "metavar": "KEY=VALUE"}
    file: dict[str, Any] = {"metavar": "FILE", "is_eager": True, "expose_value": False}
    for option in (
        click.option("--env", "environment", **form, callback=_pairs, help="A variable of its environment."),
        click.option("--param-file", **file, callback=_read, help="A JSON object of arguments."),
        click.option("--param", "arguments", **form, callback=_values, help="An argument; JSON, or else text."),
    ):
        command = option(command)
    return command


def _pairs(_: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint=parameter.opts[0])
        found[key] = value
    return found


def _values(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Values are JSON where they can be read as such."""
    found: dict[str, Any] = context.meta[_FROM_FILE]
    for key, value in _pairs(context, parameter, texts).items():
        try:
            found[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[key] = value
    return found


def _read(context: click.Context, _: click.Parameter, file: str | None) -> None:
    try:
        text = b"{}" if file is None else Path(file).read_bytes()
        context.meta[_FROM_FILE] = msgspec.json.decode(text, type=dict[str, Any])
    except OSError as error:
        raise click.BadParameter(f"can't read {file}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise click.BadParameter(f"{file} must hold a JSON object: {error}") from error
