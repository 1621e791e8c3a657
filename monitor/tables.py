"""Every table: its columns, what they say of a row, what they sort by, which of them a narrow terminal keeps. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Generic, TypeVar

from monitor.rows import BatchRow, CallerRow, CoinRow, EventRow, FlushedBatchRow, FlushRow, InstanceRow
from monitor.text import (
    ACCENT,
    BAD,
    FAINT,
    GOOD,
    QUIET,
    WARN,
    Cell,
    bar_cell,
    exact_time,
    memory,
    milliseconds,
    name,
    number,
    price,
    seconds,
    spark,
    time_of_day,
)

Row = TypeVar("Row")
Rank = Callable[[Row], Any]  # something with an order; None has no place in it, and comes last

NEARLY = 0.2  # of a caller's limit: little enough to be looked at
_SLOW_LAG_MS = 100


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column. Numbers stand right, and begin with the largest when sorted by."""

    title: str
    width: int
    cell: Callable[[Row], Cell]
    rank: Rank[Row]
    keep: int = 0  # the column with the highest number is the first to go when there is no room
    right: bool = False
    most: int = 0  # as wide as this where there is room


@dataclass(frozen=True)
class Table(Generic[Row]):
    """What there is to know of one table before it has rows."""

    name: str
    title: str
    empty: str
    columns: tuple[Column[Row], ...]
    key: Callable[[Row], str]
    words: Callable[[Row], str]  # what a filter looks at
    alarm: Callable[[Row], bool]
    newest_first: bool = False  # its top row is nobody's choice: what is newest shows there
    moves: bool = False  # its rows tell times that go on by themselves


def _text(value: str, style: str = "") -> Cell:
    return ((value, style),)


def _count(value: float, style: str = "") -> Cell:
    return ((number(value), style or ("" if value else FAINT)),)


# Batches, and how they flush

_PHASES = {"overdue": ("overdue", WARN), "claimed": ("claimed", ACCENT), "lease ran out": ("lease ran out", BAD)}
_BAR = 8


def flush_in(row: BatchRow) -> Cell:
    """The time until a batch is flushed as a bar, or what keeps it."""
    if row.phase != "open":
        return (_PHASES[row.phase],)
    passed = 1 - row.flush_in_s / max(0.001, row.window_s)
    return (*bar_cell(passed, _BAR, ACCENT), (f" {seconds(row.flush_in_s):>5}", ""))


def _waiting(row: BatchRow) -> Cell:
    full = row.threshold and row.waiting >= row.threshold
    return ((number(row.waiting), WARN if full else ""), (f"/{number(row.threshold)}", QUIET))


def _flusher(row: BatchRow) -> Cell:
    if not row.flusher:
        return _text("-", FAINT)
    return (name(row.flusher),) if row.flusher_is_well else (name(row.flusher, BAD), ("!", BAD))


def price_cell(row: BatchRow | CoinRow) -> Cell:
    """The last price, and which way it went."""
    sign, style = {1: (" ▲", GOOD), 0: ("  ", ""), -1: (" ▼", BAD)}[row.direction]
    return ((price(row.price, row.vs_currency), "" if row.price else FAINT), (sign, style))


def _price_rank(row: BatchRow | CoinRow) -> float | None:
    try:
        return float(row.price)
    except ValueError:
        return None


def _rate(row: BatchRow | CoinRow) -> Cell:
    return ((spark(row.requests_line, 8), ACCENT), (f" {number(row.per_minute):>5}", ""))


_COIN = Column[Any]("COIN", 14, lambda row: (name(row.coin_id),), attrgetter("coin_id"), most=26)
_PRICE = Column[Any]("LAST PRICE", 14, price_cell, _price_rank, keep=3, right=True, most=22)
_AGE = Column[Any](
    "AGE", 6, lambda row: _text(seconds(row.price_age_s), QUIET), attrgetter("price_age_s"), keep=6, right=True
)
_REQUESTS_LINE = Column[Any]("REQ/MIN", 14, _rate, attrgetter("per_minute"), keep=7, right=True)

BATCHES = Table[BatchRow](
    name="batches",
    title="Batches",
    empty="No batch is open: nobody waits.",
    columns=(
        _COIN,
        Column("WAITING", 7, _waiting, attrgetter("waiting"), keep=1, right=True),
        Column(
            "OLDEST", 6, lambda row: _text(seconds(row.oldest_s)), attrgetter("oldest_s"), keep=5, right=True
        ),
        Column("FLUSH IN", 14, flush_in, attrgetter("flush_in_s"), keep=2),
        Column("FLUSHER", 10, _flusher, attrgetter("flusher"), keep=4, most=16),
        Column("TRIGGER", 10, lambda row: (name(row.trigger or "-", "" if row.trigger else FAINT),),
               attrgetter("trigger"), keep=8),
        _PRICE,
        _AGE,
        _REQUESTS_LINE,
    ),
    key=attrgetter("key"),
    words=lambda row: f"{row.coin_id} {row.flusher} {row.trigger} {row.phase}",
    alarm=lambda row: row.phase in ("overdue", "lease ran out") or bool(row.flusher and not row.flusher_is_well),
    moves=True,
)  # fmt: skip

COINS = Table[CoinRow](
    name="coins",
    title="Coins",
    empty="No coin was asked for lately.",
    columns=(
        _COIN,
        replace(_REQUESTS_LINE, keep=2, width=16),
        Column("WAITING", 7, lambda row: _count(row.waiting), attrgetter("waiting"), keep=3, right=True),
        Column("BATCHES", 7, lambda row: _count(row.batches), attrgetter("batches"), keep=5, right=True),
        replace(_PRICE, keep=1, width=18),
        replace(_AGE, keep=4, title="PRICE AGE", width=9),
    ),
    key=attrgetter("coin_id"),
    words=lambda row: f"{row.coin_id} {row.vs_currency}",
    alarm=lambda _row: False,
    moves=True,
)


# Callers and their limits


def left_of(row: CallerRow) -> float:
    """The part of a caller's limit that remains."""
    return row.remaining / max(1, row.limit)


def limit_state(row: CallerRow) -> tuple[str, str]:
    """How a caller stands, as a word with its sign and a colour."""
    if row.remaining <= 0:
        return "✗ over", BAD
    return ("! close", WARN) if left_of(row) <= NEARLY else ("✓ free", GOOD)


def _left(row: CallerRow) -> Cell:
    return (*bar_cell(left_of(row), 10, limit_state(row)[1]), (f" {number(row.remaining)}/{number(row.limit)}", ""))


CALLERS = Table[CallerRow](
    name="limits",
    title="Limits",
    empty="No caller was heard of yet.",
    columns=(
        Column("CALLER", 20, lambda row: (name(row.caller),), attrgetter("caller"), most=44),
        Column("LEFT", 20, _left, left_of, keep=1),
        Column("STATE", 7, lambda row: (limit_state(row),), left_of, keep=2),
        Column("RESET", 6, lambda row: _text(seconds(row.reset_s), QUIET), attrgetter("reset_s"), keep=3, right=True),
        Column("REFUSED", 7, lambda row: _count(row.refused, BAD if row.refused else ""), attrgetter("refused"),
               keep=4, right=True),
    ),
    key=attrgetter("caller"),
    words=attrgetter("caller"),
    alarm=lambda row: left_of(row) <= NEARLY,
    moves=True,
)  # fmt: skip


# Instances

CONDITIONS = {
    "up": ("● up", GOOD),
    "silent": ("○ silent", WARN),
    "draining": ("◐ draining", ACCENT),
    "stopped": ("■ stopped", QUIET),
    "gone": ("✗ gone", BAD),
}


def _lag(row: InstanceRow) -> Cell:
    return _text(milliseconds(row.lag_ms), WARN if row.lag_ms >= _SLOW_LAG_MS else "")


def _outbox(row: InstanceRow) -> Cell:
    return _text("-", FAINT) if row.outbox is None else _count(row.outbox)


INSTANCES = Table[InstanceRow](
    name="instances",
    title="Instances",
    empty="No instance was heard yet.",
    columns=(
        Column("INSTANCE", 14, lambda row: (name(row.name),), attrgetter("name"), most=26),
        Column("STATE", 10, lambda row: (CONDITIONS[row.condition],), attrgetter("condition"), keep=1),
        Column("UP", 6, lambda row: _text(seconds(row.uptime_s)), attrgetter("uptime_s"), keep=9, right=True),
        Column("WAITING", 7, lambda row: _count(row.waiting), attrgetter("waiting"), keep=2, right=True),
        Column("BATCHES", 7, lambda row: _count(row.batches), attrgetter("batches"), keep=8, right=True),
        Column("REQUESTS", 8, lambda row: _count(row.requests), attrgetter("requests"), keep=5, right=True),
        Column("CALLS", 7, lambda row: _count(row.calls), attrgetter("calls"), keep=7, right=True),
        Column("FAILED", 6, lambda row: _count(row.failed, BAD if row.failed else ""), attrgetter("failed"),
               keep=6, right=True),
        Column("LAG", 8, _lag, attrgetter("lag_ms"), keep=3, right=True),
        Column("MEMORY", 8, lambda row: _text(memory(row.memory_bytes)), attrgetter("memory_bytes"),
               keep=4, right=True),
        Column("OUTBOX", 6, _outbox, attrgetter("outbox"), keep=10, right=True),
        Column("GAPS", 4, lambda row: _count(row.gaps, WARN if row.gaps else ""), attrgetter("gaps"),
               keep=11, right=True),
    ),
    key=attrgetter("name"),
    words=lambda row: f"{row.name} {row.condition}",
    alarm=lambda row: row.condition in ("silent", "gone") or row.lag_ms >= _SLOW_LAG_MS,
    moves=True,
)  # fmt: skip


# Flushes

_OUTCOMES = {"answered": ("✓ answered", GOOD), "failed": ("✗ failed", BAD)}


def outcome(row: FlushRow) -> Cell:
    """How a flush ended, and why if not well."""
    word = _OUTCOMES.get(row.outcome) or name(f"! {row.outcome}", WARN)
    return (word, name(f" {row.reason}", QUIET)) if row.reason else (word,)


def coins_of(row: FlushRow, word: str = "") -> Cell:
    """How many coins, and the first of them."""
    return ((f"{len(row.coins)} {word}", ""), name(", ".join(row.coins[:20]), QUIET))


FLUSHES = Table[FlushRow](
    name="flushes",
    title="Flushes",
    empty="No flush was heard of yet.",
    columns=(
        Column("TIME", 9, lambda row: _text(time_of_day(row.at_ms), QUIET), attrgetter("at_ms")),
        Column("TRIGGER", 10, lambda row: (name(row.trigger),), attrgetter("trigger"), keep=2),
        Column("COINS", 16, coins_of, lambda row: len(row.coins), keep=1, most=40),
        Column("WAITERS", 7, lambda row: _count(row.requests), attrgetter("requests"), keep=4, right=True),
        Column("OPEN", 8, lambda row: _text(milliseconds(row.open_ms)), attrgetter("open_ms"), keep=7, right=True),
        Column("UPSTREAM", 8, lambda row: _text(milliseconds(row.upstream_ms)), attrgetter("upstream_ms"),
               keep=5, right=True),
        Column("KEPT", 8, lambda row: _text(milliseconds(row.kept_after_ms)), attrgetter("kept_after_ms"),
               keep=8, right=True),
        Column("INSTANCE", 10, lambda row: (name(row.instance),), attrgetter("instance"), keep=6, most=16),
        Column("OUTCOME", 12, outcome, attrgetter("outcome"), keep=3, most=34),
    ),
    key=attrgetter("key"),
    words=lambda row: f"{row.trigger} {row.instance} {row.outcome} {row.reason} {' '.join(row.coins)}",
    alarm=lambda row: row.outcome != "answered",
    newest_first=True,
)  # fmt: skip

FLUSHED_BATCHES = Table[FlushedBatchRow](
    name="flush",
    title="Batches of this flush",
    empty="Its batches were not told.",
    columns=(
        _COIN,
        Column("TRIGGER", 10, lambda row: (name(row.trigger),), attrgetter("trigger"), keep=1),
        Column("WAITERS", 7, lambda row: _count(row.size), attrgetter("size"), keep=2, right=True),
        Column("OPEN", 9, lambda row: _text(milliseconds(row.open_ms)), attrgetter("open_ms"), keep=3, right=True),
        Column("FAILURE", 14, lambda row: (name(f"✗ {row.failure}", BAD) if row.failure else ("✓ none", GOOD),),
               attrgetter("failure"), keep=4, most=40),
    ),
    key=lambda row: f"{row.coin_id} {row.open_ms} {row.size}",
    words=lambda row: f"{row.coin_id} {row.trigger} {row.failure}",
    alarm=lambda row: bool(row.failure),
)  # fmt: skip


# Events

EVENTS = Table[EventRow](
    name="events",
    title="Events",
    empty="Nothing happened yet.",
    columns=(
        Column("TIME", 12, lambda row: _text(exact_time(row.at_ms), QUIET), attrgetter("at_ms")),
        Column("KIND", 9, lambda row: (name(row.kind, WARN if row.alarm else ACCENT),), attrgetter("kind"), keep=2),
        Column("INSTANCE", 10, lambda row: (name(row.instance),), attrgetter("instance"), keep=3),
        Column(
            "WHAT", 24, lambda row: (name(row.text.removeprefix(f"{row.kind} ")),), attrgetter("text"), keep=1, most=200
        ),
    ),
    key=attrgetter("key"),
    words=lambda row: f"{row.kind} {row.instance} {row.text}",
    alarm=attrgetter("alarm"),
    newest_first=True,
)

TABS: tuple[Table[Any], ...] = (BATCHES, COINS, CALLERS, INSTANCES, FLUSHES, EVENTS)
