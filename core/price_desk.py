"""The front door: a request for a price is admitted here, waits, and is answered.

    async with desk.admit("bitcoin", "usd", caller="user:ann") as waiter:
        quote = await waiter.quote()

The desk owns the nursery of windows: one task for each batch that has waiters on this instance.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context

import msgspec
import structlog
import trio

from core.batches import Result, View, unknown_coin
from core.coordinator import Admission, Claimed, Coordinator, Gone, Held, Open, Settled, Standing, Unknown
from core.errors import CryptoPulseError, RedisUnavailable, ShuttingDown, TooBusy
from core.events import BatchView, CallerView, Limited, Snapshot, unix_ms
from core.flusher import Flusher
from core.limits import Charge, OverLimit
from core.redis_link import RedisLink
from core.settings import Settings
from core.waiters import Waiter
from core.watch import Broadcast
from core.window import Window

# Beyond this a request is told 503 rather than left waiting for its admission.
_ADMISSION_S = 1.0
# Whoever waits is told 503 when Redis has been away for this long.
_REDIS_GRACE_S = 1.0
# A result may overtake, on the feed, the answer to an admission of its batch: longer than _ADMISSION_S.
_REMEMBER_RESULTS_S = 2.0
# For what a flush does beside its call.
_LAST_FLUSHES_S = 1.0
# What monitors see of callers: the latest charged.
_MOST_CALLERS = 50

_log = structlog.get_logger()


class Statistics(msgspec.Struct, frozen=True):
    """Totals of this instance since it started, and who waits now."""

    requests: int
    answered: int
    failed: int
    calls: int
    waiting: int


class PriceDesk:
    """Admits requests, and keeps a window for every batch they wait for."""

    def __init__(
        self,
        instance: str,
        settings: Settings,
        link: RedisLink,
        coordinator: Coordinator,
        flusher: Flusher,
        broadcast: Broadcast,
    ) -> None:
        self._instance = instance
        self._settings = settings
        self._link = link
        self._coordinator = coordinator
        self._flusher = flusher
        self._broadcast = broadcast
        self._windows: dict[str, dict[str, Window]] = {}  # {coin_id: {batch_id: window}}
        self._recent: OrderedDict[str, tuple[float, Result]] = OrderedDict()  # {batch_id: heard at, result}
        self._callers: OrderedDict[str, Charge] = OrderedDict()
        self._draining = False
        self._finishing = trio.Event()
        self._finished = trio.Event()
        self._inside = 0  # requests being admitted, or waiting
        self._finish_by = float("inf")
        self._requests = self._answered = self._failed = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the windows until `finish`, and then until the flushes that have begun are done."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stand_by_redis)
            async with trio.open_nursery() as self._nursery:
                # Windows start from requests, but must not keep those requests' context alive.
                self._context = copy_context()
                task_status.started()
                await self._finishing.wait()
            nursery.cancel_scope.cancel()
        self._finished.set()

    async def finish(self) -> None:
        """When no request is left: wait for flushes that other instances' requests may wait for.

        Returns within the upstream timeout, and within the result timeout of a drain, each plus a second at most.
        """
        self._finishing.set()
        one_call_s = self._settings.upstream_timeout_ms / 1000 + _LAST_FLUSHES_S
        with trio.move_on_at(min(self._finish_by, trio.current_time() + one_call_s)):
            await self._finished.wait()

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
                yield waiter
        finally:
            self._inside -= 1

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
        window = self._join(waiter, coin_id, admission)
        try:
            yield waiter
        finally:
            window.leave(waiter)
            if not window.waiters:
                self._forget(window)

    def drain(self) -> None:
        """Flush every window now, and refuse new requests."""
        self._draining = True
        self._finish_by = trio.current_time() + self._settings.batch_result_timeout_ms / 1000 + _LAST_FLUSHES_S
        for window in self._all_windows():
            window.drain()

    def hear_full(self, batch_id: str, coin_id: str, size: int) -> None:
        """A batch is full."""
        if window := self._windows.get(coin_id, {}).get(batch_id):
            window.grow(size)

    def hear_results(self, results: Sequence[Result]) -> None:
        """Batches were settled, here or elsewhere."""
        now = trio.current_time()
        for result in results:
            self._remember(result, now)
            for window in list(self._windows.get(result.coin_id, {}).values()):
                if window.batch_id == result.batch_id:
                    self.settle(window, result)
                else:
                    window.release()

    async def look(self) -> None:
        """Look up every batch that has waiters here, since messages may have been missed."""
        batch_ids = [window.batch_id for window in self._all_windows()]
        if not batch_ids:
            return
        try:
            standings = await self._coordinator.look(batch_ids)
        except RedisUnavailable:
            return  # standing by for Redis looks again when it is back, and each window asks for itself
        for standing in standings:
            self.note(standing)

    def note(self, standing: Standing) -> None:
        """Take notice of how a batch stands in Redis, if anybody waits for it here."""
        if isinstance(standing, Settled):
            self.hear_results([standing.result])
            return
        for window in [window for window in self._all_windows() if window.batch_id == standing.batch_id]:
            match standing:
                case Gone():
                    _log.warning("a batch was lost with Redis' memory", batch=window.batch_id, coin=window.coin_id)
                    self.settle(window, RedisUnavailable())
                case Held(lease_ms=lease_ms, itself=itself):
                    window.hold(lease_ms / 1000, itself=itself)
                case Open(size=size):
                    window.open(size)
                case Claimed() | Settled():
                    pass  # whoever claimed acts on it

    def settle(self, window: Window, outcome: Result | CryptoPulseError) -> None:
        """Answer everybody who waits in a window."""
        if isinstance(outcome, Result) and outcome.failure is None:
            self._answered += len(window.waiters)
        else:
            self._failed += len(window.waiters)
        window.settle(outcome)
        self._forget(window)

    def statistics(self) -> Statistics:
        """What happened so far."""
        return Statistics(
            requests=self._requests,
            answered=self._answered,
            failed=self._failed,
            calls=self._flusher.calls,
            waiting=sum(len(window.waiters) for window in self._all_windows()),
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
            batches=[_batch_view(window, now) for window in self._all_windows()],
            callers=[
                CallerView(charge.caller, charge.limit, charge.remaining, charge.reset_s)
                for charge in self._callers.values()
            ],
        )

    async def _admission(self, caller: str, coin_id: str, vs_currency: str) -> Admission | Unknown:
        try:
            with trio.fail_after(_ADMISSION_S):
                admission = await self._coordinator.admit(caller, coin_id, vs_currency)
        except trio.TooSlowError as error:
            raise RedisUnavailable from error
        except OverLimit as refusal:
            charge = refusal.charge
            self._note_charge(charge)
            self._broadcast.tell(Limited(self._instance, unix_ms(), charge.caller, charge.limit, charge.reset_s))
            raise
        self._requests += 1
        self._note_charge(admission.charge)
        return admission

    def _join(self, waiter: Waiter, coin_id: str, admission: Admission) -> Window:
        windows = self._windows.setdefault(coin_id, {})
        window = windows.get(admission.batch_id)
        if window is None:
            due_at = trio.current_time() + admission.due_in_ms / 1000
            view = View(due_at, admission.size, draining=self._draining)
            window = Window(admission.batch_id, coin_id, view, self._settings.batch_threshold)
            windows[admission.batch_id] = window
            self._context.run(self._nursery.start_soon, self._run_window, window)
        window.join(waiter, admission.size)
        if admission.batch_id in self._recent:
            self.settle(window, self._recent[admission.batch_id][1])
        return window

    async def _run_window(self, window: Window) -> None:
        try:
            await window.run(self._coordinator, self._flusher, self)
        finally:
            self._forget(window)

    def _forget(self, window: Window) -> None:
        windows = self._windows.get(window.coin_id, {})
        if windows.get(window.batch_id) is window:
            del windows[window.batch_id]
            if not windows:
                del self._windows[window.coin_id]

    def _remember(self, result: Result, now: float) -> None:
        self._recent[result.batch_id] = (now, result)
        while self._recent and next(iter(self._recent.values()))[0] < now - _REMEMBER_RESULTS_S:
            self._recent.popitem(last=False)

    async def _stand_by_redis(self) -> None:
        while True:
            await self._link.wait_down()
            with trio.move_on_after(_REDIS_GRACE_S):
                await self._link.wait_up()
            if not self._link.is_up:
                for window in list(self._all_windows()):
                    self.settle(window, RedisUnavailable())
            await self._link.wait_up()
            await self.look()

    def _note_charge(self, charge: Charge) -> None:
        self._callers[charge.caller] = charge
        self._callers.move_to_end(charge.caller)
        if len(self._callers) > _MOST_CALLERS:
            self._callers.popitem(last=False)

    def _all_windows(self) -> Iterator[Window]:
        for windows in self._windows.values():
            yield from windows.values()


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
