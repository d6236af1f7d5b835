"""The network of the containers: a bridge of their own, on which they can't reach each other."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from invoker.errors import SettingsError
from invoker_docker.engine import EngineClient
from invoker_docker.failures import EngineDown, EngineError
from invoker_docker.settings import LABEL_PREFIX

NETWORK_LABEL: Final = f"{LABEL_PREFIX}network"
"""Of the networks that an invoker created; they outlive it."""

_BRIDGE: Final = "com.docker.network.bridge.name"
_ICC: Final = "com.docker.network.bridge.enable_icc"
_PATIENCE: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each look for a network that somebody else may be creating at this moment."""

logger = logging.getLogger("invoker.docker")


class ContainerNetwork:
    """The network that the settings name: as it is, or created when it is first needed."""

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._there = False
        self._isolated = True  # its containers are kept from each other, as far as was told; podman can't do that
        self._ensuring = asyncio.Lock()
        self.bridge: str | None = engine.settings.bridge
        """Its interface on the engine's machine; `None` if it is no bridge, or nobody can tell."""

    async def look(self) -> None:
        """Learn what there is; where there is nothing yet, what there will be."""
        await self._note(await self._engine.network(self._settings.network))

    async def ensure(self, *, again: bool = False) -> None:
        """Return when it is there, looking `again` even if it was.

        Raises:
            SettingsError: it can't be created, such as because another network has its bridge.
        """
        async with self._ensuring:
            if again or not self._there:
                await self._note(await self._engine.network(self._settings.network) or await self._created())

    async def _note(self, found: Mapping[str, Any] | None) -> None:
        isolated = not self._engine.able.podman
        if found is None:
            self.bridge = self._settings.bridge
        else:
            options = found.get("Options") or {}
            isolated = options.get(_ICC) == "false"
            if found.get("Driver") != "bridge":
                self.bridge = None
            elif self._engine.able.podman:  # by its id, for the default network has another name there
                self.bridge = await self._engine.podman_interface(found["Id"])
            else:  # where nobody chose one it is docker's own choice
                self.bridge = options.get(_BRIDGE) or f"br-{found['Id'][:12]}"
        if self._isolated and not isolated:
            name = self._settings.network
            logger.warning("containers on the network %s can reach each other, as far as the engine goes", name)
        self._isolated = isolated
        self._there = found is not None

    async def _created(self) -> Mapping[str, Any]:
        """Create it and say so; if that fails, another invoker may have been first: its network is as good."""
        settings = self._settings
        request = {
            "Name": settings.network,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "Options": {_BRIDGE: settings.bridge, _ICC: "false"},  # podman (4.3) ignores the second
            "Labels": {NETWORK_LABEL: "1"},
        }
        reason = "the engine says that it did, and has none"
        try:
            await self._engine.create_network(request)
            logger.info("created the network %s with the interface %s", settings.network, settings.bridge)
        except EngineDown:
            raise
        except EngineError as error:  # 409 or 403 of docker, 500 of podman: the number doesn't tell
            reason = error.message
        for delay in _PATIENCE:
            await asyncio.sleep(delay)
            found = await self._engine.network(settings.network)
            if found is not None:
                return found
        fault = f"docker.network: can't create {settings.network!r} with the bridge {settings.bridge!r}: {reason}"
        if "bridge name" in reason:  # of docker and of podman
            fault += ". Another network has that interface: set docker.bridge to another, or docker.network to that one"
        raise SettingsError([fault])
