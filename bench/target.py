"""The invoker under test: the real `invoker run` with the embedded back ends, alone on its core."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import msgspec

from bench import machine
from bench.messages import NAMESPACE, NODEJS_ECHO, PYTHON_ECHO
from invoker.cli.program import Program
from invoker.contracts import FunctionCatalog
from invoker.entities.function import Function, Limits

PATIENCE: Final = 60.0
"""Seconds in which the invoker must be ready, and in which it must have left."""

PROXIES: Final = ("python", "instant", "instant-late")
"""Kinds of action proxy; see `instant.c` for the last two."""
INSTANT_SOURCE: Final = Path(__file__).with_name("instant.c")
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


def interpreter(proxy: str, where: Path) -> Path:
    """Return what runs Python actions: Python itself, or the C program that answers at once in its place."""
    if proxy == "python":
        return Path(getattr(sys, "_base_executable", None) or sys.executable)
    program = where / proxy
    if not program.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            raise SystemExit(f"--proxy {proxy} needs a C compiler (cc)")
        subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", "-o", program, INSTANT_SOURCE], check=True)
    return program


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


class Invoker:
    """One invoker process: `with Invoker(folder) as invoker`. Leaving stops it with SIGTERM and waits."""

    def __init__(self, where: Path, *, python: Path | None = None, program: Sequence[str] = ("invoker",)) -> None:
        """`python` runs the actions; `program` is the module that is the command line, and its first arguments."""
        self._program = program
        self.port = _free_port()
        self.admin_port = _free_port()
        self.log = where / "log"
        self._file = where / "settings.toml"
        settings: dict[str, dict[str, object]] = {
            "node": {"state_dir": str(where / "state")},
            "pool": {"memory": "64 GB"},  # a number to plan with: memory that containers never touch
            "http": {"bind": f"127.0.0.1:{self.port}", "admin": f"127.0.0.1:{self.admin_port}"},
            "process": {"work_dir": str(where)},
            "sqlite": {"keep": {"bytes": "0 B"}},  # all of them: they are counted
        }
        if python is not None:
            settings["process"]["python"] = str(python)
        self._file.write_text(_toml(settings), encoding="utf-8")

    def put(self, functions: Sequence[Function]) -> list[Function]:
        """Store actions; return them with their revisions."""
        return asyncio.run(self._put(functions))

    async def _put(self, functions: Sequence[Function]) -> list[Function]:
        program = Program([str(self._file)], None, [])
        async with program.plugins.function_store(program.settings) as catalog:
            assert isinstance(catalog, FunctionCatalog)
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
            (self.warden,) = machine.children(self.pid)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        machine.pin(self.warden, machine.LOAD_CORE)  # and with it every action proxy, which it starts
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
    def watched(self) -> tuple[int, int]:
        """The processes whose CPU time is the invoker's: itself and its warden."""
        return self.pid, self.warden

    def containers(self) -> int:
        """Return how many action proxies there are."""
        return len(machine.children(self.warden))

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
    for section, values in settings.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {_toml_value(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml_value(each)}" for name, each in value.items()) + "}"
    return msgspec.json.encode(value).decode()


def environment() -> dict[str, str]:
    """Return what an action proxy that the bench starts itself gets: nothing of ours."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8"}
