"""Answers of an engine: in time or not, with an error or without, and of the right shape.

This and `engine` are all that knows aiodocker's exceptions.
"""

import asyncio
import contextlib
import errno
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiodocker
import aiohttp

from invoker.errors import ContainerError

_UNREACHABLE: Final = 900  # aiodocker's own status of a connection that fails
_GATEWAY: Final = frozenset({502, 503, 504})  # somebody between us and the engine doesn't reach it
_LONGEST_MESSAGE: Final = 500  # characters; a registry's answer can be a whole page
_REFUSED: Final = 400
_RUBBISH: Final = (aiohttp.ClientError, OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What aiodocker and aiohttp make of a broken connection, and of answers that are no HTTP, no JSON or lack a key."""
_NOBODY: Final = "start the engine, or set docker.url"
_WAY_OUT: Final = {
    errno.ENOENT: _NOBODY,
    errno.ECONNREFUSED: _NOBODY,
    errno.EACCES: "let the invoker's user use it, as members of the group docker may, or set docker.url",
}
"""What to do about a connection that can't be made, where the reason tells."""


class EngineError(ContainerError):
    """The engine said no. `status` is HTTP's, `None` where the answer had none of its own; `message` is the engine's.

    The message may hold parts of users' texts, such as the name of an image: it is for logs.
    """

    def __init__(self, status: int | None, message: str) -> None:
        self.status = status
        self.message = message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…"
        super().__init__(self.message if status is None else f"{self.message} (status {status})")


class EngineDown(EngineError):
    """The engine gave no answer, none in time, or none that is one: nobody knows whether it did what it was asked."""

    def __init__(self, message: str) -> None:
        super().__init__(None, message)


@asynccontextmanager
async def answered(what: str, seconds: float, late: EngineError | None = None) -> AsyncIterator[None]:
    """Limit a call, and raise its errors as ours; `late` in place of `EngineDown` when the time is over."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise late or EngineDown(f"{what}: no answer within {seconds:g} s") from None
    except aiodocker.DockerError as error:
        if error.status == _UNREACHABLE:
            raise EngineDown(f"{what}: {_breakage(error.__context__ or error)}") from error
        if error.status in _GATEWAY:
            raise EngineDown(f"{what}: {_message(error)}") from error
        raise EngineError(error.status, f"{what}: {_message(error)}") from error
    except _RUBBISH as error:
        raise EngineDown(f"{what}: {_breakage(error)}") from error


def _breakage(error: BaseException) -> str:
    """Say what is wrong with a connection or an answer."""
    match error:
        case aiohttp.ClientConnectorError():  # its own text is about sockets and TLS settings
            reason = f"can't connect: {error.os_error.strerror or error.os_error}"
            way_out = _WAY_OUT.get(error.os_error.errno or 0)
            return reason if way_out is None else f"{reason} ({way_out})"
        case aiohttp.ClientConnectionError() | OSError():
            return f"the connection broke: {error}"
        case _:
            return f"no answer that makes sense: {type(error).__name__}: {error}"


def _message(error: aiodocker.DockerError) -> str:
    """Return the engine's words; aiodocker doesn't see that they are JSON where the type has a charset."""
    with contextlib.suppress(*_RUBBISH):
        return str(json.loads(error.message)["message"])
    return str(error.message)


async def accepted(response: aiohttp.ClientResponse) -> None:
    """Return if the engine did what it was asked.

    Raises:
        DockerError: it didn't, as aiodocker would say it.
    """
    if response.status >= _REFUSED:
        raise aiodocker.DockerError(response.status, await response.text(errors="replace"))


def raise_reported(line: bytes) -> None:
    """Read a line about a pull; one that failed says so in the middle of a 200.

    Raises:
        EngineError: it failed.
        ValueError: it is no JSON.
    """
    progress = json.loads(line) if line.strip() else {}
    detail = progress.get("errorDetail")
    message = (detail.get("message") if isinstance(detail, dict) else None) or progress.get("error")
    if message or detail:
        raise EngineError(None, str(message or detail))


def table(answer: object) -> Mapping[str, Any]:
    """Return an answer that must be an object.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(answer, dict):
        raise TypeError("it is no object")
    return answer


def items(answer: object) -> Sequence[object]:
    """Return an answer that must be a list.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(answer, list):
        raise TypeError("it is no list")
    return answer
