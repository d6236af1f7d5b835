"""Images that are pulled for a test."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from invoker.entities.runtimes import Runtime
from invoker_docker.engine import connected
from invoker_docker.images import Images
from tests.plugins.runtime_docker.engines import settings_for
from tests.plugins.runtime_docker.tiny_image import asked


def ours(image: str) -> Runtime:
    """An image of the runtimes manifest."""
    return Runtime(kind="python:3.11", family="python", image=image)


def theirs(image: str) -> Runtime:
    """An image that an action names itself."""
    return Runtime(kind="blackbox", family="blackbox", image=image, pull=True)


@asynccontextmanager
async def images_on(url: str, **settings: Any) -> AsyncIterator[Images]:
    chosen = settings_for(url, **settings)
    async with connected(chosen) as engine, asyncio.TaskGroup() as tasks:
        yield Images(engine, chosen, tasks)


@contextmanager
def removed_from(url: str, *images: str) -> Iterator[None]:
    """Leave none of these images on an engine."""
    try:
        yield
    finally:
        for image in images:
            status, said = asked(url, "DELETE", f"/images/{image}?force=1")
            assert status in (http.client.OK, http.client.NOT_FOUND), said
