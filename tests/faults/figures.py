"""What long runs measured: printed as a table, and left as JSON for who quotes it.

    publish("deaths claimed", [{"kills": 50, "p99 s": p99(waits)}])

FAULT_FIGURES names the folder of the JSON; its default is one that git ignores.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

import msgspec

from tests.faults.history import Request
from tests.faults.scale import OVERLOAD_S, RUNS, SEED

Cell = str | int | float

_FOLDER = Path(os.environ.get("FAULT_FIGURES") or ".cryptopulse/faults")


def publish(name: str, rows: Sequence[Mapping[str, Cell]]) -> None:
    """Print a table, and write it under its name."""
    print(f"\n{name}\n{table(rows)}")  # noqa: T201 - for whoever runs it
    _FOLDER.mkdir(parents=True, exist_ok=True)
    told = msgspec.json.encode({"name": name, "runs": RUNS, "overload_s": OVERLOAD_S, "seed": SEED, "rows": rows})
    (_FOLDER / f"{name.replace(' ', '-').replace(',', '')}.json").write_bytes(msgspec.json.format(told))


def table(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Rows of the same columns, as Markdown has them."""
    texts = [list(rows[0]), *([_text(cell) for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = [_line(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in texts]
    return "\n".join([lines[0], _line("-" * width for width in widths), *lines[1:]])


def outcomes(requests: Iterable[Request]) -> Counter[str]:
    """How often each status came, or each mishap where there was none."""
    return Counter(str(request.status or request.mishap) for request in requests)


def told(came_to: Counter[str]) -> str:
    """In one cell."""
    return ", ".join(f"{count} x {outcome}" for outcome, count in sorted(came_to.items()))


def p50(values: Sequence[float]) -> float:
    """The median; 0 of nothing."""
    return median(values) if values else 0.0


def p99(values: Sequence[float]) -> float:
    """What 99 of 100 do not exceed; of a few nearly the largest, 0 of nothing."""
    return quantiles(values, n=100, method="inclusive")[-1] if len(values) > 1 else max(values, default=0.0)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
