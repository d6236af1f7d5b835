"""How calls of an engine fail, whose fault it is that a container didn't start, and whether it may later."""

import asyncio
import contextlib
import errno
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiodocker
import aiohttp
import msgspec

from invoker.entities.runtimes import Runtime
from invoker.errors import ContainerError, NoRoom, StartFailed

NOT_FOUND: Final = 404
CONFLICT: Final = 409
GATEWAY: Final = frozenset({502, 503, 504})  # somebody between us and the engine doesn't reach it

_UNREACHABLE: Final = 900  # aiodocker's own status of a connection that fails
_LONGEST_MESSAGE: Final = 500  # characters; a registry's answer can be a whole page
_RUBBISH: Final = (
    *(aiohttp.ClientError, OSError, msgspec.DecodeError),
    *(ValueError, TypeError, LookupError, AttributeError, RecursionError),
)
"""What aiodocker and aiohttp make of a broken connection, and of answers that are no HTTP, no JSON or lack a key."""
_NOBODY: Final = "start the engine, or set docker.url"
_WAY_OUT: Final = {
    errno.ENOENT: _NOBODY,
    errno.ECONNREFUSED: _NOBODY,
    errno.EACCES: "let the invoker's user use it, as members of the group docker may, or set docker.url",
}
"""What to do about a connection that can't be made, where the reason tells."""

# In the words of runc, crun and runsc, and of docker and podman. All of them are about the container's own command: an
# engine that lacks a program itself says "no such file or directory" as well.
_NO_COMMAND: Final = re.compile(
    r'exec: ".*": .*(?:no such file or directory|executable file not found|permission denied|is a directory)'
    r"|executable file .* not found|a command that was not found|finding executable|open executable: "
    r"|no command (?:specified|or entrypoint)",
    re.IGNORECASE | re.DOTALL,
)
_IMAGE: Final = re.compile(
    r"unable to find user|no matching entries in (?:passwd|group) file|unable to find group"
    r"|workdir .*not a directory|cannot mkdir: .*not a directory|exec format error",
    re.IGNORECASE | re.DOTALL,
)
# Docker 20.10 and podman 4.3 (netavark) without an address left; a bridge, which has 1,023 ports; a control group above
# the containers', or a disk, that is full.
_FULL: Final = re.compile(
    r"no available IPv[46] addresses|failed to find free IP|exchange full"
    r"|resource temporarily unavailable|cannot allocate memory|no space left on device",
    re.IGNORECASE,
)
_NAME_TAKEN: Final = re.compile(r"name .*is already in use", re.IGNORECASE | re.DOTALL)


class EngineError(ContainerError):
    """The engine said no. `status` is HTTP's, `None` where the answer had none of its own; `message` is the engine's.

    That may hold parts of users' texts, such as the name of an image: it is for logs.
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
async def answered(
    what: str, seconds: float | None, *, late: EngineError | None = None, on_down: Callable[[], None] | None = None
) -> AsyncIterator[None]:
    """Limit a call, and raise its errors as ours: `late`, if given, when it takes too long; no `EngineDown` untold."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (EngineError, aiodocker.DockerError, *_RUBBISH) as error:  # a time-out is an OSError
        if isinstance(error, TimeoutError) and seconds is not None:
            failure = late or EngineDown(f"{what}: no answer within {seconds:g} s")
        else:
            failure = _failure(what, error)
        if on_down is not None and isinstance(failure, EngineDown):
            on_down()
        if failure is error:
            raise
        raise failure from error


def _failure(what: str, error: BaseException) -> EngineError:
    match error:
        case EngineError():
            return error
        case aiodocker.DockerError() if error.status == _UNREACHABLE:
            return _failure(what, error.__context__ or ConnectionError(error.message))
        case aiodocker.DockerError():
            text = f"{what}: {_message(error)}"
            return EngineDown(text) if error.status in GATEWAY else EngineError(error.status, text)
        case aiohttp.ClientConnectorError():  # its own text is about sockets and TLS settings
            way_out = _WAY_OUT.get(error.os_error.errno or 0)
            reason = f"can't connect: {error.os_error.strerror or error.os_error}"
            return EngineDown(f"{what}: {reason}" if way_out is None else f"{what}: {reason} ({way_out})")
        case aiohttp.ClientConnectionError() | OSError():
            return EngineDown(f"{what}: the connection broke: {error}")
        case _:
            return EngineDown(f"{what}: no answer that makes sense: {type(error).__name__}: {error}")


def _message(error: aiodocker.DockerError) -> str:
    """Return the engine's words; aiodocker doesn't see that they are JSON where the type has a charset."""
    with contextlib.suppress(*_RUBBISH):
        return str(json.loads(error.message)["message"])
    return str(error.message).strip() or "refused"


def name_is_taken(error: EngineError) -> bool:
    """Whether a container was not created because another has its name; podman calls it an internal error."""
    return not isinstance(error, EngineDown) and (
        error.status == CONFLICT or _NAME_TAKEN.search(error.message) is not None
    )


def has_no_quota(error: EngineError) -> bool:
    """Whether a container was not created because the engine's storage can't bound what it writes."""
    return "storage-opt" in error.message


def something_is_missing(error: EngineError) -> bool:
    """Whether the image or the network has gone since it was looked for: by a `docker system prune`, say."""
    return error.status == NOT_FOUND or "network not found" in error.message


def start_failure(error: EngineError, runtime: Runtime) -> StartFailed | NoRoom:
    """Return what the core is told.

    Of an image that an action names itself, what doesn't work about it is its developer's business; of all others it is
    the operator's. Where the engine says that something is used up which other containers have, it may work later.
    """
    if isinstance(error, EngineDown):
        return StartFailed(f"the container engine does not answer: {error.message}")
    reason = f"no container of the image {runtime.image!r} could be started: {error.message}"
    public = None
    if runtime.pull and _NO_COMMAND.search(error.message):
        public = f"executable file not found in image {runtime.image}"  # spec 11.1
    elif runtime.pull and _IMAGE.search(error.message):
        public = f"The container image '{runtime.image}' can't be started."
    elif _FULL.search(error.message):
        return NoRoom(reason)
    return StartFailed(reason, developer_fault=public is not None, public=public)
