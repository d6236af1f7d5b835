"""The program as its users have it: the `invoker` command, and `invoker run` as a process of its own.

Nothing of the product is imported here but its stores, to put actions in and to read records: what is tested is what
can be seen from outside.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from invoker.config import NodeSettings, Settings
from invoker.entities.function import Function
from invoker.wire.record import recorded
from invoker_sqlite import open_activation_store, open_function_store
from tests.end_to_end.caller import Address, Answer, ask
from tests.end_to_end.log import Log

PATIENCE = 30.0
"""Seconds after which what is waited for won't come. Nothing here takes long."""
_AGAIN = 0.01
"""Seconds between two looks at what another process keeps."""

_INHERITED = ("PATH", "PYTHONPATH", "VIRTUAL_ENV")
_READY = "ready"


class Process(subprocess.Popen[bytes]):
    """A command that runs. A test that fails kills it, rather than wait for its end."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, trace)


class Home:
    """Where somebody uses the program: a folder, and an environment that says where its state is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.work = folder / "work"
        """Where actions' private folders are."""
        self.work.mkdir()
        self._settings = Settings.of(NodeSettings(state_dir=self.state))
        self.environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | {
            "HOME": str(folder),
            "INVOKER_NODE__STATE_DIR": str(self.state),
            "INVOKER_PROCESS__WORK_DIR": str(self.work),
            "INVOKER_HTTP__BIND": "127.0.0.1:0",
            "INVOKER_HTTP__ADMIN": "127.0.0.1:0",
        }

    @property
    def database(self) -> Path:
        """The file that both stores share."""
        return self.state / "invoker.sqlite3"

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """Return the whole command line."""
        return [sys.executable, "-m", "invoker", *arguments]

    def start(self, *arguments: str, **environment: str) -> Process:
        """Start a command; its streams are pipes."""
        return Process(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that the whole of it can be sent a signal, as by a terminal
        )

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command whose output is read as it comes."""
        return await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def call(self, *arguments: str | Path, **environment: str) -> "Called":
        """Run a command to its end."""
        with self.start(*map(str, arguments), **environment) as process:
            output, errors = process.communicate(timeout=PATIENCE)
        return Called(process.returncode, output.decode(), errors.decode())

    def put(self, *functions: Function) -> None:
        """Put actions into the store, without the detour of a command for each."""
        with ThreadPoolExecutor(1) as elsewhere:  # there may be an event loop here
            elsewhere.submit(asyncio.run, self._put(functions)).result()

    def with_functions(self, *functions: Function) -> Self:
        """Put actions, and return this place."""
        self.put(*functions)
        return self

    async def _put(self, functions: Iterable[Function]) -> None:
        async with open_function_store(self._settings) as store:
            assert store.catalog is not None
            for function in functions:
                await store.catalog.put(function)

    async def record(self, activation_id: str, namespace: str = "guest") -> dict[str, Any]:
        """Return a record, as a controller would read it, once it is there."""
        async with open_activation_store(self._settings) as store, asyncio.timeout(PATIENCE):
            assert store.reader is not None
            while (found := await store.reader.get(namespace, activation_id)) is None:
                await asyncio.sleep(_AGAIN)
        read: dict[str, Any] = json.loads(recorded(found, compat="openwhisk", updated=0).document)
        return read

    async def recorded(self, namespace: str = "guest") -> list[str]:
        """Return the ids of all records that are there now."""
        async with open_activation_store(self._settings) as store:
            assert store.reader is not None
            return [one.activation_id for one in await store.reader.recent(namespace, limit=1_000_000)]

    @contextmanager
    def running(self, *settings: str, code: int = 0, **environment: str) -> Iterator["Running"]:
        """Run the invoker; leaving stops it, if nobody has yet, and looks whether it ended as it should."""
        overrides = [word for one in settings for word in ("--set", one)]
        with self.start(*overrides, "run", **environment) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            running = Running(self, process, Log(process.stderr))
            try:
                running.wait_until_ready()
                yield running
                assert running.stop() == code, running.log.text()
                assert process.stdout.read() == b"", "standard output is for results, not for the log"
                assert not running.log.exceptions(), running.log.text()
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
                running.log.join()


class Called:
    """How a command ended."""

    def __init__(self, code: int, output: str, errors: str) -> None:
        self.code = code
        self.output = output
        self.errors = errors

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- output\n{self.output}\n--- errors\n{self.errors}"

    @property
    def json(self) -> Any:
        """What it printed, for programs."""
        return json.loads(self.output)


class Running:
    """A running invoker."""

    def __init__(self, home: Home, process: "subprocess.Popen[bytes]", log: Log) -> None:
        self.home = home
        self.process = process
        self.log = log
        self.data: Address
        self.operators: Address

    def wait_until_ready(self) -> None:
        """Wait for the log to say where it listens, and that it does."""
        self.log.wait(lambda line: line.get("event") == _READY, PATIENCE)
        urls = {line["message"].split()[2]: line["url"] for line in self.log.lines if "url" in line}
        self.operators, self.data = Address.parse(urls["operators"]), Address.parse(urls["messages"])

    @property
    def operators_url(self) -> str:
        """Where operators are served."""
        return f"http://{self.operators.host}:{self.operators.port}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ask it to stop, unless it is at an end already; return its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait(PATIENCE)
        self.log.join()
        return code

    async def invoke(self, message: bytes) -> dict[str, Any]:
        """Send a message and return its acknowledgement."""
        answer = await ask(self.data, "POST", "/invoke", message)
        assert answer.status == 200, answer
        acknowledgement: dict[str, Any] = answer.json
        return acknowledgement

    async def operator(self, path: str) -> Answer:
        """Ask what operators ask."""
        return await ask(self.operators, "GET", path)

    async def info(self) -> Any:
        """Return `/info`."""
        return (await self.operator("/info")).json

    async def metrics(self) -> Mapping[str, float]:
        """Return `/metrics`, a number for each name with its labels."""
        text = (await self.operator("/metrics")).body.decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    async def idle_containers(self) -> int:
        """Return how many containers are left when none is at work, or on its way in or out."""
        async with asyncio.timeout(PATIENCE):
            while True:
                containers: dict[str, int] = (await self.info())["containers"]
                if sum(containers.values()) == containers["idle"]:
                    return containers["idle"]
                await asyncio.sleep(_AGAIN)

    async def reaches(self, what: Callable[[Any], bool]) -> None:
        """Wait until `/info` says what is wanted."""
        async with asyncio.timeout(PATIENCE):
            while not what(await self.info()):
                await asyncio.sleep(_AGAIN)

    async def becomes_ready(self) -> None:
        """Wait until nothing is wrong with it."""
        async with asyncio.timeout(PATIENCE):
            while (await self.operator("/readyz")).status != 200:
                await asyncio.sleep(_AGAIN)


def annotations_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's annotations by their keys."""
    return {one["key"]: one["value"] for one in record["annotations"]}
