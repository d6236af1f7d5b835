"""Figures beside their floors: medians of alternating rounds and their spread, as a table and as JSON."""

import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

_GAP: Final = "  "


class Figure(msgspec.Struct, frozen=True):
    """What several rounds came to."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the median of rounds and the outermost of them."""
        each = list(values)
        return cls(statistics.median(each), min(each), max(each))

    def __str__(self) -> str:
        """Return the median with its spread."""
        if self.low == self.high:
            return _number(self.median)
        return f"{_number(self.median)} ({_number(self.low)}..{_number(self.high)})"


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measurement."""

    what: str
    unit: str
    ours: Figure
    floor: Figure | None = None
    floor_is: str = ""
    """What the floor was."""
    ratio: Figure | None = None
    """Ours to the floor, round by round."""
    added: Figure | None = None
    """Ours less the floor, round by round; not for what is better when it is more."""
    budget: str = ""


def row(what: str, unit: str, ours: Sequence[float], *, budget: str = "") -> Row:
    """Return a measurement that has no floor."""
    return Row(what=what, unit=unit, ours=Figure.of(ours), budget=budget)


def row_beside(
    what: str, unit: str, ours: Sequence[float], floor: Sequence[float], floor_is: str, *, budget: str = ""
) -> Row:
    """Return a measurement beside its floor; each round of ours is compared with the floor's round before it."""
    pairs = list(zip(ours, floor, strict=True))
    return Row(
        what=what,
        unit=unit,
        ours=Figure.of(ours),
        floor=Figure.of(floor),
        floor_is=floor_is,
        ratio=Figure.of(mine / under for mine, under in pairs),
        added=None if unit.endswith("/s") else Figure.of(mine - under for mine, under in pairs),
        budget=budget,
    )


class Report(msgspec.Struct, kw_only=True):
    """Everything that was measured."""

    machine: Mapping[str, str]
    sections: dict[str, list[Row]] = {}
    notes: dict[str, list[str]] = {}
    wrong: list[str] = []
    """Every wrong answer, or what else must not happen; a run with any counts for nothing."""

    def add(self, section: str, rows: Iterable[Row], notes: Iterable[str] = ()) -> None:
        """Take a section's rows and print them at once: a run may last."""
        new = list(rows)
        said = list(notes)
        self.sections.setdefault(section, []).extend(new)
        self.notes.setdefault(section, []).extend(said)
        print("\n".join(_table(section, new, said)), flush=True)

    def fault(self, section: str, faults: Iterable[str]) -> None:
        """Note wrong answers."""
        for fault in faults:
            self.wrong.append(f"{section}: {fault}")
            print(f"WRONG {section}: {fault}", file=sys.stderr, flush=True)

    def show_machine(self) -> None:
        """Print what figures depend on."""
        print("; ".join(f"{name} {value}" if name != "cpu" else value for name, value in self.machine.items()))
        print("Each figure: median of alternating rounds (lowest..highest). Compare ratios, not machines.", flush=True)

    def conclude(self) -> int:
        """Print the verdict and return the exit code."""
        if self.wrong:
            print(f"\n{len(self.wrong)} wrong: this run counts for nothing")
        else:
            print("\nevery answer was right")
        return 1 if self.wrong else 0

    def save(self, path: Path) -> None:
        """Write all of it as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))


def progress(text: str) -> None:
    """Say what is being done, where it doesn't end up in a table."""
    print(f"... {text}", file=sys.stderr, flush=True)


def _table(section: str, rows: Sequence[Row], notes: Sequence[str]) -> list[str]:
    head = ("", "ours", "floor", "ratio", "added", "unit", "budget")
    cells = [head, *(_cells(one) for one in rows)]
    used = [column for column in range(len(head)) if column == 0 or any(line[column] for line in cells[1:])]
    widths = {column: max(len(line[column]) for line in cells) for column in used}
    lines = [_GAP.join(line[column].ljust(widths[column]) for column in used).rstrip() for line in cells]
    floors = dict.fromkeys(one.floor_is for one in rows if one.floor_is)
    return ["", f"== {section}", *lines, *(f"   floor: {each}" for each in floors), *(f"   {note}" for note in notes)]


def _cells(one: Row) -> tuple[str, ...]:
    figures = (one.ours, one.floor, one.ratio, one.added)
    return (one.what, *("" if figure is None else str(figure) for figure in figures), one.unit, one.budget)


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:  # noqa: PLR2004 (a thousand needs its comma)
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"  # noqa: PLR2004
