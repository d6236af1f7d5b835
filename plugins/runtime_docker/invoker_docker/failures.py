"""Why a container was not started, and whose fault that is (spec 10.7.8, T12)."""

import re
from typing import Final

from invoker.entities.runtimes import Runtime
from invoker.errors import StartFailed
from invoker_docker.answers import EngineDown, EngineError

# In the words of runc, crun and runsc, and of docker and podman. All of them are about the container's own command: an
# engine that lacks a program itself says "no such file or directory" as well.
_NO_COMMAND: Final = re.compile(
    r'exec: ".*": .*(?:no such file or directory|executable file not found|permission denied|is a directory)'
    r"|executable file .* not found"
    r"|a command that was not found"
    r"|finding executable"
    r"|open executable: "
    r"|no command (?:specified|or entrypoint)",
    re.IGNORECASE | re.DOTALL,
)
_IMAGE: Final = re.compile(
    r"unable to find user|no matching entries in (?:passwd|group) file|unable to find group"
    r"|workdir .*not a directory|cannot mkdir: .*not a directory|exec format error",
    re.IGNORECASE | re.DOTALL,
)
_NAME_TAKEN: Final = re.compile(r"name .*is already in use", re.IGNORECASE | re.DOTALL)
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404


def name_is_taken(error: EngineError) -> bool:
    """Whether a container was not created because another has its name; podman calls it an internal error."""
    return not isinstance(error, EngineDown) and (
        error.status == _CONFLICT or _NAME_TAKEN.search(error.message) is not None
    )


def something_is_missing(error: EngineError) -> bool:
    """Whether the image or the network has gone since it was looked for: by a `docker system prune`, say."""
    return error.status == _NOT_FOUND or "network not found" in error.message


def start_failure(error: EngineError, runtime: Runtime) -> StartFailed:
    """Return what the core is told.

    Of an image that an action names itself, what doesn't work about it is its developer's business; of all others it is
    the operator's.
    """
    if isinstance(error, EngineDown):
        return StartFailed(f"the container engine does not answer: {error.message}")
    reason = f"no container of the image {runtime.image!r} could be started: {error.message}"
    if runtime.pull and _NO_COMMAND.search(error.message):
        return StartFailed(
            reason, developer_fault=True, public=f"executable file not found in image {runtime.image}"
        )  # spec 11.1
    if runtime.pull and _IMAGE.search(error.message):
        return StartFailed(
            reason, developer_fault=True, public=f"The container image '{runtime.image}' can't be started."
        )
    return StartFailed(reason)
