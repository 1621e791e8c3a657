"""The pages behind the rows: a coin, a flush, an instance, a caller."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from textual.widget import Widget

from monitor import lines, tables
from monitor.rows import BatchRow, CallerRow, CoinRow, EventRow, FlushedBatchRow, FlushRow, InstanceRow
from monitor.screens.page import Page
from monitor.screens.picture import Desk, Picture
from monitor.tables import Table
from monitor.text import (
    ACCENT,
    BAD,
    FAINT,
    QUIET,
    WARN,
    Cell,
    bar_cell,
    clean,
    exact_time,
    memory,
    milliseconds,
    name,
    number,
    seconds,
    spark,
)
from monitor.widgets.drawn import Drawn
from monitor.widgets.filter_line import FilterLine

_MOST_BATCHES = 5


def page_of(desk: Desk, row: Any) -> Page | None:
    """The page of a row of any table."""
    match row:
        case BatchRow() | CoinRow() | FlushedBatchRow():
            return CoinPage(desk, row.coin_id)
        case FlushRow():
            return FlushPage(desk, row)
        case InstanceRow():
            return InstancePage(desk, row.name)
        case CallerRow():
            return CallerPage(desk, row)
        case EventRow():
            return InstancePage(desk, row.instance)
    return None


class _FactsPage(Page):
    """Facts above a table."""

    def __init__(self, desk: Desk, title: str, table: Table[Any]) -> None:
        super().__init__(desk)
        self._title = title
        self._table = table

    def content(self) -> Iterable[Widget]:
        """Facts, and the table below."""
        yield Drawn(widget_id="facts", title=clean(self._title[:60]).replace("[", r"\["), classes="box")
        yield FilterLine()
        yield Drawn(widget_id="below")
        yield self.table_of(self._table)

    def tell(self, facts: list[Cell], rows: Iterable[Any]) -> None:
        """Show both."""
        self.drawn("facts").show(lambda _width: lines.joined(facts))
        self.drawn("facts").styles.height = len(facts) + 2
        self.table.show(list(rows))
        self.filtered()

    def filtered(self) -> None:
        """Count the rows."""
        count = f"{self._table.title} {number(len(self.table.shown))}"
        self.drawn("below").show(lambda _width: lines.joined([((count, QUIET),)]))

    @property
    def room(self) -> int:
        """The width of a line of facts."""
        return max(40, self.drawn("facts").content_size.width)


class CoinPage(_FactsPage):
    """One coin: its price, its batches, the flushes that carried it."""

    def __init__(self, desk: Desk, coin_id: str) -> None:
        table = replace(tables.FLUSHES, name="coin", title="Its flushes", empty="No flush with this coin is known.")
        super().__init__(desk, coin_id, table)
        self._coin_id = coin_id

    def show(self, picture: Picture) -> None:
        """Fill the page."""
        coin = next((coin for coin in picture.coins() if coin.coin_id == self._coin_id), None)
        batches = [batch for batch in picture.batches() if batch.coin_id == self._coin_id]
        known = [*_coin_facts(coin or next(iter(batches), None)), *_batch_facts(batches)]
        self.tell(lines.facts(known), (row for row in picture.flushes() if self._coin_id in row.coins))


def _coin_facts(coin: CoinRow | BatchRow | None) -> list[tuple[str, Cell]]:
    if coin is None:
        return [("price", (("nobody asked for it lately", QUIET),))]
    age = (("   fetched ", QUIET), (seconds(coin.price_age_s), ""), (" ago", QUIET))
    rate: Cell = ((spark(coin.requests_line, 12), ACCENT), (f"  {number(coin.per_minute)}", ""), (" a minute", QUIET))
    return [("price", (*tables.price_cell(coin), *(age if coin.price else ()))), ("requests", rate)]


def _batch_facts(batches: list[BatchRow]) -> list[tuple[str, Cell]]:
    """The coin's open and claimed batches, a line each."""
    if not batches:
        return [("batches", (("none: nobody waits", QUIET),))]
    labels = ["batches", *[""] * (_MOST_BATCHES - 1)]
    return [(label, _batch(batch)) for label, batch in zip(labels, batches[:_MOST_BATCHES], strict=False)]


def _batch(batch: BatchRow) -> Cell:
    flusher: Cell = (("  by ", QUIET), name(batch.flusher)) if batch.flusher else ()
    return (
        (f"{number(batch.waiting)}/{number(batch.threshold)}", ""), (" wait, the first for ", QUIET),
        (seconds(batch.oldest_s), ""), ("   ", ""), *tables.flush_in(batch), *flusher,
    )  # fmt: skip


class FlushPage(_FactsPage):
    """The anatomy of one flush."""

    def __init__(self, desk: Desk, row: FlushRow) -> None:
        super().__init__(desk, f"Flush of {exact_time(row.at_ms)}", tables.FLUSHED_BATCHES)
        self._row = row

    def show(self, picture: Picture) -> None:
        """Fill the page; a flush that is forgotten meanwhile stays as it was."""
        row = self._row = next((row for row in picture.flushes() if row.key == self._row.key), self._row)
        known: list[tuple[str, Cell]] = [
            ("outcome", (*tables.outcome(row), ("   by ", QUIET), name(row.instance), ("   trigger ", QUIET),
                         name(row.trigger))),
            ("carried", ((number(row.requests), ""), (" requests for ", QUIET), *tables.coins_of(row, "coins: "))),
        ]  # fmt: skip
        steps = lines.anatomy(row, self.room)
        self.tell([*lines.facts(known), (("", ""),), *steps], picture.flushed_batches(row.key) or self.table.shown)


class InstancePage(_FactsPage):
    """One instance: its figures, what it flushes now, and what it flushed."""

    def __init__(self, desk: Desk, instance: str) -> None:
        table = replace(tables.FLUSHES, name="instance", title="Its flushes", empty="No flush of it is known.")
        super().__init__(desk, instance, table)
        self._name = instance

    def show(self, picture: Picture) -> None:
        """Fill the page."""
        row = next((row for row in picture.instances() if row.name == self._name), None)
        mine = [batch for batch in picture.batches() if batch.flusher == self._name]
        facts = lines.facts(_instance_facts(row, mine))
        self.tell(facts, (row for row in picture.flushes() if row.instance == self._name))


def _instance_facts(row: InstanceRow | None, batches: list[BatchRow]) -> list[tuple[str, Cell]]:
    if row is None:
        return [("state", (("it is not heard of any more", QUIET),))]
    failed = BAD if row.failed else ""
    coins = ", ".join(batch.coin_id for batch in batches[:20])
    return [
        ("state", (tables.CONDITIONS[row.condition], ("  for ", QUIET), (seconds(row.uptime_s), ""),
                   (", heard ", QUIET), (seconds(row.heard_s_ago), ""), (" ago", QUIET))),
        ("requests", ((number(row.requests), ""), ("  answered ", QUIET), (number(row.answered), ""),
                      ("  failed ", QUIET), (number(row.failed), failed), ("  waiting ", QUIET),
                      (number(row.waiting), ""), ("  calls ", QUIET), (number(row.calls), ""))),
        ("process", (("lag ", QUIET), (milliseconds(row.lag_ms), ""), ("  memory ", QUIET),
                     (memory(row.memory_bytes), ""), ("  outbox ", QUIET),
                     ("-" if row.outbox is None else number(row.outbox), ""), ("  messages lost ", QUIET),
                     (number(row.gaps), WARN if row.gaps else ""))),
        ("flushes", (name(coins),) if coins else (("nothing at this moment", FAINT),)),
    ]  # fmt: skip


class CallerPage(_FactsPage):
    """One caller's numbers, and what was said of it."""

    def __init__(self, desk: Desk, row: CallerRow) -> None:
        table = replace(tables.EVENTS, name="caller", title="What was said of it", empty="Nothing was said of it yet.")
        super().__init__(desk, row.caller, table)
        self._row = row

    def show(self, picture: Picture) -> None:
        """Fill the page; a caller that is forgotten meanwhile stays as it was."""
        row = self._row = next((row for row in picture.callers() if row.caller == self._row.caller), self._row)
        sign, style = tables.limit_state(row)
        left: Cell = (
            *bar_cell(tables.left_of(row), 20, style),
            (f" {number(row.remaining)}/{number(row.limit)}  ", ""),
        )
        known: list[tuple[str, Cell]] = [
            ("left", (*left, (sign, style))),
            ("reset", (("in ", QUIET), (seconds(row.reset_s), ""))),
            (
                "refused",
                ((number(row.refused), BAD if row.refused else ""), (" times since this monitor watches", QUIET)),
            ),
        ]
        self.tell(lines.facts(known), (event for event in picture.events() if row.caller in event.text))
