"""The program's entry: all commands, and what becomes of errors."""

import io
import os
import re
import sys

import click

from invoker.cli.action import action
from invoker.cli.activation import activation
from invoker.cli.check import check
from invoker.cli.configuration import config
from invoker.cli.invoke import invoke
from invoker.cli.listing import plugins, version
from invoker.cli.message import message
from invoker.cli.pool import pool
from invoker.cli.program import CommandLine
from invoker.cli.reap import reap
from invoker.cli.run import run
from invoker.cli.terminal import FAILED, complain

INTERRUPTED = 130
_NO_TEXT = re.compile("[\udc80-\udcff]")  # what Python makes of bytes that are none


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--config", "files", multiple=True, metavar="FILE", help="Settings file; several are layered.")
@click.option("--secrets", metavar="FILE", help="Settings file for what must not be shown.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting, such as pool.memory='4 GB'.")
@click.pass_context
def cli(context: click.Context, files: tuple[str, ...], secrets: str | None, overrides: tuple[str, ...]) -> None:
    """Run functions for an Apache OpenWhisk controller, or right here.

    Without any settings it uses the embedded defaults: functions run in child processes, actions and activation
    records are kept in one SQLite file, messages come in over HTTP on the loopback interface.

    Exit codes: 0 all is well, 1 it did not work, 2 wrong use or settings; `invoke` and `run` have further ones.
    """
    if strange := [word for word in sys.argv if _NO_TEXT.search(word)]:
        raise click.UsageError(f"{strange[0]!r} is no text: arguments must be UTF-8")
    context.obj = CommandLine(files, secrets, overrides)


for command in (run, invoke, message, action, activation, pool, check, reap, plugins, config, version):
    cli.add_command(command)


def main() -> None:
    """Run the command line. Nobody sees a traceback for a mistake of theirs."""
    for stream in (sys.stdout, sys.stderr):  # what the terminal's character set lacks is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `invoker … | head`
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 (what is ours is raised again)
        sys.exit(complain(error))
    finally:
        _forget_readers_that_left()


def _forget_readers_that_left() -> None:
    """Keep the exit code: Python changes it to 120 when what is left in a buffer can't be written at the end."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it, or it was closed
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
