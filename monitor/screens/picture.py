"""What screens ask: everything there is to show at one moment, and the few things that only the app can do."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from monitor import views
from monitor.rows import (
    BatchRow,
    BudgetBox,
    CallerRow,
    CoinRow,
    EventRow,
    FlushedBatchRow,
    FlushRow,
    Header,
    InstanceRow,
    LatencyBox,
    SavingBox,
)
from monitor.state import Heard, State, apply, tick
from monitor.widgets.arrange import Sort


class Picture(Protocol):
    """One moment. It stays the same, however often it is asked."""

    def header(self) -> Header:
        """The first line."""

    def budget(self) -> BudgetBox:
        """What may be asked of CoinGecko."""

    def saving(self) -> SavingBox:
        """What batching saved."""

    def latency(self) -> LatencyBox:
        """How long things take."""

    def batches(self) -> Sequence[BatchRow]:
        """Every open batch."""

    def coins(self) -> Sequence[CoinRow]:
        """Every coin asked for lately."""

    def callers(self) -> Sequence[CallerRow]:
        """Every caller's limit."""

    def instances(self) -> Sequence[InstanceRow]:
        """Every instance."""

    def flushes(self) -> Sequence[FlushRow]:
        """The latest flushes, the newest first."""

    def flushed_batches(self, key: str) -> Sequence[FlushedBatchRow]:
        """The batches of one of them."""

    def events(self) -> Sequence[EventRow]:
        """What happened, the newest first."""


class Watching(Protocol):
    """What is known so far."""

    def hear(self, heard: Heard, now_s: float) -> None:
        """Take in one thing."""

    def tick(self, now_s: float) -> bool:
        """Notice who fell silent, and return whether to ask for whole snapshots."""

    def forget(self) -> None:
        """Begin anew."""

    def picture(self, now_s: float) -> Picture:
        """What it looks like now."""


class Heading(NamedTuple):
    """What the first line says beside what was heard."""

    header: Header
    paused: bool
    at_ms: int  # the time of day
    played: tuple[float, float] | None  # of a replay: how far it has come, and how far it goes


class Desk(Protocol):
    """What screens ask the app for."""

    places: frozenset[str]

    def paint(self) -> None:
        """Paint the page on top anew."""

    def picture(self) -> Picture:
        """The one to show: while paused, that of the pause."""

    def heading(self) -> Heading:
        """What to say at the top, also while paused."""

    def sort_of(self, table: str) -> Sort:
        """The order that was chosen for a table."""

    def choose_sort(self, table: str, sort: Sort) -> None:
        """Remember an order."""

    def choose_tab(self, tab: str) -> None:
        """Remember a tab."""

    def open(self, row: Any) -> None:
        """Show the page of this row."""


class StatePicture:
    """The views of a state at one moment."""

    def __init__(self, state: State, now_s: float) -> None:
        self._state = state
        self._now_s = now_s

    def header(self) -> Header:
        """The first line."""
        return views.header(self._state, self._now_s)

    def budget(self) -> BudgetBox:
        """What may be asked of CoinGecko."""
        return views.budget(self._state, self._now_s)

    def saving(self) -> SavingBox:
        """What batching saved."""
        return views.saving(self._state, self._now_s)

    def latency(self) -> LatencyBox:
        """How long things take."""
        return views.latency(self._state, self._now_s)

    def batches(self) -> Sequence[BatchRow]:
        """Every open batch."""
        return views.batches(self._state, self._now_s)

    def coins(self) -> Sequence[CoinRow]:
        """Every coin asked for lately."""
        return views.coins(self._state, self._now_s)

    def callers(self) -> Sequence[CallerRow]:
        """Every caller's limit."""
        return views.callers(self._state, self._now_s)

    def instances(self) -> Sequence[InstanceRow]:
        """Every instance."""
        return views.instances(self._state, self._now_s)

    def flushes(self) -> Sequence[FlushRow]:
        """The latest flushes, the newest first."""
        return views.flushes(self._state)

    def flushed_batches(self, key: str) -> Sequence[FlushedBatchRow]:
        """The batches of one of them."""
        return views.flushed_batches(self._state, key)

    def events(self) -> Sequence[EventRow]:
        """What happened, the newest first."""
        return views.events(self._state)


class StateWatching:
    """A state that grows with what is heard."""

    def __init__(self) -> None:
        self._state = State()

    def hear(self, heard: Heard, now_s: float) -> None:
        """Take in one thing."""
        self._state = apply(self._state, heard, now_s)

    def tick(self, now_s: float) -> bool:
        """Notice who fell silent, and return whether to ask for whole snapshots."""
        self._state = tick(self._state, now_s)
        return self._state.wants_snapshot

    def forget(self) -> None:
        """Begin anew."""
        self._state = State()

    def picture(self, now_s: float) -> Picture:
        """What it looks like now."""
        return StatePicture(self._state, now_s)
