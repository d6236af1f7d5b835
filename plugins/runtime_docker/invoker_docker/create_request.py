"""The request that a container is created with: all of it, hardened, as one value (spec 10.7, 10.13.8)."""

from collections.abc import Mapping
from typing import Any, Final

from invoker.entities.container import ContainerSpec
from invoker_docker.engine import Abilities
from invoker_docker.images import ImageReference
from invoker_docker.settings import DockerSettings, FileSystem

_PAGE: Final = 4096  # what the kernel rounds a tmpfs up to
_ALL_SHARES: Final = 1024
_LEAST_SHARES: Final = 2  # the kernel's own least
_LEAST_CPUS: Final = 0.01
_NANO: Final = 10**9
_CPU_DIGITS: Final = 5
_SHARED_MEMORY: Final = 64 << 20  # what engines give /dev/shm
_TMP: Final = "/tmp"  # noqa: S108 (the container's)
_PODMANS_OWN: Final = ("/run", "/var/tmp")  # noqa: S108 (what podman makes writable, as large as memory if it isn't told)
_SMALL: Final = 1 << 20
_FIRST_TO_DIE: Final = 1000  # the kernel's most: where the machine has no memory left, not the invoker


def create_request(
    spec: ContainerSpec,
    settings: DockerSettings,
    *,
    pool_memory: int,
    labels: Mapping[str, str],
    able: Abilities,
) -> dict[str, Any]:
    """Return the body of the create call.

    `pool_memory` is what all containers have together, in bytes; `labels` are the invoker's own; `able` says what the
    engine can. Of untrusted text only values of labels and of the environment are in it, and the image, which must be
    well formed.

    Raises:
        ValueError: the image is malformed, as `Images.ensure` has found before.
    """
    image = ImageReference.parse(spec.runtime.image)
    strict = file_system(settings, image) == "strict"
    home = {"HOME": _TMP} if strict else {}  # the image's own can't be written (as 10.13.8)
    resolving = {"Dns": settings.dns, "DnsSearch": settings.dns_search, "DnsOptions": settings.dns_options}
    files = {"Name": "nofile", "Soft": settings.open_files, "Hard": settings.open_files}
    request: dict[str, Any] = {
        "Image": image.tagged,
        "Env": [f"{name}={value}" for name, value in {**home, **spec.environment, **settings.environment}.items()],
        "Labels": {**settings.labels, **labels},
        "Tty": False,
        "OpenStdin": False,
        # An image's own check would run beside the function, every millisecond if it likes. podman (4.3) makes a check
        # of "none" as well, with a timer in systemd every 30 s.
        **({} if able.podman else {"Healthcheck": {"Test": ["NONE"]}}),
        "HostConfig": {
            **_shares(spec.memory, pool_memory, settings.cpus),
            **(_strict(spec.memory, settings.writable, podman=able.podman) if strict else {}),
            **({"StorageOpt": {"size": str(int(settings.storage))}} if able.quota and not strict else {}),
            **({"Init": True} if able.init else {}),  # reaps what functions leave behind; a zombie counts as a process
            "OomScoreAdj": _FIRST_TO_DIE,
            "PidsLimit": settings.pids,
            "Ulimits": [files, {"Name": "core", "Soft": 0, "Hard": 0}],
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "NetworkMode": settings.network,
            **{key: list(values) for key, values in resolving.items() if values},
            "LogConfig": {"Type": "none"},  # the output is attached, and would fill the disk a second time
            **({} if settings.oci_runtime is None else {"Runtime": settings.oci_runtime}),
        },
    }
    return merged(request, settings.extra)


def merged(request: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return `request` with what an operator adds in it: tables merge, everything else is replaced (spec 10.7.5)."""
    result = dict(request)
    for name, value in extra.items():
        ours = result.get(name)
        tables = isinstance(ours, Mapping) and isinstance(value, Mapping)
        result[name] = merged(ours or {}, value) if tables else value
    return result


def file_system(settings: DockerSettings, image: ImageReference) -> FileSystem:
    """Return the policy for an image: that of the first pattern it fits, or the general one."""
    fitting = (policy for pattern, policy in settings.file_systems.items() if image.fits(pattern))
    return next(fitting, settings.file_system)


def _shares(memory: int, pool_memory: int, cpus: float | None) -> dict[str, int]:
    """Return the limits of memory, without swap, and of processors: whole containers of this size in the pool (T74)."""
    fitting = max(pool_memory // memory, 1)
    limits = {
        "Memory": memory,
        "MemorySwap": memory,
        "CpuShares": max(_ALL_SHARES // fitting, _LEAST_SHARES),
    }
    if cpus is not None:  # spec 10.7.3
        limits["NanoCpus"] = round(max(round(cpus / fitting, _CPU_DIGITS), _LEAST_CPUS) * _NANO)
    return limits


def _strict(memory: int, writable: tuple[str, ...], *, podman: bool) -> dict[str, Any]:
    """Return a file system that can't be written but for some directories in memory.

    All of them, /dev/shm included, have half of the memory: full, they are an error for the function that it can
    handle, and not its end.
    """
    shared = _pages(min(_SHARED_MEMORY, memory // 8))
    small = {path: _SMALL for path in _PODMANS_OWN if podman and path not in writable}
    directories = (_TMP, *writable)
    size = _pages((memory // 2 - shared - sum(small.values())) // len(directories))
    sizes = dict.fromkeys(directories, size) | small
    return {
        "ReadonlyRootfs": True,
        "ShmSize": shared,
        "Tmpfs": {path: f"rw,exec,nosuid,nodev,size={size}" for path, size in sizes.items()},
    }


def _pages(size: int) -> int:
    return size // _PAGE * _PAGE
