"""`invoker check`: is each configured part there, and what to do if it isn't."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import click
import msgspec

from invoker.app import verify
from invoker.cli.local import Nobody
from invoker.cli.program import Program, run_loop
from invoker.cli.terminal import json_option, show_json, show_table
from invoker.config import LogsSettings, RolesSettings, Settings
from invoker.entities.function import FunctionRef
from invoker.errors import FunctionNotFound, InvokerError
from invoker.plugins import Plugins

_PATIENCE = 15.0
"""Seconds for each part."""


class Finding(msgspec.Struct, frozen=True):
    """How one part is."""

    part: str
    plugin: str
    ok: bool
    text: str


@click.command()
@json_option
@click.pass_obj
def check(program: Program, *, as_json: bool) -> None:
    """Open each configured part in turn, as `run` would, and say what is wrong with it.

    Exit codes: 0 all parts work, 1 one or more do not.
    """
    findings = run_loop(_findings(program.plugins, program.settings))
    if as_json:
        show_json(findings)
    else:
        show_table(
            ("", "PART", "PLUGIN", "FINDING"),
            [("ok" if one.ok else "FAILS", one.part, one.plugin, one.text) for one in findings],
        )
    if not all(one.ok for one in findings):
        sys.exit(1)


async def _findings(plugins: Plugins, settings: Settings) -> Sequence[Finding]:
    roles = settings[RolesSettings]
    verify(settings)
    parts: list[tuple[str, str, Callable[[], AbstractAsyncContextManager[str]]]] = [
        ("activations", roles.activations, lambda: _records(plugins, settings)),
        ("functions", roles.functions, lambda: _functions(plugins, settings)),
        ("runtime", roles.runtime, lambda: _runtime(plugins, settings)),
        ("logs", settings[LogsSettings].plugin, lambda: _logs(plugins, settings)),
    ]
    findings = [await _look(part, plugin, entering()) for part, plugin, entering in parts]
    for name, opening in plugins.transports(settings, Nobody(), Nobody()):
        findings.append(await _look("transports", name, _listening(opening)))
    return findings


async def _look(part: str, plugin: str, entering: AbstractAsyncContextManager[str]) -> Finding:
    try:
        async with asyncio.timeout(_PATIENCE), entering as text:
            return Finding(part, plugin, ok=True, text=text)
    except TimeoutError:
        return Finding(part, plugin, ok=False, text=f"no answer within {_PATIENCE:g} s")
    except (InvokerError, OSError) as error:
        return Finding(part, plugin, ok=False, text=str(error))


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
        kinds = ", ".join(sorted(each.kind for each in runtime.runtimes()))
        yield f"runs {kinds}" if kinds else "ready; its kinds come from runtimes.manifest"


@asynccontextmanager
async def _logs(plugins: Plugins, settings: Settings) -> AsyncIterator[str]:
    async with plugins.log_extractor(settings):
        yield "ready"


@asynccontextmanager
async def _listening(opening: AbstractAsyncContextManager[None]) -> AsyncIterator[str]:
    async with opening:
        yield "can listen"
