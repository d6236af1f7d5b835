"""`invoker run`: the invoker itself."""

import asyncio
import logging
import resource
import signal
import sys

import click

from invoker.app import Signals, Stopped, serve
from invoker.cli.program import CommandLine, run_loop
from invoker.cli.terminal import FAILED, complain
from invoker.config import TelemetrySettings
from invoker.errors import InvokerError
from invoker.telemetry import LogWriter, log_writing

logger = logging.getLogger("invoker")

BROKEN_OFF, LOST_RECORDS = 3, 4  # exit codes


@click.command()
@click.pass_obj
def run(program: CommandLine) -> None:
    """Take activation messages and run functions until SIGTERM, SIGINT or SIGHUP.

    The first signal stops taking work and lets running functions end, within shutdown.grace; a second one means now.

    Exit codes: 0 everything ended well, 3 activations had to be broken off, 4 activation records were lost.
    """
    with log_writing(_telemetry(program)) as writer:
        try:
            program.settings  # noqa: B018 (read here, so that their faults are in the log)
            _open_many_files()
            stopped = run_loop(_run(program, writer))
        except Exception as error:
            if writer.text:
                raise
            try:
                code = complain(error, logger.error)
            except Exception:
                logger.exception("the invoker broke")
                code = FAILED
            sys.exit(code)
    if stopped.lost_records:
        sys.exit(LOST_RECORDS)
    if stopped.broken_off:
        sys.exit(BROKEN_OFF)


def _telemetry(program: CommandLine) -> TelemetrySettings:
    """Return how to log; as by default, where the settings are of no use."""
    try:
        return program.settings[TelemetrySettings]
    except InvokerError:
        return TelemetrySettings()


def _open_many_files() -> None:
    """Raise the soft limit of open files to the hard one: 1,024, the usual, are gone with as many idle connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        logger.info("open files: up to %d, raised from %d", hard, soft)


async def _run(program: CommandLine, writer: LogWriter) -> Stopped:
    signals = Signals()

    def heard() -> None:
        (signals.now if signals.stop.is_set() else signals.stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the last when a terminal closes
        loop.add_signal_handler(number, heard)
    return await serve(program.plugins, program.settings, signals, writer)
