"""Which languages this machine runs, and how a proxy of each is started."""

import asyncio
import logging
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import SettingsError, StartFailed
from invoker_process.messages import LISTENER
from invoker_process.settings import ProcessSettings

PROXIES: Final = Path(__file__).parent / "proxies"
ARGUMENTS: Final = ("--fd", str(LISTENER), "--watch-stdin")
SEARCHED: Final = ("/usr/local/bin", "/usr/bin", "/bin")
"""The PATH of actions, after the directories of the interpreters themselves."""
_PATIENCE: Final = 30.0
_PYTHON_ANSWER: Final = "import sys; print(sys.executable, *sys.version_info[:2], sep='\\n')"
_NODEJS_ANSWER: Final = "[process.execPath, ...process.versions.node.split('.')].slice(0, 3).join('\\n')"
_ANSWER: Final = re.compile(r"(?P<path>/.+)\n(?P<major>\d+)\n(?P<minor>\d+)\n")

logger = logging.getLogger("invoker.process")


class Interpreter(NamedTuple):
    """One language."""

    family: str
    command: list[str]
    """How an action proxy is started."""
    kinds: tuple[str, ...]
    """OpenWhisk's names for the version that is there; the first is the family's default."""


class Interpreters:
    """All languages of this machine."""

    def __init__(self, found: Sequence[Interpreter]) -> None:
        self._by_family = {interpreter.family: interpreter for interpreter in found}
        own = [str(Path(interpreter.command[0]).parent) for interpreter in found]
        self.search_path = os.pathsep.join(dict.fromkeys((*own, *SEARCHED)))
        """The PATH of actions."""

    def runtimes(self) -> Runtimes:
        """Return the kinds that can be run."""
        return Runtimes(
            [
                Runtime(kind=kind, family=interpreter.family, default=kind == interpreter.kinds[0])
                for interpreter in self._by_family.values()
                for kind in interpreter.kinds
            ]
        )

    def command(self, runtime: Runtime) -> list[str]:
        """Return how a proxy for any kind of a family is started, such as `python:3.9` with whatever Python there is.

        Raises:
            StartFailed: there is nothing for this family.
        """
        interpreter = self._by_family.get(runtime.family)
        if interpreter is None:
            kinds = ", ".join(kind for each in self._by_family.values() for kind in each.kinds)
            raise StartFailed(f"nothing on this machine runs actions of kind {runtime.kind!r}; it runs {kinds}")
        return interpreter.command


async def installed(settings: ProcessSettings) -> Interpreters:
    """Look for the interpreters that the settings name, and else for the usual ones.

    Raises:
        SettingsError: one that the settings name isn't there or doesn't work; or there is no Python.
    """
    # The base interpreter: the one of a virtual environment would find the invoker's packages.
    python = settings.python or getattr(sys, "_base_executable", None) or sys.executable
    path, major, minor = await _ask("python", python, "-I", "-S", "-c", _PYTHON_ANSWER)
    command = [path, "-I", "-S", str(PROXIES / "python.py"), *ARGUMENTS]
    found = [Interpreter("python", command, (f"python:{major}", f"python:{major}.{minor}"))]
    nodejs = settings.nodejs or shutil.which("node")
    if nodejs is not None:
        try:
            path, major, _ = await _ask("nodejs", nodejs, "-p", _NODEJS_ANSWER)
        except SettingsError as error:
            if settings.nodejs is not None:
                raise
            logger.info("no Node.js actions: %s", error)
        else:
            command = [path, str(PROXIES / "nodejs.js"), *ARGUMENTS]
            found.append(Interpreter("nodejs", command, (f"nodejs:{major}",)))
    return Interpreters(found)


async def _ask(setting: str, path: Path | str, *question: str) -> tuple[str, str, str]:
    """Ask an interpreter for its own path, which for a version manager's shim is another, and its version."""
    try:
        process = await asyncio.create_subprocess_exec(
            path, *question, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise SettingsError([f"process.{setting}: {path} can't be run: {error.strerror or error}"]) from error
    try:
        async with asyncio.timeout(_PATIENCE):
            answer, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise SettingsError([f"process.{setting}: {path} gives no answer"]) from error
    match = _ANSWER.fullmatch(os.fsdecode(answer))
    if match is None:
        raise SettingsError([f"process.{setting}: {path} doesn't tell its version"])
    return match["path"], match["major"], match["minor"]
