"""A running invoker, asked over HTTP where it serves operators."""

import base64
import http.client
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import click

from invoker.cli.program import CommandLine

_PATIENCE: Final = 10.0  # seconds for an answer, which takes a running invoker a few milliseconds
_LONGEST: Final = 64 << 20  # bytes of an answer that are read
_OK: Final = 200
_FORM: Final = "http://127.0.0.1:8081"


def operators_url(program: CommandLine) -> str:
    """Return where the invoker of these settings serves operators.

    Raises:
        click.ClickException: it doesn't.
    """
    for section in program.sections:
        url = program.settings[section.into].operators_url
        if url is not None:
            return url
    raise click.ClickException(
        f"the settings don't say where an invoker serves operators: set http.admin, or say where one is: --url {_FORM}"
    )


def ask(url: str, page: str) -> bytes:
    """Return what is at a page for operators.

    Raises:
        click.BadParameter: `url` is none.
        click.ClickException: there is no such page; says what was found instead.
    """
    parts = _parts(url)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"  # no password is shown
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/{page}", headers=_authorization(parts))
        answer = connection.getresponse()
        body = answer.read(_LONGEST)
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise click.ClickException(
            f"no invoker answers at {where}: {reason}. Start it with `invoker run`, "
            f"or say where it is: --url {_FORM}, or by its settings"
        ) from error
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
        case 401:
            return f"{where} wants to know who asks: --url {_FORM.replace('//', '//user:password@')}"
        case 403:
            return f"{where} is not to be asked by that name: try localhost, or list it in its http.hosts"
        case 404:
            return f"there is no /{page} at {where}: is it the address for operators, and not the one for messages?"
        case _:
            return f"{where} answered with status {status}"
