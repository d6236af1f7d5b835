"""A registry on loopback, as much of one as an engine needs to pull an image, and images that are pulled for a test."""

import asyncio
import gzip
import hashlib
import http.client
import json
import platform
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web

from invoker.entities.runtimes import Runtime
from invoker_docker.engine import connected
from invoker_docker.images import EngineImages
from tests.plugins.runtime_docker.invoker_place import settings_for
from tests.plugins.runtime_docker.tiny_image import asked

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Registry:
    """Owns what it serves; a test looks at what it was asked for."""

    def __init__(self, layer: bytes) -> None:
        self.authority = ""
        self.names: set[str] = set()
        """`name:tag` of what it has; all are the same image."""
        self.asked: list[str] = []
        """`name:tag` of each pull."""
        self.arrived = asyncio.Event()
        """Somebody has asked for a manifest."""
        self.open = asyncio.Event()
        """Manifests are answered."""
        self.open.set()
        packed = gzip.compress(layer)
        config = json.dumps(
            {
                "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
                "os": "linux",
                "config": {"Cmd": ["sleep", "infinity"]},
                "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            }
        ).encode()
        self._blobs = {digest(blob): blob for blob in (packed, config)}
        self._manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": described(config, "application/vnd.docker.container.image.v1+json"),
                "layers": [described(packed, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
            }
        ).encode()

    def image(self, name: str) -> str:
        """Have an image, and return what an engine calls it."""
        self.names.add(name if ":" in name else f"{name}:latest")
        return f"{self.authority}/{name}"

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})

    async def manifest(self, request: web.Request) -> web.Response:
        """Answer with the manifest: an engine asks by the tag, and then by the digest it was told."""
        name = f"{request.match_info['name']}:{request.match_info['reference']}"
        if request.match_info["reference"] != digest(self._manifest):
            self.asked.append(name)
            self.arrived.set()
            await self.open.wait()
            if name not in self.names:
                return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}, status=404)
        headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest(self._manifest)}
        return web.Response(body=self._manifest, headers=headers)

    async def blob(self, request: web.Request) -> web.Response:
        return web.Response(body=self._blobs[request.match_info["digest"]])


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def described(content: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "size": len(content), "digest": digest(content)}


@asynccontextmanager
async def serving(layer: bytes) -> AsyncIterator[Registry]:
    """Run a registry, on a port that an engine speaks to without TLS because it is on this machine."""
    registry = Registry(layer)
    app = web.Application()
    app.router.add_get("/v2/", registry.version)
    app.router.add_get("/v2/{name:.+}/manifests/{reference}", registry.manifest, allow_head=False)
    app.router.add_get("/v2/{name:.+}/blobs/{digest}", registry.blob)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        registry.authority = f"127.0.0.1:{runner.addresses[0][1]}"
        yield registry
    finally:
        await runner.cleanup()


def ours(image: str) -> Runtime:
    """An image of the runtimes manifest."""
    return Runtime(kind="python:3.11", family="python", image=image)


def theirs(image: str) -> Runtime:
    """An image that an action names itself."""
    return Runtime(kind="blackbox", family="blackbox", image=image, pull=True)


@asynccontextmanager
async def images_on(url: str, **settings: Any) -> AsyncIterator[EngineImages]:
    chosen = settings_for(url, **settings)
    async with connected(chosen) as engine, asyncio.TaskGroup() as tasks:
        yield EngineImages(engine, tasks)


@contextmanager
def removed_from(url: str, *images: str) -> Iterator[None]:
    """Leave none of these images on an engine."""
    try:
        yield
    finally:
        for image in images:
            status, said = asked(url, "DELETE", f"/images/{image}?force=1")
            assert status in (http.client.OK, http.client.NOT_FOUND), said
