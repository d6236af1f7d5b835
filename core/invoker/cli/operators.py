"""The invoker that runs here, asked through its door for operators."""

import base64
import http.client
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import click

from invoker.config import NodeSettings, PoolSettings, Settings, node_of
from invoker.presence import Presence, present

_PATIENCE: Final = 10.0
"""Seconds for an answer, which takes a running invoker a few milliseconds."""
_LONGEST: Final = 64 << 20
"""Bytes of an answer that are read."""
_OK: Final = 200
_FORM: Final = "http://127.0.0.1:8081"


def door_of(settings: Settings) -> str:
    """Return the URL of the invoker that runs with these settings.

    Raises:
        click.ClickException: none runs, or it can't be told which one is meant, or it has no door for operators.
        SettingsError: there is no state directory to look into.
    """
    node = settings[NodeSettings]
    name = str(node_of(node, settings[PoolSettings]))
    running = present(node)
    meant = [one for one in running if one.name == name] or running
    if not meant:
        raise click.ClickException(
            f"{name} does not run here: start it with `invoker run`, "
            f"or say where it is: --url {_FORM}, the address of its door for operators"
        )
    if len(meant) > 1:
        raise click.ClickException(f"several invokers run here; choose one by --url: {_listed(meant)}")
    if meant[0].operators is None:
        raise click.ClickException(
            f"{meant[0].name} runs (process {meant[0].pid}), but has no door for operators: none of its transports "
            "provides one, or their settings don't want it"
        )
    return meant[0].operators


def _listed(running: list[Presence]) -> str:
    return ", ".join(f"{one.name} at {one.operators or 'no address'} (process {one.pid})" for one in running)


def ask(url: str, page: str) -> bytes:
    """Return what is at a page of a door for operators.

    Raises:
        click.BadParameter: `url` is none.
        click.ClickException: there is no such door; says what was found instead.
    """
    parts = _parts(url)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"  # no password is shown
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/{page}", headers=_authorization(parts))
        answer = connection.getresponse()
        body = answer.read(_LONGEST)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise click.ClickException(f"no invoker answers at {where}: {reason}") from error
    finally:
        connection.close()
    if answer.status != _OK:
        raise click.ClickException(_refused(where, page, answer.status))
    return body


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:  # the port is read only now
            return parts
    except ValueError:
        pass
    raise click.BadParameter(f"expected an address such as {_FORM}", param_hint="--url")


def _authorization(parts: SplitResult) -> dict[str, str]:
    """A door may be behind a proxy that asks who comes."""
    if parts.username is None:
        return {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}


def _refused(where: str, page: str, status: int) -> str:
    match status:
        case 401 | 403:
            return f"{where} wants to know who asks: --url {_FORM.replace('//', '//user:password@')}"
        case 404:
            return f"there is no /{page} at {where}: is it the door for operators, and not the one for messages?"
        case _:
            return f"{where} answered with status {status}"
