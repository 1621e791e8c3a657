"""The front door: a request for a price is admitted here, waits, and is answered.

async with desk.admit("bitcoin", "usd", caller="user:ann") as waiter:
    quote = await waiter.quote()
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from core.batches import unknown_coin
from core.callers import Callers
from core.coordinator import Admission, Coordinator, Unknown
from core.errors import RedisUnavailable, ShuttingDown, TooBusy
from core.events import BatchView, Snapshot, unix_ms
from core.flusher import Flusher
from core.limits import OverLimit
from core.settings import Settings
from core.waiters import Waiter
from core.window import Window
from core.windows import Windows

# Beyond this a request is told 503 rather than left waiting for its admission.
_ADMISSION_S = 1.0


class Statistics(msgspec.Struct, frozen=True):
    """Totals of this instance since it started, and who waits now."""

    requests: int
    answered: int
    failed: int
    calls: int
    waiting: int


class PriceDesk:
    """Admits requests, counts them, and hands them to their windows."""

    def __init__(
        self,
        instance: str,
        settings: Settings,
        coordinator: Coordinator,
        flusher: Flusher,
        windows: Windows,
        callers: Callers,
    ) -> None:
        self._instance = instance
        self._settings = settings
        self._coordinator = coordinator
        self._flusher = flusher
        self._windows = windows
        self._callers = callers
        self._draining = False
        self._empty = trio.Event()
        self._inside = 0  # requests being admitted, or waiting
        self._requests = self._answered = self._failed = 0

    @asynccontextmanager
    async def admit(self, coin_id: str, vs_currency: str, *, caller: str) -> AsyncIterator[Waiter]:
        """Charge the caller and join the coin's open batch; leaving the block gives the wait up.

        Raises TooBusy, OverLimit, OutboxFull, RedisUnavailable, or ShuttingDown. None of them charges the caller, but
        for a Redis that went away, or took longer than 1 s, after it had done so.
        """
        if self._draining:
            raise ShuttingDown
        if self._inside >= self._settings.max_waiting:
            raise TooBusy
        self._inside += 1
        try:
            async with self._admitted(coin_id, vs_currency, caller) as waiter:
                try:
                    yield waiter
                finally:
                    self._count(waiter)
        finally:
            self._inside -= 1
            self._tell_if_empty()

    @asynccontextmanager
    async def _admitted(self, coin_id: str, vs_currency: str, caller: str) -> AsyncIterator[Waiter]:
        deadline = trio.current_time() + self._settings.batch_result_timeout_ms / 1000
        admission = await self._admission(caller, coin_id, vs_currency)
        if isinstance(admission, Unknown):
            waiter = Waiter(admission.charge, None, vs_currency, deadline)
            waiter.settle(unknown_coin(coin_id).as_error())
            yield waiter
            return
        waiter = Waiter(admission.charge, admission.batch_id, vs_currency, deadline)
        with self._windows.joined(waiter, coin_id, admission):
            yield waiter

    def drain(self) -> None:
        """Flush every window now, and refuse new requests."""
        self._draining = True
        self._windows.drain()
        self._tell_if_empty()

    async def wait_empty(self) -> None:
        """Wait until, after a drain began, nobody waits here any more."""
        await self._empty.wait()

    def statistics(self) -> Statistics:
        """What happened so far."""
        return Statistics(
            requests=self._requests,
            answered=self._answered,
            failed=self._failed,
            calls=self._flusher.calls,
            waiting=sum(len(window.waiters) for window in self._windows),
        )

    def snapshot(self) -> Snapshot:
        """What monitors see of this instance."""
        now, totals = trio.current_time(), self.statistics()
        return Snapshot(
            instance=self._instance,
            at_ms=unix_ms(),
            threshold=self._settings.batch_threshold,
            window_ms=self._settings.batch_window_ms,
            requests=totals.requests,
            calls=totals.calls,
            answered=totals.answered,
            failed=totals.failed,
            batches=[_batch_view(window, now) for window in self._windows],
            callers=self._callers.views(),
        )

    def _count(self, waiter: Waiter) -> None:
        if waiter.is_answered:
            self._answered += 1
        else:
            self._failed += 1

    def _tell_if_empty(self) -> None:
        if self._draining and not self._inside:
            self._empty.set()

    async def _admission(self, caller: str, coin_id: str, vs_currency: str) -> Admission | Unknown:
        try:
            with trio.fail_after(_ADMISSION_S):
                admission = await self._coordinator.admit(caller, coin_id, vs_currency)
        except trio.TooSlowError as error:
            raise RedisUnavailable from error
        except OverLimit as refusal:
            self._callers.note_refusal(refusal)
            raise
        self._requests += 1
        self._callers.note(admission.charge)
        return admission


def _batch_view(window: Window, now: float) -> BatchView:
    return BatchView(
        batch_id=window.batch_id,
        coin_id=window.coin_id,
        state="claimed" if window.flushing or window.view.claimed else "open",
        flushing=window.flushing,
        size=window.view.size,
        waiting=len(window.waiters),
        flush_in_ms=max(0, round((window.view.due_at - now) * 1000)),
    )
