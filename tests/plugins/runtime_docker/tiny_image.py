"""An image of one static busybox, imported into an engine by its API."""

import http.client
import io
import json
import shutil
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.services.docker import EngineConnection

COMMAND = ["sleep", "infinity"]


def asked(url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Ask an engine something, without going through what is tested."""
    with closing(EngineConnection(url)) as connection:
        kind = "application/json" if body is None or body.startswith(b"{") else "application/x-tar"
        connection.request(method, f"/v1.41{path}", body, {"Content-Type": kind})
        response = connection.getresponse()
        return response.status, response.read()


@contextmanager
def imported(url: str, absent: Callable[[str], None]) -> Iterator[str]:
    """Have the image on an engine, under a name of its own, as long as it is needed."""
    name = f"invoker-tests/tiny-{uuid.uuid4().hex[:12]}:1"
    # The tag with the name: podman 4.3 doesn't see it elsewhere.
    changes = [f"CMD {json.dumps(COMMAND)}", "LABEL invoker-tests.tiny=1"]
    parameters = urlencode({"fromSrc": "-", "repo": name, "changes": changes}, doseq=True)
    status, said = asked(url, "POST", f"/images/create?{parameters}", layer(absent))
    assert status == http.client.OK, said
    assert b'"error' not in said, said
    try:
        yield name
    finally:
        asked(url, "DELETE", f"/images/{name}?force=1")


def layer(absent: Callable[[str], None]) -> bytes:
    """Return the whole file system as a tar archive."""
    busybox = shutil.which("busybox")
    if busybox is None or b"ld-linux" in Path(busybox).read_bytes()[:4096]:
        absent("there is no static `busybox` on PATH")
    assert busybox is not None
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(Path(busybox).resolve(), "bin/busybox")
        for name in ("sh", "sleep", "cat", "touch", "grep", "cp", "test", "true"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
    return content.getvalue()
