"""`invoker check`: is each configured part there, and what to do if it isn't."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

import click
import msgspec
from rich.text import Text

from invoker.app import kinds_of, verify
from invoker.cli.local import Nobody
from invoker.cli.operators import ask, operators_url
from invoker.cli.program import CommandLine, run_loop
from invoker.cli.terminal import json_option, show_json, show_table
from invoker.config import (
    LogsSettings,
    NodeSettings,
    PoolSettings,
    RolesSettings,
    RuntimesSettings,
    Settings,
    node_of,
)
from invoker.entities.function import FunctionRef
from invoker.errors import ContainerError, FunctionNotFound, InvokerError, Occupied
from invoker.plugins import Plugins

_PATIENCE = 15.0
"""Seconds for each part."""


class Finding(msgspec.Struct, frozen=True):
    """How one part is."""

    part: str
    plugin: str
    ok: bool
    text: str
    warnings: tuple[str, ...] = ()
    """What was logged as a warning, or worse, while it was open."""


class RuntimeFails(ContainerError):
    """What starts containers is there, and can't start any now: `faults` says why."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class Warnings(logging.Handler):
    """Keeps the text of each warning, once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        text = record.getMessage()
        if text not in self.texts:
            self.texts.append(text)


@click.command()
@json_option
@click.pass_obj
def check(program: CommandLine, *, as_json: bool) -> None:
    """Open each configured part in turn, as `run` would, and say what is wrong with it.

    What a part warns of as it opens is shown below it, and is no failure. Neither is what can't be opened a second
    time because this very invoker runs here: how it is, its page `/readyz` knows.

    Exit codes: 0 all parts work, 1 one or more do not.
    """
    findings = run_loop(_findings(program))
    if as_json:
        show_json(findings)
    else:
        show_table(
            ("", "PART", "PLUGIN", "FINDING"),
            [row for one in findings for row in _rows(one)],
        )
    if not all(one.ok for one in findings):
        sys.exit(1)


def _rows(finding: Finding) -> Iterator[Sequence[str | Text]]:
    yield "ok" if finding.ok else "FAILS", finding.part, finding.plugin, finding.text
    for text in finding.warnings:
        yield "", "", "", Text(f"warning: {text}", style="yellow")


async def _findings(program: CommandLine) -> Sequence[Finding]:
    plugins, settings = program.plugins, program.settings
    roles = settings[RolesSettings]
    verify(settings)
    itself = await asyncio.to_thread(_itself, program)
    parts: list[tuple[str, str, Callable[[], AbstractAsyncContextManager[str]]]] = [
        ("activations", roles.activations, lambda: _records(plugins, settings)),
        ("functions", roles.functions, lambda: _functions(plugins, settings)),
        ("runtime", roles.runtime, lambda: _runtime(plugins, settings)),
        ("logs", settings[LogsSettings].plugin, lambda: _logs(plugins, settings)),
    ]
    findings = [await _look(part, plugin, entering(), itself) for part, plugin, entering in parts]
    for name, opening in plugins.transports(settings, Nobody(), Nobody()):
        findings.append(await _look("transports", name, _listening(opening), itself))
    return findings


def _itself(program: CommandLine) -> int | None:
    """Return the process that serves operators where this invoker would, if it is this very invoker."""
    settings = program.settings
    name = str(node_of(settings[NodeSettings], settings[PoolSettings]))
    try:
        info = msgspec.json.decode(ask(operators_url(program), "info"), type=dict[str, object])
    except (click.ClickException, msgspec.MsgspecError):
        return None
    process = info.get("process")
    return process if info.get("name") == name and isinstance(process, int) else None


async def _look(part: str, plugin: str, entering: AbstractAsyncContextManager[str], itself: int | None) -> Finding:
    with _warnings() as warnings:
        ok, text = await _outcome(entering, itself)
    return Finding(part, plugin, ok, text, tuple(warnings.texts))


async def _outcome(entering: AbstractAsyncContextManager[str], itself: int | None) -> tuple[bool, str]:
    try:
        async with asyncio.timeout(_PATIENCE), entering as text:
            return True, text
    except TimeoutError:
        return False, f"no answer within {_PATIENCE:g} s"
    except (InvokerError, OSError) as error:
        if itself is not None and isinstance(error, Occupied) and error.holder in (None, itself):
            return True, f"this invoker runs here (process {itself})"
        return False, str(error)


@contextmanager
def _warnings() -> Iterator[Warnings]:
    """Keep what is logged by whomever: a part may consist of several plugins, one around the other."""
    kept = Warnings()
    root = logging.getLogger()
    root.addHandler(kept)
    try:
        yield kept
    finally:
        root.removeHandler(kept)


@asynccontextmanager
async def _records(plugins: Plugins, settings: Settings) -> AsyncIterator[str]:
    async with plugins.activation_store(settings) as store:
        await store.put_many([])
        yield "takes records"


@asynccontextmanager
async def _functions(plugins: Plugins, settings: Settings) -> AsyncIterator[str]:
    async with plugins.function_store(settings) as store:
        try:
            await store.fetch(FunctionRef("invoker", "check"), exact=False)
        except FunctionNotFound:
            yield "answers"
        else:
            yield "answers"


@asynccontextmanager
async def _runtime(plugins: Plugins, settings: Settings) -> AsyncIterator[str]:
    async with plugins.container_runtime(settings) as runtime:
        if faults := runtime.faults():
            raise RuntimeFails(faults)
        kinds = ", ".join(sorted(each.kind for each in await kinds_of(settings, runtime)))
        if kinds:
            yield f"runs {kinds}"
        elif settings[RuntimesSettings].manifest is None:
            yield "ready; its kinds come from runtimes.manifest"
        else:
            yield "runs the images of runtimes.manifest, and no kind"


@asynccontextmanager
async def _logs(plugins: Plugins, settings: Settings) -> AsyncIterator[str]:
    async with plugins.log_extractor(settings):
        yield "ready"


@asynccontextmanager
async def _listening(opening: AbstractAsyncContextManager[object]) -> AsyncIterator[str]:
    async with opening:
        yield "can listen"
