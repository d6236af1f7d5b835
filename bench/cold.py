"""`cold`: create, initialise and run, split in phases, beside the bare start of the same interpreter."""

import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench import machine
from bench.floor import Proxy, ask, proxy_command
from bench.ground import MeasuredProcesses, interpreter
from bench.messages import FIRST, direct_run, init, invocation, is_acknowledgement, is_answer_of_run
from bench.report import Report, progress, row, row_beside
from bench.target import Invoker, echoes, folder
from invoker.entities.function import Function

_FLOOR: Final = "fork and exec of the same interpreter with the same proxy, then the same /init and /run"

_PAUSE: Final = 0.2
"""Seconds before each start: what an interpreter does after its first answer (V8 compiles) must not slow the next."""


class _Cold(NamedTuple):
    """One cold start, in milliseconds."""

    whole: float
    wait: float = 0
    init: float = 0
    run: float = 0


class _Annotation(msgspec.Struct):
    key: str
    value: msgspec.Raw


class _Record(msgspec.Struct):
    duration: int
    annotations: list[_Annotation]


class _Ack(msgspec.Struct):
    response: _Record


def measure(report: Report, *, quick: bool) -> None:
    """Measure every language that this machine has."""
    node = shutil.which("node")
    for family, program in (("python", None), ("nodejs", None if node is None else Path(os.path.realpath(node)))):
        section = f"cold start, {family}"
        if family == "nodejs" and program is None:
            progress(f"{section}: left out, there is no node")
            continue
        progress(section)
        with folder() as where:
            chosen = program or interpreter("python", where)
            _measure(report, section, where, proxy_command(chosen, family), family, 5 if quick else 15)


def _measure(report: Report, section: str, where: Path, command: Sequence[str], family: str, rounds: int) -> None:
    invoker = Invoker(where, MeasuredProcesses(where, interpreter("python", where)))
    functions = invoker.put(echoes(rounds + 1, family, "cold"))
    with invoker:
        _ours(report, section, invoker, functions[0], FIRST)  # the first of all finds no file in the page cache
        bare, ours = [], []
        used = [machine.cpu_ns(pid) for pid in invoker.watched]
        for number, function in enumerate(functions[1:], FIRST + 1):
            time.sleep(_PAUSE)
            bare.append(_bare(report, section, command, function, number))
            time.sleep(_PAUSE)
            ours.append(_ours(report, section, invoker, function, number))
        cpu = [(machine.cpu_ns(pid) - before) / rounds / 1e6 for pid, before in zip(invoker.watched, used, strict=True)]
    report.add(
        section,
        [
            row_beside(
                "from the message to its answer", "ms", [one.whole for one in ours], [one.whole for one in bare], _FLOOR
            ),
            row("  waitTime: fetch the action, create the container", "ms", [one.wait for one in ours]),
            row_beside(
                "  initTime: the interpreter boots, /init",
                "ms",
                [one.init for one in ours],
                [one.init for one in bare],
                _FLOOR,
            ),
            row("  the rest of duration: /run", "ms", [one.run for one in ours]),
            row("CPU of the invoker for each", "ms", cpu[:1]),
            row("  and of the supervisor", "ms", cpu[1:]),
        ],
        ["the phases of ours are whole milliseconds: those of the activation's record"],
    )


def _bare(report: Report, section: str, command: Sequence[str], function: Function, number: int) -> _Cold:
    sink = os.open(os.devnull, os.O_WRONLY)
    begun = time.perf_counter()
    proxy = Proxy(command, sink)
    os.close(sink)
    try:
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            ask(connection, init(function))
            initialised = time.perf_counter()
            answer = ask(connection, direct_run(function).render(number))
            ended = time.perf_counter()
    finally:
        proxy.close()
    if not is_answer_of_run(answer, number):
        report.fault(section, [repr(answer[:300])])
    return _Cold(1e3 * (ended - begun), init=1e3 * (initialised - begun), run=1e3 * (ended - initialised))


def _ours(report: Report, section: str, invoker: Invoker, function: Function, number: int) -> _Cold:
    with socket.create_connection(("127.0.0.1", invoker.port)) as connection:
        request = invocation(function).render(number)
        begun = time.perf_counter()
        answer = ask(connection, request)
        ended = time.perf_counter()
    if not is_acknowledgement(answer, number):
        report.fault(section, [repr(answer[:300])])
        return _Cold(1e3 * (ended - begun))
    record = msgspec.json.decode(answer, type=_Ack).response
    found = {each.key: each.value for each in record.annotations}
    started = int(bytes(found.get("initTime", b"0")))
    if "initTime" not in found:
        report.fault(section, ["it was no cold start"])
    return _Cold(1e3 * (ended - begun), int(bytes(found.get("waitTime", b"0"))), started, record.duration - started)
