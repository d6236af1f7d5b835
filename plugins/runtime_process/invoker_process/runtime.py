"""Containers that are child processes: the shortest way from an action to its result, and no wall around it."""

import asyncio
import itertools
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from invoker import Settings
from invoker.contracts import ContainerRuntime, Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import SettingsError, StartFailed
from invoker_process.container import ProcessContainer
from invoker_process.messages import STREAMS, StartChild
from invoker_process.settings import ProcessSettings
from invoker_process.supervisor_client import SupervisorClient

PROXIES: Final = Path(__file__).parent / "proxies"
ARGUMENTS: Final = ("--fd", str(STREAMS), "--watch-stdin")
_PATIENCE: Final = 30.0
_PYTHON_ANSWER: Final = "import sys; print(sys.executable, *sys.version_info[:2], sep='\\n')"
_NODEJS_ANSWER: Final = "[process.execPath, ...process.versions.node.split('.')].slice(0, 3).join('\\n')"
_ANSWER: Final = re.compile(r"(?P<path>/.+)\n(?P<major>\d+)\n(?P<minor>\d+)\n")
SEARCHED: Final = ("/usr/local/bin", "/usr/bin", "/bin")
"""The PATH of actions, after the directories of the interpreters themselves."""

logger = logging.getLogger("invoker.process")


class Interpreter(NamedTuple):
    """One language."""

    command: list[str]  # that starts an action proxy
    kinds: Sequence[str]  # OpenWhisk's names for the version that is there; the first is the family's default


@asynccontextmanager
async def process_runtime(settings: Settings) -> AsyncIterator["ProcessRuntime"]:
    """Run a runtime; leaving ends every process of every container.

    Raises:
        SettingsError: an interpreter or the work directory can't be used.
        StartFailed: no supervisor could be started.
    """
    chosen = settings[ProcessSettings]
    runtime = ProcessRuntime(chosen, await installed(chosen))
    await runtime.open()
    logger.warning("actions run as child processes, and nothing keeps a hostile one from this user's files")
    async with asyncio.TaskGroup() as runtime.tasks:  # only now, for a group wraps what is raised on entering
        try:
            yield runtime
        finally:
            await runtime.close()


class ProcessRuntime(ContainerRuntime):
    """Starts containers by way of the supervisor. Owns the supervisor, and its successor should it be killed."""

    tasks: asyncio.TaskGroup
    """Where the one task runs that there may be: the start of another supervisor."""

    def __init__(self, settings: ProcessSettings, interpreters: Mapping[str, Interpreter]) -> None:
        """`interpreters` are by family."""
        self._settings = settings
        self._interpreters = interpreters
        own = [str(Path(each.command[0]).parent) for each in interpreters.values()]
        self._environment = {"PATH": os.pathsep.join(dict.fromkeys((*own, *SEARCHED))), "LANG": "C.UTF-8"}
        self._numbers = itertools.count(1)
        self._names: set[str] = set()  # of containers of which something may be left
        self._supervisor: SupervisorClient | None = None
        self._replacing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the supervisor, which removes what an earlier one may have left."""
        self._supervisor = await SupervisorClient.start(self._settings, self._on_death)

    async def close(self) -> None:
        """Remove every container, and the supervisor."""
        while self._replacing is not None:
            await asyncio.wait({self._replacing})
        if not await self._dismiss():  # it was killed on the way: another ends what it left
            await self._replace(None)
            await self._dismiss()

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`."""
        kinds = [(family, *each) for family, found in self._interpreters.items() for each in enumerate(found.kinds)]
        return Runtimes([Runtime(kind=kind, family=family, default=at == 0) for family, at, kind in kinds])

    async def create(self, spec: ContainerSpec, output: Output) -> ProcessContainer:
        """See `ContainerRuntime`. Takes one round trip to the supervisor.

        Any kind of a family runs with the interpreter that there is, such as `python:3.9` with any other Python.
        """
        interpreter = self._interpreters.get(spec.runtime.family)
        if interpreter is None:
            kinds = ", ".join(runtime.kind for runtime in self.runtimes())
            raise StartFailed(f"nothing on this machine runs actions of kind {spec.runtime.kind!r}; it runs {kinds}")
        supervisor = await self._living()
        if spec.name in self._names:
            raise StartFailed(f"there is a container {spec.name} already")
        self._names.add(spec.name)
        number, own = next(self._numbers), self._settings
        limits = (spec.memory, own.processes, own.open_files, int(own.file_size))
        order = StartChild(number, interpreter.command, {**self._environment, **spec.environment}, *limits)
        container = ProcessContainer(spec.name, number, supervisor, output, self._names.discard)
        try:
            await container.start(order)
        except BaseException:
            await container.remove()
            raise
        return container

    async def _living(self) -> SupervisorClient:
        """Return a supervisor that lives; start one if the last was killed and its successor failed to start."""
        if self._supervisor is None:
            if self._replacing is None:
                self._replacing = self.tasks.create_task(self._replace(None), name="supervisor")
            await asyncio.wait({self._replacing})
        if self._supervisor is None:
            raise StartFailed("no supervisor could be started, which the log explains")
        return self._supervisor

    async def _dismiss(self) -> bool:
        supervisor, self._supervisor = self._supervisor, None
        return supervisor is None or await supervisor.dismiss()

    def _on_death(self) -> None:
        """Start another supervisor at once, for the first thing it does is to end what the dead one has left."""
        dead, self._supervisor = self._supervisor, None
        lost = len(dead.containers) if dead is not None else 0
        logger.error("the supervisor was killed: %d containers are lost, another supervisor is started", lost)
        self._replacing = self.tasks.create_task(self._replace(dead), name="supervisor")

    async def _replace(self, dead: SupervisorClient | None) -> None:
        try:
            if dead is not None:
                await dead.left()
            await self.open()
        except (SettingsError, StartFailed) as error:
            logger.error("another supervisor could not be started: %s", error)  # noqa: TRY400 (the message says all)
        finally:
            self._replacing = None
            if dead is not None:
                dead.abandon()


async def installed(settings: ProcessSettings) -> dict[str, Interpreter]:
    """Look for the interpreters that the settings name, and else for the usual ones; return them by family.

    Raises:
        SettingsError: one that the settings name isn't there or doesn't work; or there is no Python.
    """
    # The base interpreter: the one of a virtual environment would find the invoker's packages.
    python = settings.python or getattr(sys, "_base_executable", None) or sys.executable
    path, major, minor = await _ask("python", python, "-I", "-S", "-c", _PYTHON_ANSWER)
    command = [path, "-I", "-S", str(PROXIES / "python.py"), *ARGUMENTS]
    found = {"python": Interpreter(command, (f"python:{major}", f"python:{major}.{minor}"))}
    if nodejs := settings.nodejs or shutil.which("node"):
        try:
            path, major, _ = await _ask("nodejs", nodejs, "-p", _NODEJS_ANSWER)
            found["nodejs"] = Interpreter([path, str(PROXIES / "nodejs.js"), *ARGUMENTS], (f"nodejs:{major}",))
        except SettingsError as error:
            if settings.nodejs is not None:
                raise
            logger.info("no Node.js actions: %s", error)
    return found


async def _ask(setting: str, path: Path | str, *question: str) -> tuple[str, str, str]:
    """Ask an interpreter for its own path, which for a version manager's shim is another, and its version."""
    try:
        asked = await asyncio.to_thread(
            subprocess.run, [path, *question], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_PATIENCE
        )
    except OSError as error:
        raise SettingsError([f"process.{setting}: {path} can't be run: {error.strerror or error}"]) from error
    except subprocess.TimeoutExpired as error:
        raise SettingsError([f"process.{setting}: {path} gives no answer"]) from error
    if (match := _ANSWER.fullmatch(os.fsdecode(asked.stdout))) is None:
        raise SettingsError([f"process.{setting}: {path} doesn't tell its version"])
    return match["path"], match["major"], match["minor"]
