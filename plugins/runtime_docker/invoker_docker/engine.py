"""The engine's API: each call with its own time limit, and two kinds of error."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import aiodocker
import aiohttp
import msgspec

from invoker.errors import SettingsError
from invoker.wire import names
from invoker_docker.attach import AttachedOutput
from invoker_docker.failures import CONFLICT, NOT_FOUND, EngineError, answered
from invoker_docker.settings import DockerSettings

API: Final = "1.41"
"""The version of the API that is spoken, unless the engine wants a newer one at least."""

_REFUSED: Final = 400
_FIRST_LOOK, _LAST_LOOK = 0.01, 0.5
"""Seconds between two looks at a removal that somebody else has begun: doubled from the first until the last."""
_SILENCE: Final = 30  # seconds after which the kernel asks an engine across a network whether it is still there
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_BOUNDING: Final = {("overlay2", "xfs"), ("overlay", "xfs"), ("btrfs", ""), ("zfs", "")}
"""Storage drivers that can bound what a container writes, and the file system that they need; "overlay" is podman's."""

T = TypeVar("T")
Answer: TypeAlias = dict[str, Any]
"""What the engine says about one thing."""

logger = logging.getLogger("invoker.docker")


@asynccontextmanager
async def connected(settings: DockerSettings) -> AsyncIterator["EngineClient"]:
    """Open the way to an engine, which must be there.

    Raises:
        SettingsError: a TLS file can't be used.
        EngineDown: it doesn't answer.
        EngineError: it is too old.
    """
    address, context = settings.address, _tls(settings)
    connector: aiohttp.BaseConnector
    # No limit: pulls last minutes, and whoever removes a container must not wait for them.
    if address.path is not None:
        scheme, connector = "unix", aiohttp.UnixConnector(address.path, limit=0)
    else:
        scheme, connector = "http" if context is None else "https", aiohttp.TCPConnector(limit=0, ssl=context or True)
    if scheme == "http":
        text = "the engine at %s is spoken to without TLS: whoever listens can do what the invoker can"
        logger.warning(text, settings.url)
    url = f"{scheme}://{address.authority}"
    async with (
        # No limit but those of the calls themselves: aiohttp's own would end a pull after five minutes.
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as session,
        aiodocker.Docker(url, connector=connector, session=session, api_version=f"v{API}") as docker,
    ):
        engine = EngineClient(docker, settings)
        await engine.negotiate()
        await engine.examine()
        yield engine


class Abilities(msgspec.Struct, frozen=True):
    """What an engine can, as far as it tells."""

    podman: bool = False  # it is podman, which takes some things otherwise than Docker
    init: bool = False  # it has one for containers: Docker says N/A if not, and podman doesn't tell
    quota: bool = False  # its storage may bound what a container writes: xfs can only if it is mounted so
    oci_runtimes: Sequence[str] = ()  # those in its configuration, by name


class EngineClient:
    """Every call may be cancelled; what it asked for may happen all the same. All raise `EngineError`s."""

    able = Abilities()
    on_down: Callable[[], None] | None = None  # called each time a call gets no answer; set by `EngineHealth`

    def __init__(self, docker: aiodocker.Docker, settings: DockerSettings) -> None:
        self._docker = docker
        self.settings = settings

    async def ping(self) -> None:
        """Return if the engine is alive."""
        async with self._answered("ping", self.settings.ping_timeout):
            await self._get("/_ping")

    async def negotiate(self) -> None:
        """Ask what it is, and from now on speak a version of the API that it understands; it may be too old."""
        version = await self._read("version", "/version", _Version)
        if _numbers(version.newest) < _numbers(API):
            raise EngineError(None, f"its API is v{version.newest}, and must be v{API} or newer")
        self._docker.api_version = f"v{max(API, version.oldest or API, key=_numbers)}"
        podman = "podman" in str(version.components).lower()
        self.able = msgspec.structs.replace(self.able, podman=podman)

    async def examine(self) -> None:
        """Ask what it can."""
        info = await self._read("info", "info", Answer)
        below = {"", *(value for _, value in info.get("DriverStatus") or ())}
        runtimes = info.get("Runtimes")
        self.able = Abilities(
            podman=self.able.podman,
            init=not self.able.podman and (info.get("InitCommit") or {}).get("ID") != "N/A",
            quota=any((info.get("Driver"), system) in _BOUNDING for system in below),
            oci_runtimes=sorted(runtimes) if isinstance(runtimes, dict) else (),
        )

    async def image_exists(self, image: str) -> bool:
        """Return whether the engine has an image of this name."""
        _check_image(image)
        return await _found(self._read("inspect image", f"images/{image}/json", Answer)) is not None

    async def images(self, label: str) -> Sequence[Answer]:
        """Return summaries of the images that have this label, whatever its value."""
        filters = json.dumps({"label": [label]})
        return await self._read("list images", "images/json", list[Answer], filters=filters)

    async def pull(self, image: str, authority: str | None = None) -> None:
        """Fetch an image, named with its tag; `authority` is the header with credentials of its registry.

        A registry that doesn't have it or is too slow (`EngineError`) says nothing of the engine (T12).
        """
        _check_image(image)
        limit = self.settings.pull_timeout
        async with self._answered("pull", limit, late=EngineError(None, f"the registry sent no image within {limit}")):
            # Not by aiodocker's pull: cancelled, it leaves the response open and the engine pulling.
            url = self._url("images/create")
            headers = {} if authority is None else {"X-Registry-Auth": authority}
            async with self._docker.session.post(url, params={"fromImage": image}, headers=headers) as response:
                await _accept(response)
                async for line in response.content:
                    _raise_reported(line)

    async def network(self, name: str) -> Answer | None:
        """Return what the engine says about a network; `None` if there is none of that name."""
        _check_name(name)
        return await _found(self._read("inspect network", f"networks/{name}", Answer))

    async def podman_interface(self, network: str) -> str | None:
        """Ask podman which interface a network has on its machine; its Docker-compatible answers don't say."""
        _check_name(network)
        found = await _found(self._read("inspect network", f"/v4.0.0/libpod/networks/{network}/json", Answer))
        return (found or {}).get("network_interface") or None

    async def create_network(self, config: Mapping[str, Any]) -> None:
        """Create a network, in the API's own words."""
        async with self._answered("create network", self.settings.create_timeout):
            await self._docker.networks.create(dict(config))

    async def create(self, name: str, request: Mapping[str, Any]) -> str:
        """Create a container and return its id; without an answer there may be one all the same, of this name."""
        _check_name(name)
        async with self._answered("create", self.settings.create_timeout):
            return (await self._docker.containers.create(request, name=name)).id

    async def attach(self, container: str, output: AttachedOutput) -> None:
        """Have all that a container prints fed to `output` from now on; called before the start, nothing is missed."""
        _check_name(container)
        query = dict.fromkeys(("stream", "stdout", "stderr"), "1")
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        async with self._answered("attach", self.settings.start_timeout):  # podman does half of a start here
            url = self._url(f"containers/{container}/attach")
            response = await self._docker.session.post(url, params=query, headers=headers)
            with contextlib.ExitStack() as failed:
                failed.callback(response.close)
                await _accept(response)
                if response.headers.get("Transfer-Encoding", "identity").lower() != "identity":
                    raise EngineError(None, "attach: what is between here and the engine changes the stream")
                failed.pop_all()
        output.response = response
        with contextlib.suppress(aiohttp.ClientError):  # it broke off at once
            output.feed_data(response.content.read_nowait())  # came with the head: 200 is an answer as well
        self._keep_alive(response)
        protocol = None if response.connection is None else response.connection.protocol
        if protocol is not None:
            protocol.set_parser(output, None)  # it is called as bytes arrive, as aiohttp's own is for web sockets
        if protocol is None or protocol.transport is None:  # it has ended already
            output.feed_eof()

    async def events(self, names: Sequence[str], tell: Callable[[Answer], None]) -> None:
        """Tell of each event with one of these names, until the engine tells no more."""
        async with answered("events", None, on_down=self.on_down):
            filters = json.dumps({"event": names})
            async with self._docker.session.get(self._url("events"), params={"filters": filters}) as response:
                await _accept(response)
                self._keep_alive(response)
                async for line in response.content:
                    tell(msgspec.json.decode(line, type=Answer))

    def _keep_alive(self, response: aiohttp.ClientResponse) -> None:
        """Have the kernel look after a connection on which nothing may be said for hours."""
        protocol = None if response.connection is None else response.connection.protocol
        if protocol is not None and protocol.transport is not None and self.settings.address.path is None:
            connection = protocol.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE)

    async def start(self, container: str) -> None:
        """Start a container; one that runs already is left alone."""
        async with self._answered("start", self.settings.start_timeout):
            await self._container(container).start()

    async def inspect(self, container: str) -> Answer:
        """Return all that the engine says about a container."""
        _check_name(container)
        return await self._read("inspect", f"containers/{container}/json", Answer)

    async def pause(self, container: str) -> None:
        """Freeze a container's processes."""
        async with self._answered("pause", self.settings.pause_timeout):
            await self._container(container).pause()

    async def unpause(self, container: str) -> None:
        """Let them go on."""
        async with self._answered("unpause", self.settings.pause_timeout):
            await self._container(container).unpause()

    async def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes; return when it is gone, or if there was none."""
        async with self._answered("remove", self.settings.remove_timeout):
            look = _FIRST_LOOK
            while not await _gone(self._container(container)):
                await asyncio.sleep(look)
                look = min(2 * look, _LAST_LOOK)

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Answer]:
        """Return summaries of the containers that have all these labels, in whatever state they are."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        return await self._read("list containers", "containers/json", list[Answer], filters=filters, all="1")

    def _answered(
        self, what: str, seconds: float, late: EngineError | None = None
    ) -> AbstractAsyncContextManager[None]:
        return answered(what, seconds, late=late, on_down=self.on_down)

    def _container(self, container: str) -> aiodocker.containers.DockerContainer:
        _check_name(container)
        return self._docker.containers.container(container)

    async def _read(self, what: str, path: str, shape: type[T], **query: str) -> T:
        """Ask a question. Not by aiodocker, which takes many an answer that is none for an empty one."""
        async with self._answered(what, self.settings.inspect_timeout):
            return msgspec.json.decode(await self._get(path, **query), type=shape)

    async def _get(self, path: str, **query: str) -> bytes:
        async with self._docker.session.get(self._url(path), params=query) as response:
            await _accept(response)
            return await response.read()

    def _url(self, path: str) -> str:
        """Return the URL of a path of the API, or of one that is beside it and begins with a slash."""
        beside = path.startswith("/")
        return f"{self._docker.docker_host}{path if beside else f'/{self._docker.api_version}/{path}'}"


class _Version(msgspec.Struct, rename={"newest": "ApiVersion", "oldest": "MinAPIVersion", "components": "Components"}):
    """What is read of the answer to `/version`: versions of the API, and what the engine is made of."""

    newest: Annotated[str, msgspec.Meta(pattern=r"^\d{1,4}\.\d{1,4}$")]
    oldest: Annotated[str, msgspec.Meta(pattern=r"^(\d{1,4}\.\d{1,4})?$")] | None = None
    components: Any = None


async def _gone(container: aiodocker.containers.DockerContainer) -> bool:
    """Remove a container; return False while somebody else's removal goes on."""
    try:
        await container.delete(force=True, v=True)
    except aiodocker.DockerError as error:
        if error.status == CONFLICT and "already in progress" in error.message:
            return False
        if error.status != NOT_FOUND:
            raise
    return True


async def _found(reading: Awaitable[T]) -> T | None:
    """Return an answer; `None` if there is no such thing."""
    try:
        return await reading
    except EngineError as error:
        if error.status == NOT_FOUND:
            return None
        raise


async def _accept(response: aiohttp.ClientResponse) -> None:
    """Return if the engine did what it was asked; otherwise raise what aiodocker would."""
    if response.status >= _REFUSED:
        raise aiodocker.DockerError(response.status, await response.text(errors="replace"))


def _raise_reported(line: bytes) -> None:
    """Read a line about a pull; one that failed says so in the middle of a 200."""
    progress = json.loads(line) if line.strip() else {}
    detail = progress.get("errorDetail")
    message = (detail.get("message") if isinstance(detail, dict) else None) or progress.get("error")
    if message or detail:
        raise EngineError(None, str(message or detail))


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version of the API as it can be compared."""
    return tuple(map(int, version.split(".")))


def _check_name(name: str) -> None:
    """Let nothing into a path that would lead elsewhere."""
    if not _NAME.fullmatch(name):
        raise EngineError(_REFUSED, f"{name!r} is no name that an engine takes")


def _check_image(image: str) -> None:
    with contextlib.suppress(names.Misfit):
        if names.image_name(image, "image") == image:
            return
    raise EngineError(_REFUSED, f"{image!r} is no name of an image")


def _tls(settings: DockerSettings) -> ssl.SSLContext | None:
    """Return how connections are encrypted, TLS 1.2 or newer; `None` if they aren't."""
    if not settings.tls:
        return None
    # One by one: the ssl module doesn't say which of its files it can't read.
    for name in ("tls_ca", "tls_cert", "tls_key"):
        path: Path | None = getattr(settings, name)
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            raise SettingsError([f"docker.{name}: can't read {path}: {error.strerror}"]) from error
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
    except ssl.SSLError as error:
        raise SettingsError([f"docker.tls_ca: {settings.tls_ca} holds no certificate in PEM format"]) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls_cert is not None:
        try:
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
        except ssl.SSLError as error:
            reason = error.reason or "it holds no such thing in PEM format"
            files = f"{settings.tls_cert} and {settings.tls_key}"
            raise SettingsError([f"docker: {files} are no certificate with its key: {reason}"]) from error
    return context


def _no_password() -> str:
    """Fail where OpenSSL would ask on the terminal."""
    raise SettingsError(["docker.tls_key: the key is encrypted; give one that isn't, readable for the invoker alone"])
