"""`invoker check`: is each configured part there, and what to do if it isn't."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import suppress

import click
import msgspec
from rich.text import Text

from invoker.app import kinds_of, verify
from invoker.cli.operators import ask, operators_url
from invoker.cli.program import CommandLine, run_loop
from invoker.cli.terminal import json_option, show_table, tell
from invoker.config import LogsSettings, NodeSettings, PoolSettings, RolesSettings, RuntimesSettings, Settings, node_of
from invoker.contracts import NO_CONTEXT, Admitted, Opening, Part
from invoker.entities.function import FunctionRef
from invoker.errors import ContainerError, Draining, FunctionNotFound, InvokerError, Occupied
from invoker.plugins import Plugins

_PATIENCE = 15.0  # seconds for each part


class Finding(msgspec.Struct, frozen=True):
    """How one part is."""

    part: str
    plugin: str
    ok: bool
    text: str
    warnings: tuple[str, ...] = ()
    """What was logged as a warning, or worse, while it was open."""


@click.command()
@json_option
@click.pass_obj
def check(program: CommandLine, *, as_json: bool) -> None:
    """Open each configured part in turn, as `run` would, and say what is wrong with it. Nothing is changed.

    What a part warns of as it opens is shown below it, and is no failure. Neither is what can't be opened a second
    time because this very invoker runs here: how it is, its page `/readyz` knows.

    Exit codes: 0 all parts work, 1 one or more do not.
    """
    findings = run_loop(_findings(program))
    rows = [row for one in findings for row in _rows(one)]
    tell(findings, lambda: show_table(("", "PART", "PLUGIN", "FINDING"), rows), as_json=as_json)
    if not all(one.ok for one in findings):
        sys.exit(1)


def _rows(finding: Finding) -> Iterator[Sequence[str | Text]]:
    yield "ok" if finding.ok else "FAILS", finding.part, finding.plugin, finding.text
    for text in finding.warnings:
        yield "", "", "", Text(f"warning: {text}", style="yellow")


async def _findings(program: CommandLine) -> Sequence[Finding]:
    plugins, settings = program.plugins, program.settings.for_a_look()
    roles = settings[RolesSettings]
    verify(settings)
    itself = await asyncio.to_thread(_itself, program)
    findings = [
        await _look("activations", roles.activations, _records(plugins, settings), itself),
        await _look("functions", roles.functions, _functions(plugins, settings), itself),
        await _look("runtime", roles.runtime, _runtime(plugins, settings), itself),
        await _look("logs", settings[LogsSettings].plugin, _opens(plugins.log_extractor(settings), "ready"), itself),
    ]
    for name, opening in plugins.transports(settings, Nobody(), Nobody()):
        findings.append(await _look("transports", name, _opens(opening, "can listen"), itself))
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


async def _look(part: str, plugin: str, looking: Awaitable[str], itself: int | None) -> Finding:
    warnings, root = Warnings(), logging.getLogger()
    root.addHandler(warnings)
    try:
        async with asyncio.timeout(_PATIENCE):
            ok, text = True, await looking
    except TimeoutError:
        ok, text = False, f"no answer within {_PATIENCE:g} s"
    except (InvokerError, OSError) as error:
        ok, text = False, str(error)
        if itself is not None and isinstance(error, Occupied) and error.holder in (None, itself):
            ok, text = True, f"this invoker runs here (process {itself})"
    finally:
        root.removeHandler(warnings)
    return Finding(part, plugin, ok, text, tuple(warnings.texts))


class Warnings(logging.Handler):
    """Keeps what is logged as a warning, by whomever: a part may consist of several plugins, one around the other."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of one, once."""
        self.texts[record.getMessage()] = None


async def _records(plugins: Plugins, settings: Settings) -> str:
    async with plugins.activation_store(settings) as store:
        await store.put_many([])
        return "takes records"


async def _functions(plugins: Plugins, settings: Settings) -> str:
    async with plugins.function_store(settings) as store:
        with suppress(FunctionNotFound):
            await store.fetch(FunctionRef("invoker", "check"), exact=False)
        return "answers"


async def _runtime(plugins: Plugins, settings: Settings) -> str:
    async with plugins.container_runtime(settings) as runtime:
        if faults := runtime.faults():
            raise ContainerError("; ".join(faults))
        kinds = ", ".join(sorted(each.kind for each in await kinds_of(settings, runtime)))
        if kinds:
            return f"runs {kinds}"
        if settings[RuntimesSettings].manifest is None:
            return "ready; its kinds come from runtimes.manifest"
        return "runs the images of runtimes.manifest, and no kind"


async def _opens(opening: Opening[Part], text: str) -> str:
    async with opening:
        return text


class Nobody:
    """An intake that is not at home and operations that know nothing: for opening a door just to see that it opens."""

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str] = NO_CONTEXT) -> Admitted:  # noqa: ARG002 (whatever it is)
        """See `Intake.admit`: turns everything away."""
        raise Draining

    def invoke(self, *_: object, **__: object) -> None:
        """See `Intake`: nothing is admitted, and nothing need be counted."""

    reserve = release = invoke

    async def room(self, size: int) -> None:  # noqa: ARG002 (there is none for any)
        """See `Intake.room`."""
        raise Draining

    def draining(self) -> bool:
        """See `Operations.draining`."""
        return True

    def faults(self) -> Sequence[str]:
        """See `Operations.faults`."""
        return ["this is only a check"]

    def metrics(self) -> bytes:
        """See `Operations.metrics`."""
        return b""

    def info(self) -> Mapping[str, object]:
        """See `Operations.info`."""
        return {}

    pool = info
