"""The four tables as text: a key for each row, and its cells, in the order to show them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

from core.events import Flushed
from monitor.state import Instance, State
from monitor.text import bar, harmless, number, time_of_day
from monitor.views import Batch, Caller, batches, callers, condition, instances, shown_s

Rows = Mapping[str, Sequence[Text]]  # {row key: cells}


class Column(NamedTuple):
    """One column; without a width it takes what its cells need."""

    title: str
    width: int | None = None
    right: bool = False


_NAME_WIDTH = 18
_COINS_WIDTH = 20
BATCHES = (
    Column("COIN", _NAME_WIDTH),
    Column("WAITING", 7, right=True),
    Column("SIZE", 5, right=True),
    Column("FLUSH IN", 16),
    Column("STATE", 10),
    Column("FLUSHER"),
)
CALLERS = (Column("CALLER", _NAME_WIDTH), Column("LEFT", 7, right=True), Column("RESET", 5, right=True))
INSTANCES = (Column("INSTANCE", _NAME_WIDTH - 3), Column("STATE", 9), Column("REQUESTS", 8, right=True))
FLUSHES = (
    Column("TIME", 9),
    Column("TRIGGER", 10),
    Column("COINS", _COINS_WIDTH),
    Column("REQUESTS", 8, right=True),
    Column("TOOK", 8, right=True),
    Column("OUTCOME"),
)

_STATES = {
    "open": ("○ open", ""),
    "claimed": ("● claimed", "cyan"),
    "answered": ("✓ answered", "green"),
    "failed": ("✗ failed", "red"),
}
_CONDITIONS = {"up": ("● up", "green"), "silent": ("○ silent", "yellow"), "stopped": ("■ stopped", "dim")}
_OUTCOMES = {"answered": ("✓ answered", "green"), "failed": ("✗ failed", "red"), "fenced": ("! fenced", "yellow")}
_NEARLY = 0.2


def batch_rows(state: State, now_s: float) -> Rows:
    """Keyed by coin, so that a selection stays on it when the next batch opens."""
    nth: Counter[str] = Counter()
    rows: dict[str, Sequence[Text]] = {}
    for batch in batches(state, shown_s(state, now_s)):
        nth[batch.coin_id] += 1
        rows[f"{nth[batch.coin_id]} {batch.coin_id}"] = _batch_cells(batch)
    return rows


def caller_rows(state: State, now_s: float) -> Rows:
    """Those closest to their limit first."""
    return {caller.view.caller: _caller_cells(caller) for caller in callers(state, shown_s(state, now_s))}


def instance_rows(state: State, now_s: float) -> Rows:
    """By name."""
    return {one.name: _instance_cells(one, shown_s(state, now_s)) for one in instances(state)}


def flush_rows(state: State) -> Rows:
    """The newest first, keyed by a number that only grows."""
    return {str(state.flushes_heard - age): _flush_cells(one) for age, one in enumerate(state.flushes)}


def _batch_cells(batch: Batch) -> list[Text]:
    return [
        harmless(batch.coin_id, _NAME_WIDTH),
        _right(f"{number(batch.waiting)}/{number(batch.threshold)}"),
        _right(number(batch.size)),
        Text(_countdown(batch)),
        Text(*_STATES[batch.state]),
        harmless(batch.flusher or "-", 40),
    ]


def _countdown(batch: Batch) -> str:
    if batch.state != "open":
        return "-"
    passed = 1 - batch.flush_in_ms / max(1, batch.window_ms)
    left = f"{batch.flush_in_ms / 1000:.1f}s" if batch.flush_in_ms else "due"
    return f"{bar(passed, 9)} {left:>6}"


def _caller_cells(caller: Caller) -> list[Text]:
    view = caller.view
    sign, style = ("✗", "red") if caller.refused else ("!", "yellow") if caller.left <= _NEARLY else (" ", "")
    return [
        Text.assemble((f"{sign} ", style), harmless(view.caller, _NAME_WIDTH - 2)),
        _right(f"{number(view.remaining)}/{number(view.limit)}"),
        _right(f"{number(view.reset_s)}s"),
    ]


def _instance_cells(instance: Instance, now_s: float) -> list[Text]:
    requests = number(instance.snapshot.requests) if instance.snapshot else "-"
    return [
        harmless(instance.name, _NAME_WIDTH - 3),
        Text(*_CONDITIONS[condition(instance, now_s)]),
        _right(requests),
    ]


def _flush_cells(flush: Flushed) -> list[Text]:
    coins = f"{len(flush.coins)}: {', '.join(flush.coins[:5])}"
    return [
        Text(time_of_day(flush.at_ms)),
        Text(flush.trigger),
        harmless(coins, _COINS_WIDTH),
        _right(number(flush.requests)),
        _right(f"{number(flush.upstream_ms)} ms"),
        Text.assemble(_OUTCOMES[flush.outcome], " ", harmless(flush.reason, 60)),
    ]


def _right(text: str) -> Text:
    return Text(text, justify="right", no_wrap=True)
