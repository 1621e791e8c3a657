"""How this instance stands, for monitors: gathered only while one watches.

snapshots = Snapshots(settings, coordinator, desk, windows, callers, tally)
nursery.start_soon(broadcast.run, snapshots)
"""

from heapq import nsmallest

import trio
from msgspec.structs import replace

from core.callers import Callers
from core.coordinator import Coordinator
from core.errors import RedisUnavailable
from core.events import MOST_BATCHES, BatchView, ProcessView, Snapshot, unix_ms
from core.price_desk import PriceDesk
from core.process import resident_bytes
from core.settings import Settings
from core.tally import Tally
from core.window import Window
from core.windows import Windows


class Snapshots:
    """Asks all parts of the instance."""

    def __init__(
        self,
        settings: Settings,
        coordinator: Coordinator,
        desk: PriceDesk,
        windows: Windows,
        callers: Callers,
        tally: Tally,
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._desk = desk
        self._windows = windows
        self._callers = callers
        self._tally = tally
        self._started_at_ms = unix_ms()
        self._outbox: int | None = None

    async def snapshot(self, lag_ms: float, *, whole: bool) -> Snapshot:
        """Describe this instance; `whole` is with the coins, and with a new look at the outbox."""
        if whole:
            self._outbox = await self._outbox_depth()
        now, totals, windows = trio.current_time(), self._tally.totals, list(self._windows)
        return Snapshot(
            started_at_ms=self._started_at_ms,
            threshold=self._settings.batch_threshold,
            window_ms=self._settings.batch_window_ms,
            ride_along=self._settings.batch_ride_along,
            draining=self._desk.is_draining,
            requests=totals.requests,
            calls=totals.calls,
            answered=totals.answered,
            failed=totals.failed,
            opened=totals.opened,
            buckets=self._tally.buckets(now),
            waits=self._tally.waits(now),
            upstream=self._tally.upstream(now),
            batches=[_batch_view(window, now) for window in nsmallest(MOST_BATCHES, windows, key=_due_at)],
            batches_in_all=len(windows),
            coins=self._tally.coins(now) if whole else None,
            coins_in_all=self._tally.coins_in_all,
            callers=self._callers.views(),
            budget=replace(self._windows.budget_view(), minute_calls=self._tally.minute_calls(now)),
            process=self._process(lag_ms),
        )

    def _process(self, lag_ms: float) -> ProcessView:
        return ProcessView(
            waiting=self._desk.waiting,
            lag_ms=round(lag_ms, 3),
            memory_bytes=resident_bytes(),
            outbox=self._outbox,
        )

    async def _outbox_depth(self) -> int | None:
        try:
            return await self._coordinator.outbox_depth()
        except RedisUnavailable:
            return None


def _batch_view(window: Window, now: float) -> BatchView:
    view = window.view
    oldest = min((waiter.admitted_at for waiter in window.waiters), default=now)
    held_for_s = 0.0 if view.flushing else max(0.0, view.held_until - now)
    return BatchView(
        batch_id=view.batch_id,
        coin_id=view.coin_id,
        state="claimed" if view.flushing or view.claimed else "open",
        size=view.size,
        waiting=len(window.waiters),
        oldest_ms=round((now - oldest) * 1000),
        flush_in_ms=round((view.due_at - now) * 1000),
        flushing=view.flushing,
        held_for_ms=round(held_for_s * 1000),
    )


def _due_at(window: Window) -> float:
    return window.view.due_at
