"""The invoker under test: the real `invoker run` with the embedded stores, alone on its core."""

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import msgspec

from bench import machine
from bench.ground import Runtime
from bench.messages import NAMESPACE, NODEJS_ECHO, PYTHON_ECHO
from invoker.cli.program import CommandLine
from invoker.entities.function import Function, Limits
from invoker.pool import PoolSnapshot

PATIENCE: Final = 60.0
"""Seconds in which the invoker must be ready, and in which it must have left."""

_LOG_TIME: Final = "histogram_invoker_collectLogs_finish_seconds"
_FAMILIES: Final = {"python": PYTHON_ECHO, "nodejs": NODEJS_ECHO}
_COMMENTS: Final = {"python": "#", "nodejs": "//"}


@contextmanager
def folder() -> Iterator[Path]:
    """Give a private folder, whose name marks every process that works in it."""
    path = Path(tempfile.mkdtemp(prefix="invoker-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def echoes(count: int, family: str = "python", name: str = "echo") -> list[Function]:
    """Return actions that return their arguments; no two are alike, so that none shares a container."""
    return [
        Function(
            path=NAMESPACE,
            name=f"{name}-{number}",
            kind=f"{family}:default",
            code=f"{_COMMENTS[family]} {number}\n{_FAMILIES[family]}",
            limits=Limits(memory=128),
        )
        for number in range(count)
    ]


def slow(seconds: float) -> Function:
    """Return an action that takes its time before it returns its arguments."""
    code = f"import time\ndef main(args):\n    time.sleep({seconds})\n    return args\n"
    return Function(path=NAMESPACE, name="slow", kind="python:default", code=code, limits=Limits(memory=128))


class Invoker:
    """One invoker process: `with Invoker(folder) as invoker`. Leaving stops it with SIGTERM and waits."""

    def __init__(
        self,
        where: Path,
        runtime: Runtime,
        *,
        pool: Mapping[str, object] | None = None,
        program: Sequence[str] = ("invoker",),
    ) -> None:
        """`pool` is of its settings; `program` is the module that is the command line, and its first arguments."""
        self.where = where
        self.runtime = runtime
        self._program = program
        self.port = _free_port()
        self.admin_port = _free_port()
        self.log = where / "log"
        self._file = where / "settings.toml"
        settings: dict[str, Mapping[str, object]] = {
            **runtime.settings(),
            "pool": {"memory": "64 GB", **(pool or {})},  # a number to plan with: memory that containers never touch
            "http": {"bind": f"127.0.0.1:{self.port}", "admin": f"127.0.0.1:{self.admin_port}"},
            "sqlite": {"keep": {"bytes": "0 B"}},  # all of them: they are counted
        }
        settings["node"] = {"state_dir": str(where / "state"), **settings.get("node", {})}
        self._file.write_text(_toml(settings), encoding="utf-8")

    def put(self, functions: Sequence[Function]) -> list[Function]:
        """Store actions; return them with their revisions."""
        return asyncio.run(self._put(functions))

    async def _put(self, functions: Sequence[Function]) -> list[Function]:
        program = CommandLine([str(self._file)], None, [])
        async with program.plugins.function_store(program.settings) as store:
            catalog = store.catalog
            assert catalog is not None
            return [msgspec.structs.replace(each, revision=await catalog.put(each)) for each in functions]

    def __enter__(self) -> Self:
        """Start it and wait until it takes messages."""
        with machine.pinned(machine.INVOKER_CORE), self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._program, "--config", self._file, "run"],
                cwd=machine.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_ready()
            self.runtime.attend(self.pid)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
        self.wait()

    @property
    def pid(self) -> int:
        """Number of the invoker's process."""
        return self._process.pid

    @property
    def watched(self) -> tuple[int, ...]:
        """The processes whose CPU time is the invoker's: itself, and a supervisor if there is one."""
        return self.pid, *self.runtime.helpers

    def pool(self) -> PoolSnapshot:
        """Ask the invoker about its pool, as operators do."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/pool", timeout=PATIENCE) as answer:
            return msgspec.json.decode(answer.read(), type=PoolSnapshot)

    @contextmanager
    def log_times(self, means: list[float]) -> Iterator[None]:
        """Add the mean of the microseconds that logs of the block's activations took after `/run` had answered."""
        before = self._log_time()
        yield
        seconds, count = (now - then for now, then in zip(self._log_time(), before, strict=True))
        means.append(1e6 * seconds / max(1, count))

    def _log_time(self) -> tuple[float, float]:
        """Return seconds and activations; each is counted in whole milliseconds, their mean is as good as exact."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=PATIENCE) as answer:
            found = dict(line.split(" ") for line in answer.read().decode().splitlines() if line.startswith(_LOG_TIME))
        return float(found[f"{_LOG_TIME}_sum"]), float(found[f"{_LOG_TIME}_count"])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError(f"the invoker did not start:\n{self.log.read_text(errors='replace')[-4000:]}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def _toml(settings: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for section in sorted(settings):  # the top level, whose name is empty, comes first
        values = settings[section]
        if section:
            lines.append(f"[{section}]")
        lines += [f"{name} = {_toml_value(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml_value(each)}" for name, each in value.items()) + "}"
    return msgspec.json.encode(value).decode()
