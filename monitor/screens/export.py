"""Rows for other programs: the clipboard, CSV, JSON."""

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from monitor.text import clean

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export(folder: Path, name: str, rows: Sequence[Any]) -> list[str]:
    """Write rows as CSV and JSON, and return the names of the files; or raises OSError."""
    stem = f"cryptopulse-{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    (folder / f"{stem}.csv").write_text(as_csv(rows), encoding="utf-8", newline="")
    (folder / f"{stem}.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows)))
    return [f"{stem}.csv", f"{stem}.json"]


def as_csv(rows: Sequence[Any]) -> str:
    """A line of titles, then the rows."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(msgspec.structs.asdict(rows[0]) if rows else [])
    writer.writerows([_csv_value(value) for value in msgspec.structs.asdict(row).values()] for row in rows)
    return text.getvalue()


def one_line(row: Any) -> str:
    """A row for the clipboard, as `coin_id=bitcoin waiting=2`: printable characters only, whatever its names hold."""
    known = ((field, _flat(value)) for field, value in msgspec.structs.asdict(row).items() if field != "key")
    return clean(" ".join(f"{field}={value}" for field, value in known if value))


def _csv_value(value: Any) -> str:
    """A name that looks like a formula is kept from being one: spreadsheets would run it."""
    flat = _flat(value)
    return f"'{flat}" if isinstance(value, str) and flat.startswith(_FORMULA) else flat


def _flat(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
