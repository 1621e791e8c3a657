"""The windows of this instance: one for each batch that has waiters here, each a task in one nursery.

    windows = Windows(settings, link, coordinator, flusher, ledger, tally)
    await nursery.start(windows.run)
    windows.join(waiter, coin_id, joined, asked_at)

What is heard of batches goes to their windows here, from the feed, from Redis when it is back, and from this
instance's own flushes; and windows are settled here alone.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextvars import copy_context

import structlog
import trio

from core.admissions import Joined
from core.batches import Result
from core.coordinator import Coordinator, Grant
from core.errors import CryptoPulseError, RedisUnavailable, Unavailable, over_budget
from core.events import BudgetView
from core.flush_policy import View
from core.flusher import Flusher
from core.redis_link import RedisLink
from core.rounds import Ledger, Rounds
from core.settings import Settings
from core.standings import Claimed, Gone, Held, Open, Settled, Standing
from core.tally import Tally
from core.waiters import Waiter
from core.window import Window

# Whoever waits is told 503 when Redis has been away for this long.
_REDIS_GRACE_S = 1.0
# What the feed tells of a batch may overtake the answer to an admission to it; an admission takes some 4 s at most.
_REMEMBER_S = 5.0
# For what a flush does beside its call.
_LAST_FLUSHES_S = 1.0

# Of a batch: what it came to, or how many requests it holds.
Heard = Result | int

_log = structlog.get_logger(__name__)


class Windows:
    """The nursery of windows, and how to find each."""

    def __init__(
        self,
        settings: Settings,
        link: RedisLink,
        coordinator: Coordinator,
        flusher: Flusher,
        ledger: Ledger,
        tally: Tally,
    ) -> None:
        self._settings = settings
        self._link = link
        self._coordinator = coordinator
        self._flusher = flusher
        self._tally = tally
        self._rounds = Rounds(settings, coordinator, ledger, self)
        self._of_batch: dict[str, Window] = {}
        self._of_coin: dict[str, set[Window]] = {}
        self._flushing: set[str] = set()  # batches that this instance flushes, whoever waits for them
        self._recent: OrderedDict[str, tuple[float, Heard]] = OrderedDict()  # {batch_id: heard at, what}
        self._draining = False
        self._finish_by = float("inf")
        self._finishing = trio.Event()
        self._finished = trio.Event()

    def __iter__(self) -> Iterator[Window]:
        return iter(list(self._of_batch.values()))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the windows until `finish`, and then until the flushes that have begun are done."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stand_by_redis)
            nursery.start_soon(self._rounds.run)
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

    def join(self, waiter: Waiter, coin_id: str, joined: Joined, asked_at: float) -> None:
        """Let a waiter that asked then wait for its batch, until that is settled, or its deadline, or it leaves."""
        if joined.size == 1:
            self._tally.opened()
        window = self._of_batch.get(joined.batch_id) or self._open(coin_id, joined, asked_at)
        window.join(waiter, joined.size)
        match self._recent.get(joined.batch_id):
            case (_, Result() as result) if result.fetched_at_ms >= joined.admitted_at_ms:
                self.settle(window, result)
            case (_, int(size)):
                window.grow(size)
        if waiter.deadline < self._rounds.next_call_at:
            self._rounds.look()  # Redis knew of an earlier call when it let the request in; or of none yet

    def leave(self, waiter: Waiter) -> None:
        """Give a wait up, if it still goes on."""
        if window := self._of_batch.get(waiter.batch_id or ""):
            window.leave(waiter)
            if not window.waiters:
                self._forget(window)

    @property
    def may_claim(self) -> bool:
        """Whether an admission may claim what it fills."""
        return self._rounds.may_claim

    def hear_grant(self, grant: Grant, asked_at: float) -> None:
        """Batches were claimed by an admission that was asked for then."""
        if not self._finishing.is_set():  # or else nobody is left to flush them here: others take over
            self._rounds.take(grant, asked_at)

    def drain(self) -> None:
        """Flush every window now, and those to come at once."""
        self._draining = True
        self._finish_by = trio.current_time() + self._settings.batch_result_timeout_ms / 1000 + _LAST_FLUSHES_S
        for window in self:
            window.drain()

    def hear_full(self, batch_id: str, size: int) -> None:
        """A batch is full."""
        self._remember(batch_id, size)
        if window := self._of_batch.get(batch_id):
            window.grow(size)

    def hear_claimed(self, batch_ids: Sequence[str], lease_s: float) -> None:
        """Batches were claimed without having been full or due; should their flusher die, others know when."""
        for batch_id in batch_ids:
            if window := self._of_batch.get(batch_id):
                window.hold(lease_s, itself=True)

    def budget_view(self) -> BudgetView:
        """What monitors see of the budget."""
        return self._rounds.budget_view()

    def hear_next_call(self, in_ms: int, now_ms: int) -> None:
        """The time of the next upstream call was moved, at this unix time by Redis' clock."""
        self._rounds.hear_next_call(in_ms, now_ms)

    def hear_results(self, results: Sequence[Result]) -> None:
        """Batches were settled, here or elsewhere."""
        for result in results:
            self._tally.heard(result)
            self._remember(result.batch_id, result)
            if window := self._of_batch.get(result.batch_id):
                self.settle(window, result)
            for other in self._of_coin.get(result.coin_id, ()):
                other.release()

    async def look(self) -> None:
        """Look up every batch that has waiters here, since messages may have been missed."""
        self._rounds.look()
        if not self._of_batch:
            return
        try:
            standings = await self._coordinator.look(list(self._of_batch))
        except RedisUnavailable:
            return  # standing by for Redis looks again when it is back, and each window asks for itself
        for standing in standings:
            self.note(standing)

    def note(self, standing: Standing) -> None:
        """Take notice of how a batch stands in Redis, if anybody waits for it here."""
        window = self._of_batch.get(standing.batch_id)
        match standing:
            case Settled(result=result):
                self.hear_results([result])
            case Gone() if window:
                _log.warning("a batch was lost with Redis' memory", batch=standing.batch_id, coin=window.view.coin_id)
                self.settle(window, RedisUnavailable())
            case Held(lease_ms=lease_ms, itself=itself) if window and not window.view.flushing:
                window.hold(lease_ms / 1000, itself=itself)
            case Open(size=size) if window:
                window.open(size)
            case _:
                pass  # nobody waits for it here, or it is claimed, and whoever did that acts on it, or flushes it here

    def views(self) -> list[View]:
        """Every batch that somebody waits for here."""
        return [window.view for window in self._of_batch.values()]

    def flush(self, claims: Sequence[Claimed], asked_at: float) -> None:
        """Flush batches that were claimed, whoever waits for them; the permit for their call was asked for then."""
        self._set_flushing(claims, flushing=True)
        self._context.run(self._nursery.start_soon, self._flush, claims, asked_at)

    def too_late(self, call_at: float) -> list[str]:
        """Batches with requests that would no longer wait when the next upstream call may be made."""
        return [window.view.batch_id for window in self if window.is_too_late(call_at)]

    def refuse(self, call_at: float) -> None:
        """Give those requests up."""
        refusal = over_budget(call_at - trio.current_time(), self._settings.patience_s)
        for window in self:
            window.refuse(call_at, refusal)
            if not window.waiters:
                self._forget(window)  # now: or else the next to join would join it

    def give_up(self, batch_ids: Iterable[str], error: Unavailable) -> None:
        """Answer everybody who waits for these batches with an error."""
        for window in [self._of_batch[batch_id] for batch_id in batch_ids]:
            self.settle(window, error)

    def settle(self, window: Window, outcome: Result | CryptoPulseError) -> None:
        """Answer everybody who waits in a window."""
        self._forget(window)
        window.settle(outcome)

    def _open(self, coin_id: str, joined: Joined, asked_at: float) -> Window:
        # What this request opened is due a window after it was asked; of what others opened the answer tells no more.
        since = asked_at if joined.size == 1 else trio.current_time()
        due_at = since + joined.due_in_ms / 1000
        is_flushing = joined.batch_id in self._flushing
        view = View(joined.batch_id, coin_id, due_at, joined.size, flushing=is_flushing, draining=self._draining)
        window = Window(view, self._settings.batch_threshold, self._rounds.wake)
        self._of_batch[joined.batch_id] = window
        self._of_coin.setdefault(coin_id, set()).add(window)
        self._context.run(self._nursery.start_soon, self._run_window, window)
        return window

    async def _run_window(self, window: Window) -> None:
        try:
            await window.run()
        finally:
            self._forget(window)

    async def _flush(self, claims: Sequence[Claimed], asked_at: float) -> None:
        self.hear_results(await self._flusher.flush(claims, asked_at))
        self._set_flushing(claims, flushing=False)

    def _set_flushing(self, claims: Sequence[Claimed], *, flushing: bool) -> None:
        batch_ids = {claim.batch_id for claim in claims}
        self._flushing = self._flushing | batch_ids if flushing else self._flushing - batch_ids
        for batch_id in batch_ids & self._of_batch.keys():
            self._of_batch[batch_id].set_flushing(flushing=flushing)

    def _forget(self, window: Window) -> None:
        batch_id, coin_id = window.view.batch_id, window.view.coin_id
        if self._of_batch.get(batch_id) is window:
            del self._of_batch[batch_id]
        siblings = self._of_coin.get(coin_id, set())
        siblings.discard(window)
        if not siblings:
            self._of_coin.pop(coin_id, None)

    def _remember(self, batch_id: str, heard: Heard) -> None:
        now = trio.current_time()
        self._recent[batch_id] = (now, heard)
        self._recent.move_to_end(batch_id)
        while next(iter(self._recent.values()))[0] < now - _REMEMBER_S:
            self._recent.popitem(last=False)

    async def _stand_by_redis(self) -> None:
        while True:
            await self._link.wait_down()
            self._recent.clear()  # what it knew it may have lost: an answered batch may be open again
            with trio.move_on_at(self._link.away_since + _REDIS_GRACE_S):
                await self._link.wait_up()
            if not self._link.is_up:
                for window in self:
                    self.settle(window, RedisUnavailable())
            await self._link.wait_up()
            await self.look()
