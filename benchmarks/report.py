"""What benchmarks hand in, and how it is written down: Markdown with pictures, and raw JSON beside it.

write(Report(began_at, machine, [section]), Path("report"))
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.figures import Spread
from benchmarks.machine import Machine, described

_NONE = "-"


class Table(msgspec.Struct, frozen=True):
    """Rows under a head; every cell is a text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def __str__(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{table}" if self.title else table


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark has to say."""

    name: str
    text: str
    headline: str  # one line for the terminal
    tables: Sequence[Table]
    raw: Any
    pictures: Mapping[str, str] = {}  # {what it shows: SVG}

    def __str__(self) -> str:
        shown = [f"![{what}]({file_of(what)})" for what in self.pictures]
        return "\n\n".join([f"## {self.name.capitalize()}", self.text, *shown, *map(str, self.tables)])


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    began_at: datetime
    took_s: float
    arguments: str
    machine: Machine
    sections: Sequence[Section]

    def __str__(self) -> str:
        began = f"{self.began_at:%d %B %Y, %H:%M} UTC"
        how = f"`make bench{self.arguments}`, begun {began}, took {self.took_s / 60:.0f} minutes."
        trust = "Compare within this run only: medians and ratios, never a number alone with one from another machine."
        return "\n\n".join(["# What was measured", f"{how} {trust}", described(self.machine), *map(str, self.sections)])


def write(report: Report, folder: Path) -> Path:
    """Put everything into a folder; where the text is."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "report.md"
    text.write_text(f"{report}\n", encoding="utf-8")
    for section in report.sections:
        raw = {"began_at": report.began_at, "machine": report.machine, "raw": section.raw}
        # Compact but for one line a benchmark: it is read by programs.
        (folder / f"{section.name}.json").write_bytes(msgspec.json.encode(raw) + b"\n")
        for what, svg in section.pictures.items():
            (folder / file_of(what)).write_text(svg, encoding="utf-8")
    return text


def file_of(what: str) -> str:
    """The name of the file with a picture of this."""
    return f"{what.lower().replace(',', '').replace(' ', '-')}.svg"


def number(value: float | None, form: str = ".0f") -> str:
    """A figure, or a dash where there is none."""
    return _NONE if value is None else format(value, form)


def quantiles(spread: Spread | None, form: str = ".0f") -> str:
    """p50, p95, p99 and max."""
    return " / ".join(number(getattr(spread, name, None), form) for name in ("p50", "p95", "p99", "max"))
