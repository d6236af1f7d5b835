"""What an operator adds to the create request in the API's own words: checked once, then merged (spec 10.7.5)."""

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

Shape: TypeAlias = Mapping[str, "type | Shape"]

SHAPE: Final[Shape] = {
    "Image": str,
    "Env": list,
    "Labels": dict,
    "Tty": bool,
    "OpenStdin": bool,
    "Healthcheck": {"Test": list},
    "HostConfig": {
        "Memory": int,
        "MemorySwap": int,
        "CpuShares": int,
        "NanoCpus": int,
        "PidsLimit": int,
        "Ulimits": list,
        "ShmSize": int,
        "CapDrop": list,
        "SecurityOpt": list,
        "ReadonlyRootfs": bool,
        "Tmpfs": dict,
        "NetworkMode": str,
        "Dns": list,
        "DnsSearch": list,
        "DnsOptions": list,
        "LogConfig": {"Type": str},
        "Runtime": str,
    },
}
"""Everything that the create request may have of our own, and of which type."""

_PROTECTED: Final[Mapping[str, str]] = {
    "name": "the invoker finds its containers by it",
    "Image": "it is the action's",
    "Labels": "set docker.labels",
    "Tty": "both outputs would come mixed",
    "NetworkDisabled": "nothing could be sent to an action without a network",
    "NetworkingConfig": "set docker.network",
    "HostConfig.NetworkMode": "set docker.network",
    "HostConfig.Memory": "it is the action's limit, and the pool counts with it: set pool.memory",
    "HostConfig.MemorySwap": "the pool counts with memory alone",
    "HostConfig.OomKillDisable": "an action that exhausts its memory would hang instead of ending",
    "HostConfig.AutoRemove": "the invoker removes its containers, and asks before how they ended",
    "HostConfig.RestartPolicy": "what has ended must stay so: another container may have its address by then",
    "HostConfig.Runtime": "set docker.oci_runtime",
    "HostConfig.Privileged": "actions would own the machine: give them what they need with CapAdd or Devices",
    "HostConfig.PidMode": "actions would reach processes outside of their container",
    "HostConfig.IpcMode": "actions would share memory outside of their container",
}
"""What can't be replaced, and why or what to do instead."""

_KEYS: Final = {
    "": (
        "ArgsEscaped AttachStderr AttachStdin AttachStdout Cmd Domainname Entrypoint Env ExposedPorts Healthcheck "
        "HostConfig Hostname Image Labels MacAddress NetworkDisabled NetworkingConfig OnBuild OpenStdin Shell "
        "StdinOnce StopSignal StopTimeout Tty User Volumes WorkingDir"
    ),
    "HostConfig.": (
        "Annotations AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps "
        "BlkioWeight BlkioWeightDevice CapAdd CapDrop Cgroup CgroupParent CgroupnsMode ConsoleSize ContainerIDFile "
        "CpuCount CpuPercent CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares CpusetCpus CpusetMems "
        "DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd IOMaximumBandwidth "
        "IOMaximumIOps Init IpcMode Isolation KernelMemory KernelMemoryTCP Links LogConfig MaskedPaths Memory "
        "MemoryReservation MemorySwap MemorySwappiness Mounts NanoCpus NetworkMode OomKillDisable OomScoreAdj PidMode "
        "PidsLimit PortBindings Privileged PublishAllPorts ReadonlyPaths ReadonlyRootfs RestartPolicy Runtime "
        "SecurityOpt ShmSize StorageOpt Sysctls Tmpfs UTSMode Ulimits UsernsMode VolumeDriver VolumesFrom"
    ),
}
_API: Final = {path: frozenset(keys.split()) for path, keys in _KEYS.items()}
"""The keys of the API up to 1.50. Engines ignore any other without a word, so that a misspelt one would do nothing."""
_CLOSE: Final = 0.8  # difflib's measure: one wrong, missing or swapped letter in a word of five or more

_WORDS: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "a table",
}


def extra_faults(extra: Mapping[str, Any]) -> Iterator[str]:
    """Return what is wrong with an operator's table; what isn't ours to know, the engine judges."""
    yield from _faults("", extra, SHAPE)


def merged(request: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return `request` with `extra` in it: tables merge, everything else is replaced."""
    result = dict(request)
    for name, value in extra.items():
        ours = result.get(name)
        tables = isinstance(ours, Mapping) and isinstance(value, Mapping)
        result[name] = merged(ours or {}, value) if tables else value
    return result


def _faults(path: str, extra: Mapping[str, Any], shape: Shape) -> Iterator[str]:
    known = {f"{path}{name}" for name in shape} | _PROTECTED.keys()
    known |= {f"{path}{name}" for name in _API.get(path, ())}
    spelling = {key.lower(): key for key in known}
    for name, value in extra.items():
        key = f"{path}{name}"
        right = spelling.get(key.lower(), key)
        if right in _PROTECTED:
            yield f"{key} can't be replaced: {_PROTECTED[right]}"
        elif right != key:  # the engine doesn't mind the case, so that it would have two of the same
            yield f"{key} is spelled {right}"
        elif key not in known and (meant := _meant(path, name)):
            yield f"{key} is none of the API's keys, and the engine would ignore it: {meant}"
        else:
            yield from _value_faults(key, value, shape.get(name))


def _meant(path: str, name: str) -> str | None:
    """Return what to write for a key that is probably misspelt; one that is like no other may be new in the API."""
    if not path and name in _API["HostConfig."]:
        return f"it belongs to HostConfig, as extra = {{HostConfig = {{{name} = …}}}}"
    close = difflib.get_close_matches(name, _API.get(path, ()), n=1, cutoff=_CLOSE)
    return f"it is spelled {path}{close[0]}" if close else None


def _value_faults(key: str, value: Any, wanted: "type | Shape | None") -> Iterator[str]:
    if isinstance(wanted, Mapping):
        if isinstance(value, Mapping):
            yield from _faults(f"{key}.", value, wanted)
        else:
            yield f"{key}: expected a table"
    elif wanted is not None and not _is(value, wanted):
        yield f"{key}: expected {_WORDS[wanted]}"
    elif not _is_json(value):
        yield f"{key}: has a value that JSON can't have"


def _is(value: Any, wanted: type) -> bool:
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _is_json(value: Any) -> bool:
    match value:
        case Mapping():
            return all(isinstance(name, str) and _is_json(each) for name, each in value.items())
        case list() | tuple():
            return all(_is_json(each) for each in value)
        case float():
            return math.isfinite(value)
        case _:
            return value is None or isinstance(value, str | int | bool)
