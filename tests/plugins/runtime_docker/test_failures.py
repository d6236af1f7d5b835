"""Whose fault a start that failed is, in the words of several engines."""

import pytest

from invoker.entities.runtimes import Runtime
from invoker_docker.answers import EngineDown, EngineError
from invoker_docker.failures import name_is_taken, something_is_missing, start_failure

USERS = Runtime(kind="blackbox", family="blackbox", image="zoe/resize:2", pull=True)
NATIVE = Runtime(kind="blackbox", family="blackbox", image="acme/fast:1")
RUNC = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "


@pytest.mark.parametrize(
    "message",
    [
        f'{RUNC}exec: "/nope": stat /nope: no such file or directory: unknown',
        f'{RUNC}exec: "nope": executable file not found in $PATH: unknown',
        f'{RUNC}exec: "/proxy.py": permission denied: unknown',
        "No command specified",
        "container create: no command or entrypoint provided, and no CMD or ENTRYPOINT from image",
        "crun: executable file `nope` not found in $PATH: No such file or directory",
        "crun: open executable: Permission denied: OCI permission denied",
        'OCI runtime start failed: starting container: starting root container: finding executable "nope" in PATH: x',
    ],
)
def test_a_command_that_is_not_there_is_the_developers(message: str) -> None:
    failure = start_failure(EngineError(400, message), USERS)

    assert failure.developer_fault
    assert failure.public == "executable file not found in image zoe/resize:2"
    assert not start_failure(EngineError(400, message), NATIVE).developer_fault


@pytest.mark.parametrize(
    "message",
    [
        "unable to find user ghost: no matching entries in passwd file",
        "Cannot mkdir: /proxy.py is not a directory",
        'workdir "/proxy.py" exists on container 44, but is not a directory',
    ],
)
def test_an_image_that_contradicts_itself_is_the_developers(message: str) -> None:
    failure = start_failure(EngineError(500, message), USERS)

    assert failure.developer_fault
    assert failure.public == "The container image 'zoe/resize:2' can't be started."


@pytest.mark.parametrize(
    "message",
    [
        "OCI runtime create failed: fork/exec /usr/local/bin/runsc: no such file or directory: unknown",
        f'{RUNC}error during container init: error mounting "/etc/x" to rootfs at "/x": no such file or directory',
        "runc create failed: error setting rlimits for ready process: operation not permitted: OCI permission denied",
        "Unknown runtime specified nonesuch",
        "could not find bridge docker0: route ip+net: no such network interface",
    ],
)
def test_an_engine_that_can_not_is_nobody_elses(message: str) -> None:
    failure = start_failure(EngineError(500, message), USERS)

    assert (failure.developer_fault, failure.public) == (False, None)
    assert failure.reason == f"no container of the image 'zoe/resize:2' could be started: {message}"


def test_an_engine_that_is_down_is_nobody_elses() -> None:
    assert not start_failure(EngineDown("start: no answer within 60 s"), USERS).developer_fault


@pytest.mark.parametrize(
    ("error", "taken"),
    [
        (EngineError(409, 'Conflict. The container name "/x" is already in use by container "ab"'), True),
        (EngineError(500, 'creating container storage: the container name "x" is already in use by ab'), True),
        (EngineError(500, "something else"), False),
        (EngineDown("create: the name is already in use, somebody says, and hangs up"), False),
    ],
)
def test_a_name_that_is_taken_is_understood(error: EngineError, *, taken: bool) -> None:
    assert name_is_taken(error) == taken


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        (EngineError(404, "No such image: a:1"), True),
        (EngineError(404, "network sb-none not found"), True),
        (EngineError(500, "unable to find network with name or ID sb-none: network not found"), True),
        (EngineError(400, "No command specified"), False),
    ],
)
def test_what_has_gone_missing_is_understood(error: EngineError, *, missing: bool) -> None:
    assert something_is_missing(error) == missing
