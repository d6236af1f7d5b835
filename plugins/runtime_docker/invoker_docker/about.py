"""What kind of engine it is, and which version of the API it is spoken to in."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import msgspec

API: Final = (1, 41)
"""The version of the API that is spoken, unless the engine wants a newer one at least."""

_VERSION: Final = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
_LIMITS: Final = {"MemoryLimit": "memory", "SwapLimit": "swap", "PidsLimit": "processes", "CPUShares": "CPU shares"}


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of engine it is."""

    name: Literal["docker", "podman"]
    version: str
    api_version: str
    """The newest it speaks."""
    os: str
    """What its containers run on: `linux`."""
    cgroup_version: int
    rootless: bool
    lacking: tuple[str, ...] = ()
    """Limits that it can't enforce on its machine, and ignores: `memory`, `swap`, `processes`, `CPU shares`."""
    runtimes: tuple[str, ...] = ()
    """Names of the OCI runtimes in its configuration; empty if it doesn't tell."""

    @property
    def podman(self) -> bool:
        """Whether it is podman, which takes some things otherwise."""
        return self.name == "podman"

    def lacks(self, runtime: str) -> bool:
        """Whether an OCI runtime is certainly none of its own.

        It may have one that it doesn't list: podman takes a path, Docker from 23 on the name of any containerd shim.
        """
        return bool(self.runtimes) and not set(runtime) & {"/", "."} and runtime not in self.runtimes

    @classmethod
    def of(cls, version: Mapping[str, Any], info: Mapping[str, Any]) -> Self:
        """Read what the engine says of itself: the answers to `/version` and `/info`."""
        runtimes = info.get("Runtimes")
        components = " ".join(str(each.get("Name")) for each in version.get("Components") or ())
        return cls(
            name="podman" if "podman" in components.lower() else "docker",
            version=str(version.get("Version")),
            api_version=str(version["ApiVersion"]),
            os=str(info.get("OSType") or version.get("Os")),
            cgroup_version=int(str(info.get("CgroupVersion") or 1).removeprefix("v")),
            rootless=any("rootless" in str(option) for option in info.get("SecurityOptions") or ()),
            lacking=tuple(word for key, word in _LIMITS.items() if info.get(key) is False),
            runtimes=tuple(sorted(map(str, runtimes))) if isinstance(runtimes, Mapping) else (),
        )


def version_of(text: object) -> tuple[int, int]:
    """Read a version of the API: `1.41`.

    Raises:
        ValueError: it is none.
    """
    match = _VERSION.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no version of the API")
    return int(match[1]), int(match[2])


def spelled(version: tuple[int, int]) -> str:
    """Return a version as paths have it: `v1.41`."""
    return f"v{version[0]}.{version[1]}"
