"""A Docker engine that a test may break: its own process, disk and network namespace; nobody else's is touched.

A second engine in one network namespace removes, or takes over, the first one's default bridge. So this one has a
namespace of its own, in which tests must be as well: what they start there, and connect to, is in it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.plugins.firewall.namespaces import Namespace, new_namespace
from tests.services.docker import pinged
from tests.services.images import run

PROGRAMS = ("dockerd", "docker", "ip", "mount")
PATIENCE = 30
SPACE = 1 << 30
"""Bytes of its disk: an image, twice while it is loaded, and a few containers."""


class OwnEngine:
    """The engine, which can be stopped in its tracks, ended, and started again."""

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        self.namespace = namespace
        self.disk = folder / "disk"
        self.url = f"unix://{folder}/engine.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        for name in ("pid", "exec/containerd/containerd.pid"):  # of those that were killed; a zombie counts as alive
            (self._folder / name).unlink(missing_ok=True)
        command = ["dockerd", "--host", self.url, "--data-root", str(self.disk / "data"), "--iptables=false"]
        command += ["--exec-root", str(self._folder / "exec"), "--pidfile", str(self._folder / "pid")]
        with self.namespace.entered(), self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text(errors="replace")
            assert time.monotonic() < deadline, self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; not its containers, nor what they depend on."""
        assert self._process is not None
        self._process.send_signal(number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it do nothing for a while: connections are taken by the kernel, and nobody answers."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def end(self, number: signal.Signals) -> None:
        """Have a signal end it, and wait for that."""
        self.send(number)
        assert self._process is not None
        self._process.wait(PATIENCE)

    def close(self) -> None:
        """End it with everything that it has started."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        self.send(signal.SIGCONT)
        if found := run(self.url, "ps", "--all", "--quiet").stdout.split():
            run(self.url, "rm", "--force", *found)
        self.end(signal.SIGTERM)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _answers(self) -> bool:
        try:
            return pinged(self.url) == 200
        except OSError:
            return False


@contextmanager
def own_engine(source: str, image: str, absent: Callable[[str], None], system: str = "tmpfs") -> Iterator[OwnEngine]:
    """Run one that has an image of another engine; its disk is a file system of this kind."""
    for program in (*PROGRAMS, *([] if system == "tmpfs" else [f"mkfs.{system}"])):
        if shutil.which(program) is None:
            absent(f"there is no `{program}` on PATH, for an engine that may break")
    if os.geteuid():
        absent("only root can start an engine that may break")
    with tempfile.TemporaryDirectory(prefix="engine-") as place, new_namespace() as namespace:
        engine = OwnEngine(Path(place), namespace)
        engine.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SPACE}", "engine"]
        if system != "tmpfs":
            file = Path(place) / "file"
            with file.open("wb") as made:
                made.truncate(SPACE)
            subprocess.run([f"mkfs.{system}", "-q", str(file)], check=True)
            mount = ["mount", "-t", system, "-o", "loop", str(file)]
        subprocess.run([*mount, str(engine.disk)], check=True)
        try:
            engine.start()
            try:
                with subprocess.Popen(["docker", "-H", source, "save", image], stdout=subprocess.PIPE) as saving:
                    loading = run(engine.url, "load", stdin=saving.stdout)
                assert (saving.returncode, loading.returncode) == (0, 0), loading.stderr
                yield engine
            finally:
                engine.close()
        finally:
            subprocess.run(["umount", "--lazy", str(engine.disk)], check=True)
