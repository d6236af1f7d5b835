"""The images: the project's own, and one that has nothing but the action proxy which answers at once."""

import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from bench import machine
from bench.docker.engine import BareEngine, EngineRefusal
from bench.ground import INSTANT_SOURCE, compiled

_BUILD: Final = machine.ROOT / "examples" / "docker" / "build.sh"
_PORT: Final = "8080"


def built(engine: BareEngine) -> dict[str, str]:
    """Return the project's images by their names; those that are missing are built."""
    environment = {**os.environ, "DOCKER_HOST": engine.url}
    said = subprocess.run([_BUILD], env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    return {name: image for name, image, *_ in (line.split() for line in said.splitlines())}


def instant(engine: BareEngine, proxy: str) -> str:
    """Return the image of `instant.c`, compiled without libraries; it is imported where it is missing."""
    name = f"functions-invoker-bench/{proxy}"
    tag = hashlib.sha256(INSTANT_SOURCE.read_bytes()).hexdigest()[:12]
    try:
        engine.ask("GET", f"/images/{name}:{tag}/json")
    except EngineRefusal:
        command = f'CMD ["/{proxy}","--port","{_PORT}"]'
        query = urlencode({"fromSrc": "-", "repo": name, "tag": tag, "changes": command})
        engine.ask("POST", f"/images/create?{query}", _layer(proxy))
    return f"{name}:{tag}"


def _layer(proxy: str) -> bytes:
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as where, tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(compiled(proxy, Path(where), "-static"), proxy)
    return content.getvalue()


def manifest(images: dict[str, str]) -> dict[str, Any]:
    """Return a runtimes manifest in which each family has one image."""
    return {
        "runtimes": {
            family: [{"kind": f"{family}:1", "default": True, "image": {"name": name, "tag": tag}}]
            for family, (name, _, tag) in ((family, image.rpartition(":")) for family, image in images.items())
        }
    }
