"""The front door: a request for prices is admitted here, waits, and is answered.

async with desk.admit([Wanted("bitcoin", ("usd",))], caller="user:ann") as admitted:
    quote = await admitted.waiters[0].quote("usd")
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

import msgspec
import trio

from core.admissions import Absent, Admission, Admissions, AtHand, Joined, Refused, Unknown
from core.batches import Wanted, unknown_coin
from core.callers import Callers
from core.coordinator import Coordinator
from core.errors import NotAtHand, RedisUnavailable, ShuttingDown, TooBusy, over_budget
from core.events import BatchView, Snapshot, unix_ms
from core.flusher import Flusher
from core.freshness import FETCH, Freshness
from core.limits import Charge, OverLimit
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


class Admitted(msgspec.Struct, frozen=True):
    """A request that was let in: what it was charged, and a waiter for each coin, in the order asked."""

    charge: Charge  # as it stands; a request that was refused for every coin cost nothing
    waiters: list[Waiter]


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
    async def admit(
        self, wanted: Sequence[Wanted], *, caller: str, freshness: Freshness = FETCH
    ) -> AsyncIterator[Admitted]:
        """Charge the caller one unit for each started 50 coins, and join the coins' open batches.

        Leaving the block gives the wait up. Raises TooBusy, OverLimit, OutboxFull, RedisUnavailable, or ShuttingDown.
        None of them charges the caller, but for a Redis that went away, or took longer than 1 s, after it had done so.
        """
        if self._draining:
            raise ShuttingDown
        if self._inside + len(wanted) > self._settings.max_waiting:
            raise TooBusy
        self._inside += len(wanted)
        try:
            deadline = trio.current_time() + self._settings.batch_result_timeout_ms / 1000
            admissions = await self._admissions(caller, wanted, freshness)
            with ExitStack() as stack:
                waiters = [
                    stack.enter_context(self._waiting(coin, admission, deadline, freshness))
                    for coin, admission in zip(wanted, admissions.of_coins, strict=True)
                ]
                yield Admitted(admissions.charge, waiters)
        finally:
            self._inside -= len(wanted)
            self._tell_if_empty()

    @contextmanager
    def _waiting(self, coin: Wanted, admission: Admission, deadline: float, freshness: Freshness) -> Iterator[Waiter]:
        waiter = Waiter(coin.coin_id, deadline)
        try:
            match admission:
                case Joined(batch_id=batch_id, at_hand=at_hand):
                    waiter = Waiter(coin.coin_id, deadline, batch_id, at_hand, freshness.stale_if_error_s)
                    with self._windows.joined(waiter, coin.coin_id, admission):
                        yield waiter
                    return
                case AtHand(prices):
                    waiter.settle(prices)
                case Unknown():
                    waiter.settle(unknown_coin(coin.coin_id).as_error())
                case Absent():
                    waiter.settle(
                        NotAtHand("No price is at hand that is fresh enough. Allow a fetch, or an older one.")
                    )
                case Refused(call_in_ms):
                    waiter.settle(over_budget(call_in_ms / 1000, self._settings.patience_s))
            yield waiter
        finally:
            self._count(waiter)

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
            budget=self._windows.budget_view(),
        )

    def _count(self, waiter: Waiter) -> None:
        if waiter.is_answered:
            self._answered += 1
        else:
            self._failed += 1

    def _tell_if_empty(self) -> None:
        if self._draining and not self._inside:
            self._empty.set()

    async def _admissions(self, caller: str, wanted: Sequence[Wanted], freshness: Freshness) -> Admissions:
        try:
            with trio.fail_after(_ADMISSION_S):
                admissions = await self._coordinator.admit(caller, wanted, freshness)
        except trio.TooSlowError as error:
            raise RedisUnavailable from error
        except OverLimit as refusal:
            self._callers.note_refusal(refusal)
            raise
        self._requests += len(wanted)
        self._callers.note(admissions.charge)
        return admissions


def _batch_view(window: Window, now: float) -> BatchView:
    view = window.view
    return BatchView(
        batch_id=view.batch_id,
        coin_id=view.coin_id,
        state="claimed" if view.flushing or view.claimed else "open",
        flushing=view.flushing,
        size=view.size,
        waiting=len(window.waiters),
        flush_in_ms=max(0, round((view.due_at - now) * 1000)),
    )
