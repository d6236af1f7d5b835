"""The engine's API: each call with its own time limit, and two kinds of error."""

import asyncio
import json
import logging
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiodocker
import aiohttp

from invoker.wire import names
from invoker_docker.about import API, About, spelled, version_of
from invoker_docker.address import DaemonAddress
from invoker_docker.answers import EngineDown, EngineError, accepted, answered, items, raise_reported, table
from invoker_docker.settings import DockerSettings
from invoker_docker.tls import client_context

__all__ = ["Engine", "EngineDown", "EngineError", "connected"]

_REFUSED: Final = 400
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_FIRST_LOOK: Final = 0.01
_LAST_LOOK: Final = 0.5
"""Seconds between two looks at a removal that somebody else has begun: doubled from the first until the last."""
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)

logger = logging.getLogger("invoker.docker")


@asynccontextmanager
async def connected(settings: DockerSettings) -> AsyncIterator["Engine"]:
    """Open the way to an engine, which must be there.

    Raises:
        SettingsError: a TLS file can't be used.
        EngineDown: it doesn't answer.
        EngineError: it is too old.
    """
    address, context = settings.address, client_context(settings)
    connector: aiohttp.BaseConnector
    # No limit: pulls last minutes, and whoever removes a container must not wait for them.
    if address.path is not None:
        scheme, connector = "unix", aiohttp.UnixConnector(address.path, limit=0)
    else:
        scheme, connector = "http" if context is None else "https", aiohttp.TCPConnector(limit=0, ssl=context or True)
    if scheme == "http":
        logger.warning(
            "the engine at %s is spoken to without TLS: whoever listens can do what the invoker can", address
        )
    url = f"{scheme}://{address.authority}"
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        aiodocker.Docker(url, connector=connector, session=session, api_version=spelled(API)) as docker,
    ):
        engine = Engine(docker, settings, context)
        engine.kind = await engine.about()
        yield engine


class Engine:
    """Every call may be cancelled; what it asked for may happen all the same.

    All raise `EngineError` or `EngineDown`. `container` is an id or a name.
    """

    kind: About
    """What it was when the connection was opened."""

    def __init__(self, docker: aiodocker.Docker, settings: DockerSettings, context: ssl.SSLContext | None) -> None:
        self._docker = docker
        self._settings = settings
        self.address: Final[DaemonAddress] = settings.address
        self.ssl: Final[ssl.SSLContext | None] = context
        """What connections to the address are wrapped in; `None` for nothing."""

    @property
    def api(self) -> str:
        """First part of every path: `v1.41`."""
        return self._docker.api_version

    async def ping(self) -> None:
        """Return if the engine is alive."""
        async with answered("ping", self._settings.ping_timeout):
            await self._get("_ping")

    async def about(self) -> About:
        """Ask what it is, and from now on speak a version of the API that it understands.

        Raises:
            EngineError: it is too old.
        """
        async with answered("version", self._settings.inspect_timeout):
            version = table(json.loads(await self._get("version")))
            newest = version_of(version["ApiVersion"])
            oldest = version_of(version["MinAPIVersion"]) if version.get("MinAPIVersion") else API
            if newest < API:
                raise EngineError(None, f"its API is {spelled(newest)}, and must be {spelled(API)} or newer")
            self._docker.api_version = spelled(max(API, oldest))
            return About.of(version, table(await self._docker.system.info()))

    async def image_exists(self, image: str) -> bool:
        """Return whether the engine has an image of this name."""
        _check_image(image)
        try:
            async with answered("inspect image", self._settings.inspect_timeout):
                await self._docker.images.inspect(image)
        except EngineError as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    async def images(self, label: str) -> Sequence[Mapping[str, Any]]:
        """Return summaries of the images that have this label, whatever its value."""
        async with answered("list images", self._settings.inspect_timeout):
            return await self._summaries("images/json", {"label": [label]})

    async def pull(self, image: str) -> None:
        """Fetch an image, named with its tag, from its registry.

        Raises:
            EngineError: the registry doesn't have it or is too slow, which says nothing of the engine (T12).
        """
        _check_image(image)
        limit = self._settings.pull_timeout
        async with answered("pull", limit, late=EngineError(None, f"the registry sent no image within {limit}")):
            # Not by aiodocker's pull: cancelled, it leaves the response open and the engine pulling.
            url = f"{self._docker.docker_host}/{self.api}/images/create"
            async with self._docker.session.post(url, params={"fromImage": image}) as response:
                await accepted(response)
                async for line in response.content:
                    raise_reported(line)

    async def network(self, name: str) -> Mapping[str, Any] | None:
        """Return what the engine says about a network; `None` if there is none of that name."""
        _check_name(name)
        try:
            async with answered("inspect network", self._settings.inspect_timeout):
                return table(await (await self._docker.networks.get(name)).show())
        except EngineError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def podman_interface(self, network: str) -> str | None:
        """Ask podman which interface a network has on its machine; its Docker-compatible answers don't say."""
        _check_name(network)
        try:
            async with answered("inspect network", self._settings.inspect_timeout):
                found = json.loads(await self._get(f"v4.0.0/libpod/networks/{network}/json"))
                return str(found["network_interface"]) or None
        except EngineError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def create_network(self, config: Mapping[str, Any]) -> None:
        """Create a network, in the API's own words."""
        async with answered("create network", self._settings.create_timeout):
            await self._docker.networks.create(dict(config))

    async def remove_network(self, name: str) -> None:
        """Remove a network that no container is attached to."""
        _check_name(name)
        async with answered("remove network", self._settings.remove_timeout):
            await (await self._docker.networks.get(name)).delete()

    async def create(self, name: str, request: Mapping[str, Any]) -> str:
        """Create a container and return its id.

        Cancelled, cut or out of time, there may be one now, or in a moment: remove it by its name.
        """
        _check_name(name)
        async with answered("create", self._settings.create_timeout):
            return (await self._docker.containers.create(request, name=name)).id

    async def start(self, container: str) -> None:
        """Start a container; one that runs already is left alone."""
        async with answered("start", self._settings.start_timeout):
            await self._container(container).start()

    async def inspect(self, container: str) -> Mapping[str, Any]:
        """Return all that the engine says about a container."""
        async with answered("inspect", self._settings.inspect_timeout):
            return table(await self._container(container).show())

    async def pause(self, container: str) -> None:
        """Freeze a container's processes."""
        async with answered("pause", self._settings.pause_timeout):
            await self._container(container).pause()

    async def unpause(self, container: str) -> None:
        """Let them go on."""
        async with answered("unpause", self._settings.pause_timeout):
            await self._container(container).unpause()

    async def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes; return when it is gone, or if there was none."""
        async with answered("remove", self._settings.remove_timeout):
            look = _FIRST_LOOK
            while not await _gone(self._container(container)):
                await asyncio.sleep(look)
                look = min(2 * look, _LAST_LOOK)

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Return summaries of the containers that have all these labels, in whatever state they are."""
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        async with answered("list containers", self._settings.inspect_timeout):
            return await self._summaries("containers/json", filters, all="1")

    def _container(self, container: str) -> aiodocker.containers.DockerContainer:
        _check_name(container)
        return self._docker.containers.container(container)

    async def _summaries(
        self, path: str, filters: Mapping[str, Sequence[str]], **query: str
    ) -> list[Mapping[str, Any]]:
        """Ask for a list. aiodocker takes many an answer that is none for an empty one."""
        found = json.loads(await self._get(f"{self.api}/{path}", filters=json.dumps(filters), **query))
        return [table(one) for one in items(found)]

    async def _get(self, path: str, **query: str) -> bytes:
        async with self._docker.session.get(f"{self._docker.docker_host}/{path}", params=query) as response:
            await accepted(response)
            return await response.read()


async def _gone(container: aiodocker.containers.DockerContainer) -> bool:
    """Remove a container; return False while somebody else's removal goes on."""
    try:
        await container.delete(force=True, v=True)
    except aiodocker.DockerError as error:
        if error.status == _CONFLICT and "already in progress" in error.message:
            return False
        if error.status != _NOT_FOUND:
            raise
    return True


def _check_name(name: str) -> None:
    """Let nothing into a path that would lead elsewhere."""
    if not _NAME.fullmatch(name):
        raise EngineError(_REFUSED, f"{name!r} is no name that an engine takes")


def _check_image(image: str) -> None:
    try:
        well_formed = names.image_name(image, "image") == image
    except names.Misfit:
        well_formed = False
    if not well_formed:
        raise EngineError(_REFUSED, f"{image!r} is no name of an image")
