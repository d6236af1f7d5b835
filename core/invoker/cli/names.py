"""How people name actions and parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from invoker.entities.function import FunctionRef
from invoker.wire.names import Misfit, entity_name, entity_path

NAMESPACE = "guest"
"""Whom actions belong to when nobody says otherwise, as on a stock OpenWhisk."""


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


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Read `k=v` texts."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint=option)
        try:
            text.encode()
        except UnicodeEncodeError as error:  # what came as bytes that are no UTF-8
            raise click.BadParameter(f"{key!r} and its value must be UTF-8 text", param_hint=option) from error
        found[key] = value
    return found


def parameters(texts: Sequence[str], file: str | None) -> dict[str, Any]:
    """Read arguments: a JSON file first, then `k=v` texts, whose values are JSON where they can be read as such."""
    found: dict[str, Any] = {}
    if file is not None:
        found.update(_from_file(Path(file)))
    for key, value in pairs(texts, "--param").items():
        try:
            found[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[key] = value
    return found


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise click.BadParameter(f"can't read {file}: {error.strerror}", param_hint="--param-file") from error
    except msgspec.MsgspecError as error:
        raise click.BadParameter(f"{file} must hold a JSON object: {error}", param_hint="--param-file") from error
