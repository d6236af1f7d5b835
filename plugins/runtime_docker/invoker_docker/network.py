"""The network of the containers: an own bridge, on which they can't reach each other."""

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from invoker.errors import SettingsError
from invoker_docker.engine import Engine, EngineDown, EngineError
from invoker_docker.settings import LABEL_PREFIX, DockerSettings

NETWORK_LABEL: Final = f"{LABEL_PREFIX}network"
"""Of the networks that an invoker created; they outlive it."""

_BRIDGE: Final = "com.docker.network.bridge.name"
_ICC: Final = "com.docker.network.bridge.enable_icc"
_PATIENCE: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each look for a network that somebody else may be creating at this moment."""

logger = logging.getLogger("invoker.docker")


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """What the containers are attached to."""

    name: str
    bridge: str | None
    """Its interface on the engine's machine; `None` if it is no bridge, or nobody can tell."""
    gateway: str | None
    """The machine's own address on it."""
    isolated: bool
    """Whether its containers are kept from each other by the engine; podman can't do that."""
    made: bool
    """Whether it was made just now, by us."""


async def network_for(engine: Engine, settings: DockerSettings) -> Network:
    """Return the network that the settings name: as it is, or created if it is missing.

    Raises:
        SettingsError: it can't be created, such as because another network has its bridge.
        EngineDown: the engine doesn't answer.
    """
    found, made = await engine.network(settings.network), False
    if found is None:
        found, made = await _created(engine, settings)
    options = found.get("Options") or {}
    network = Network(
        name=settings.network,
        bridge=await _bridge(engine, found, options),
        gateway=_gateway(found),
        isolated=options.get(_ICC) == "false",
        made=made,
    )
    if not network.isolated:
        logger.warning("containers on the network %s can reach each other, as far as the engine goes", network.name)
    return network


def network_request(settings: DockerSettings) -> dict[str, Any]:
    """Return how the network is asked for. podman ignores what it doesn't know (4.3: the switch between containers)."""
    return {
        "Name": settings.network,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Options": {_BRIDGE: settings.bridge, _ICC: "false"},
        "Labels": {NETWORK_LABEL: "1"},
    }


async def _created(engine: Engine, settings: DockerSettings) -> tuple[Mapping[str, Any], bool]:
    """Create the network and say so; if that fails, another invoker may have been first: its network is as good."""
    refusal = None
    try:
        await engine.create_network(network_request(settings))
        logger.info("created the network %s with the interface %s", settings.network, settings.bridge)
    except EngineDown:
        raise
    except EngineError as error:  # 409 or 403 of docker, 500 of podman: the number doesn't tell
        refusal = error
    for delay in _PATIENCE:
        await asyncio.sleep(delay)
        found = await engine.network(settings.network)
        if found is not None:
            return found, refusal is None
    reason = refusal.message if refusal else "the engine says that it did, and has none"
    fault = f"docker.network: can't create {settings.network!r} with the bridge {settings.bridge!r}: {reason}"
    if "bridge name" in reason:  # of docker and of podman
        fault += ". Another network has that interface: set docker.bridge to another, or docker.network to that network"
    raise SettingsError([fault])


async def _bridge(engine: Engine, found: Mapping[str, Any], options: Mapping[str, str]) -> str | None:
    if found.get("Driver") != "bridge":
        return None
    if engine.kind.podman:
        return await engine.podman_interface(found["Id"])  # its name for the default network is another there
    return options.get(_BRIDGE) or f"br-{found['Id'][:12]}"  # docker's own choice, where nobody made one


def _gateway(found: Mapping[str, Any]) -> str | None:
    """Return the first IPv4 gateway; some engines write it with the length of the network behind it."""
    for subnet in (found.get("IPAM") or {}).get("Config") or ():
        address = str(subnet.get("Gateway") or "").partition("/")[0]
        try:
            return str(ipaddress.IPv4Address(address))
        except ValueError:
            continue
    return None
