"""What people see: tables and colour on a terminal, plain text in a pipe, JSON when asked for."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from invoker.entities.activation import Activation, Status
from invoker.errors import InvokerError, ModuleMissing, NotSupported, PluginNotInstalled, ProviderCount, SettingsError
from invoker.telemetry.log import shielded

_PIPE_WIDTH = 10_000  # columns where there is no terminal: whoever reads a pipe wants one line for each row

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)

F = TypeVar("F", bound=Callable[..., Any])

FAILED = 1  # exit code: it did not work
MISUSED = 2  # exit code: the command or the settings are wrong
_MISUSES = (SettingsError, PluginNotInstalled, ModuleMissing, ProviderCount, NotSupported)

COLOURS = dict(zip(Status, ("green", "yellow", "red", "magenta"), strict=True))  # from success to our own failures


def json_option(command: F) -> F:
    """Add `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def say(text: str, style: str = "") -> None:
    """Print a line of ours to standard output. `text` is never read as markup."""
    out.print(Text(_shielded(text, sys.stdout), style=style))


def note(text: str, style: str = "") -> None:
    """Print a line of ours to standard error."""
    err.print(Text(_shielded(text, sys.stderr), style=style))


def pass_on(text: str, *, to_errors: bool = False, end: bool = True) -> None:
    """Print what a function's author or the function has written: as it is, but for what would control a terminal."""
    stream = sys.stderr if to_errors else sys.stdout
    if to_errors and stream.isatty():
        note(text, "dim")
    else:
        click.echo(_shielded(text, stream), nl=end, err=to_errors, color=True)  # else it takes colours out of a pipe


def show_json(value: Any) -> None:
    """Print a value as JSON, one line."""
    pass_on(msgspec.json.encode(value, enc_hook=str).decode())


def tell(value: Any, words: str | Callable[[], object], *, as_json: bool) -> None:
    """Print a result: as JSON for programs, or else a sentence, or what a function prints."""
    if as_json:
        show_json(value)
    elif isinstance(words, str):
        say(words)
    else:
        words()


def _shielded(text: str, stream: TextIO) -> str:
    """Return text for a stream: for a terminal without what would control it."""
    return shielded(text) if stream.isatty() else text


def show_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table. Floats are seconds, what is true a yes, `None` and false empty; cells are never read as markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    out.print(table)


def _cell(value: object) -> Text:
    style = value.style if isinstance(value, Text) else ""
    if isinstance(value, bool | None):
        value = "yes" if value else ""
    text = span(value) if isinstance(value, float) else str(value)
    return Text(_shielded(text, sys.stdout), style=style)


def span(seconds: float) -> str:
    """Return a duration in words, no more exact than people want it."""
    for unit, scale in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.0f} {unit}"
    if seconds >= 1:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"  # noqa: PLR2004 (two digits are enough)
    return f"{seconds * 1000:.3g} ms"


def status_text(status: Status) -> Text:
    """Return a status in words and colour."""
    return Text(status.word.replace("_", " "), style=COLOURS[status])


def start_type(activation: Activation) -> str:
    """Return "cold", "warm", or "none" for one that never reached a container: it took no time and gave no answer."""
    if activation.init_time is not None:
        return "cold"
    return "warm" if activation.duration or activation.outcome.size is not None else "none"


def complain(error: Exception, tell: Callable[[str], object] | None = None) -> int:
    """Say what went wrong, each thing once, in red or by `tell`; return the exit code.

    Raises:
        Exception: `error` itself, if it is a fault of ours: whoever reports it needs the traceback.
    """
    found = _leaves(error)
    if not all(isinstance(one, InvokerError | OSError) for one in found):
        raise error
    tell = tell or (lambda text: note(f"error: {text}", "bold red"))
    for text in dict.fromkeys(line for one in found for line in _lines(one)):
        tell(text)
    return MISUSED if all(isinstance(one, _MISUSES) for one in found) else FAILED


def _leaves(error: BaseException) -> list[BaseException]:
    """Return what is inside exception groups, however deep."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _lines(error: BaseException) -> Sequence[str]:
    return error.faults if isinstance(error, SettingsError) else (str(error) or type(error).__name__,)
