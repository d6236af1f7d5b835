"""`python -m bench`: everything, or what is named. Exit code 1 if any answer was wrong."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import cold, logs, machine, overhead, path, profile, records, soak
from bench.report import Report
from bench.target import PROXIES


def _http(report: Report, options: argparse.Namespace) -> None:
    proxies = (options.proxy,) if options.proxy else ("python",) if options.quick else ("python", "instant")
    for proxy in proxies:
        overhead.measure(report, overhead.Plan.of(proxy, quick=options.quick))


def _soak(report: Report, options: argparse.Namespace) -> None:
    seconds = options.seconds if not options.quick else min(options.seconds, 10)
    soak.measure(report, soak.Plan(seconds, options.clients, options.actions))


MEASUREMENTS: Final[dict[str, Callable[[Report, argparse.Namespace], None]]] = {
    "http": _http,
    "cold": lambda report, options: cold.measure(report, quick=options.quick),
    "records": lambda report, options: records.measure(report, quick=options.quick),
    "logs": lambda report, options: logs.measure(report, quick=options.quick),
    "soak": _soak,
    "path": lambda report, options: path.measure(report, quick=options.quick),
    "profile": lambda report, options: profile.measure(report, quick=options.quick),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(MEASUREMENTS)}; by default all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a minute for http")
    parser.add_argument(
        "--proxy",
        choices=PROXIES,
        help="http: the action proxy; by default python, then instant; python alone with --quick",
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


def main() -> int:
    """Measure what is asked for."""
    machine.require_linux()
    options = _options()
    machine.pin(os.getpid(), machine.INVOKER_CORE)  # idle while rounds run
    report = Report(machine=machine.description())
    report.show_machine()
    for name in options.what or MEASUREMENTS:
        MEASUREMENTS[name](report, options)
    if options.json is not None:
        report.save(options.json)
    return report.conclude()


if __name__ == "__main__":
    sys.exit(main())
