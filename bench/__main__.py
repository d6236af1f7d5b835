"""`python -m bench`: everything, or what is named. Exit code 1 if any answer was wrong."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, TypeAlias

from bench import backlog, burst, cold, logs, machine, overhead, path, profile, records, rotate, soak, stop, thrash
from bench.docker import pause
from bench.docker.cold import measure as measure_docker_cold
from bench.docker.engine import default_url
from bench.docker.ground import DockerGround
from bench.docker.logs import measure as measure_docker_logs
from bench.ground import PROXIES, Ground, ProcessGround
from bench.report import Report, progress

_TERMINATED: Final = 128 + signal.SIGTERM

Measure: TypeAlias = Callable[[Report, Ground, argparse.Namespace], None]


def _http(report: Report, ground: Ground, options: argparse.Namespace) -> None:
    for proxy in _proxies(options):
        overhead.measure(report, overhead.Plan.of(proxy, quick=options.quick), ground)


def _rotate(report: Report, ground: Ground, options: argparse.Namespace) -> None:
    for proxy in _proxies(options):
        rotate.measure(report, ground, quick=options.quick, proxy=proxy)


def _proxies(options: argparse.Namespace) -> tuple[str, ...]:
    return (options.proxy,) if options.proxy else ("python",) if options.quick else ("python", "instant")


def _cold(report: Report, ground: Ground, options: argparse.Namespace) -> None:
    if isinstance(ground, DockerGround):
        measure_docker_cold(report, ground, quick=options.quick)
    else:
        cold.measure(report, quick=options.quick)


def _logs(report: Report, ground: Ground, options: argparse.Namespace) -> None:
    if isinstance(ground, DockerGround):
        measure_docker_logs(report, ground, quick=options.quick)
    else:
        logs.measure(report, quick=options.quick)


def _pause(report: Report, ground: Ground, options: argparse.Namespace) -> None:
    if isinstance(ground, DockerGround):
        pause.measure(report, ground, quick=options.quick)
    else:
        progress("pause: left out, child processes are not paused")


def _soak(report: Report, ground: Ground, options: argparse.Namespace) -> None:
    seconds = options.seconds if not options.quick else min(options.seconds, 10)
    soak.measure(report, soak.Plan(seconds, options.clients, options.actions), ground)


MEASUREMENTS: Final[dict[str, Measure]] = {
    "http": _http,
    "cold": _cold,
    "records": lambda report, _, options: records.measure(report, quick=options.quick),
    "logs": _logs,
    "pause": _pause,
    "burst": lambda report, ground, options: burst.measure(report, burst.Plan.of(quick=options.quick), ground),
    "rotate": _rotate,
    "thrash": lambda report, ground, options: thrash.measure(report, ground, quick=options.quick),
    "stop": lambda report, ground, options: stop.measure(report, ground, quick=options.quick),
    "soak": _soak,
    "backlog": lambda report, _, options: backlog.measure(report, quick=options.quick),
    "path": lambda report, _, options: path.measure(report, quick=options.quick),
    "profile": lambda report, ground, options: profile.measure(report, ground, quick=options.quick),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(MEASUREMENTS)}; by default all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a minute for http")
    parser.add_argument(
        "--runtime", choices=("process", "docker"), default="process", help="what actions run in (default: %(default)s)"
    )
    parser.add_argument(
        "--engine", default=default_url(), help="docker: where the engine listens (default: %(default)s)"
    )
    parser.add_argument(
        "--proxy",
        choices=PROXIES,
        help="http, rotate: the action proxy; by default python, then instant; python alone with --quick",
    )
    parser.add_argument("--seconds", type=float, default=60, help="soak: how long (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=64, help="soak: how many (default: %(default)s)")
    parser.add_argument("--actions", type=int, default=4, help="soak: how many they share (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here, too")
    options = parser.parse_args()
    unknown = set(options.what) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there is {', '.join(MEASUREMENTS)}")
    return options


def _ground(options: argparse.Namespace) -> AbstractContextManager[Ground]:
    return DockerGround(options.engine) if options.runtime == "docker" else nullcontext(ProcessGround())


def main() -> int:
    """Measure what is asked for."""
    machine.require_linux()
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # by way of every `with`: nothing is left
    machine.pin(os.getpid(), machine.INVOKER_CORE)  # idle while rounds run
    report = Report(machine={**machine.description(), "runtime": options.runtime})
    report.show_machine()
    with _ground(options) as ground:
        for name in options.what or MEASUREMENTS:
            MEASUREMENTS[name](report, ground, options)
    if options.json is not None:
        report.save(options.json)
    return report.conclude()


if __name__ == "__main__":
    sys.exit(main())
