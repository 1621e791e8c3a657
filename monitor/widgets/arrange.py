"""Which rows a table shows in which order, and which columns how wide. Pure.

arranged(BATCHES, rows, Sort("WAITING"), "bit"); fitted(BATCHES.columns, 80)
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from monitor.tables import Column, Table
from monitor.text import clean

Row = TypeVar("Row")
Laid = list[tuple[Column[Any], int]]  # columns with their widths

GAP = 2


class Sort(msgspec.Struct, frozen=True):
    """What a table is sorted by; without a column, as the rows come."""

    column: str = ""
    reverse: bool = False


def arranged(table: Table[Row], rows: Sequence[Row], sort: Sort, sought: str) -> list[Row]:
    """The rows in which `sought` occurs, sorted; those without a value come last either way."""
    if sought:
        folded = sought.casefold()
        rows = [row for row in rows if folded in clean(table.words(row)).casefold()]
    column = next((column for column in table.columns if column.title == sort.column), None)
    if column is None:
        return list(reversed(rows)) if sort.reverse else list(rows)
    rank = column.rank
    known = [row for row in rows if rank(row) is not None]
    unknown = [row for row in rows if rank(row) is None] if len(known) < len(rows) else []
    return sorted(known, key=rank, reverse=column.right != sort.reverse) + unknown


def fitted(columns: Sequence[Column[Any]], width: int) -> Laid:
    """The columns for which there is room, the least important left out, what is left over given to those that grow."""
    kept = list(columns)
    while len(kept) > 1 and _needed(kept) > width:
        kept.remove(max(kept, key=lambda column: column.keep))
    widths = [column.width for column in kept]
    for _ in range(width - _needed(kept)):
        growing = [nth for nth, column in enumerate(kept) if widths[nth] < column.most]
        if not growing:
            break
        widths[min(growing, key=lambda nth: widths[nth] - kept[nth].width)] += 1
    return list(zip(kept, widths, strict=True))


def column_at(laid: Laid, x: int) -> str | None:
    """The title of the column at this place, if there is one."""
    for column, width in laid:
        if 0 <= x < width + GAP:
            return column.title
        x -= width + GAP
    return None


def next_sort(laid: Laid, sort: Sort) -> Sort:
    """By the column after the one sorted by; after the last, as the rows come."""
    titles = [column.title for column, _ in laid]
    place = titles.index(sort.column) + 1 if sort.column in titles else 0
    return Sort(titles[place]) if place < len(titles) else Sort()


def clicked_sort(sort: Sort, title: str) -> Sort:
    """By the column that was clicked; the other way round if it is sorted by already."""
    return Sort(title, not sort.reverse) if sort.column == title else Sort(title)


def _needed(columns: Sequence[Column[Any]]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)
