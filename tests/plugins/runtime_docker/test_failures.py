"""Whose fault a start that failed is, in the words of several engines."""

import pytest

from invoker.entities.runtimes import Runtime
from invoker.errors import NoRoom, StartFailed
from invoker_docker.failures import EngineDown, EngineError, name_is_taken, something_is_missing, start_failure

USERS = Runtime(kind="blackbox", family="blackbox", image="zoe/resize:2", pull=True)
NATIVE = Runtime(kind="blackbox", family="blackbox", image="acme/fast:1")
RUNC = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "


def failed(error: EngineError, runtime: Runtime) -> StartFailed:
    failure = start_failure(error, runtime)
    assert isinstance(failure, StartFailed)
    return failure


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
    failure = failed(EngineError(400, message), USERS)

    assert failure.developer_fault
    assert failure.public == "executable file not found in image zoe/resize:2"
    assert not failed(EngineError(400, message), NATIVE).developer_fault


@pytest.mark.parametrize(
    "message",
    [
        "unable to find user ghost: no matching entries in passwd file",
        "Cannot mkdir: /proxy.py is not a directory",
        'workdir "/proxy.py" exists on container 44, but is not a directory',
    ],
)
def test_an_image_that_contradicts_itself_is_the_developers(message: str) -> None:
    failure = failed(EngineError(500, message), USERS)

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
    failure = failed(EngineError(500, message), USERS)

    assert (failure.developer_fault, failure.public) == (False, None)
    assert failure.reason == f"no container of the image 'zoe/resize:2' could be started: {message}"


@pytest.mark.parametrize(
    "message",
    [
        "no available IPv4 addresses on this network's address pools: functions-invoker (168413662d36)",
        "IPAM error: failed to find free IP in range: 10.213.7.1 - 10.213.7.6",
        "adding interface veth1 to bridge invoker0 failed: exchange full",
        f"{RUNC}unable to apply cgroup configuration: mkdir /sys/fs/cgroup/memory/x: cannot allocate memory: unknown",
        "runc create failed: unable to start init: fork/exec /proc/self/exe: resource temporarily unavailable",
        "mkdir /var/lib/docker/overlay2/x: no space left on device",
    ],
)
@pytest.mark.parametrize("runtime", [USERS, NATIVE])
def test_what_others_use_up_is_no_failure(message: str, runtime: Runtime) -> None:
    assert isinstance(start_failure(EngineError(500, message), runtime), NoRoom)


@pytest.mark.parametrize(
    "message",
    [f'{RUNC}exec: "no space left on device": stat: no such file or directory', "unable to find user exchange full"],
)
def test_an_image_can_not_claim_that_there_is_no_room(message: str) -> None:
    assert failed(EngineError(400, message), USERS).developer_fault


def test_an_engine_that_is_down_is_nobody_elses() -> None:
    assert not failed(EngineDown("start: no answer within 60 s"), USERS).developer_fault


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
