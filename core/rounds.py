"""Rounds of flushes: for all windows of this instance together, what to flush, and when.

    rounds = Rounds(settings, coordinator, ledger, windows)
    await nursery.start_soon(rounds.run)
    rounds.wake()        # something is ripe here

A round asks the flush policy which calls to make for the windows of this instance, and claims each; what others have
pending rides along. Where no call may be made yet, the batches stay open and collect until the next permit.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog
import trio

from core.coordinator import Coordinator, Grant, Outlook
from core.errors import RedisUnavailable, Unavailable
from core.events import BudgetView
from core.flush_policy import Budget, Call, Plan, View, next_step, plan
from core.pace import MonthPace
from core.permits import interval_ms
from core.redis_link import RedisRefused
from core.settings import Settings
from core.standings import Claimed, Open, Standing

# After trouble with Redis or Postgres; whoever learns sooner that it is over wakes the rounds.
_ASK_AGAIN_S = 1.0

_log = structlog.get_logger(__name__)


class Ledger(Protocol):
    """Whoever can make a budget that Redis lost one to rely on."""

    async def restore(self, now_ms: int, *, count_lost: bool) -> int:
        """Restore it, and return the calls of the month, or raise Unavailable."""


class Keeper(Protocol):
    """Whoever has the windows, and alone settles them."""

    def views(self) -> Iterable[View]:
        """Every batch that somebody waits for here."""

    def note(self, standing: Standing) -> None:
        """Take notice of how a batch stands in Redis."""

    def flush(self, claims: Sequence[Claimed], asked_at: float) -> None:
        """Flush batches that were claimed; the permit for their upstream call was asked for then."""

    def too_late(self, call_at: float) -> list[str]:
        """Batches with requests that would no longer wait when the next upstream call may be made."""

    def refuse(self, call_at: float) -> None:
        """Give those requests up."""

    def give_up(self, batch_ids: Iterable[str], error: Unavailable) -> None:
        """Answer everybody who waits for these batches with an error."""


class Rounds:
    """The one task of an instance that claims what no admission did."""

    def __init__(self, settings: Settings, coordinator: Coordinator, ledger: Ledger, keeper: Keeper) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._ledger = ledger
        self._keeper = keeper
        self._interval_s = interval_ms(settings.upstream_calls_per_minute, settings.upstream_timeout_ms) / 1000
        self._pace = MonthPace(settings.upstream_calls_per_month)
        self._woken = trio.Event()
        self._look_again_at = float("inf")
        self._was_put_off = False  # the next call, since it was last looked who waits in vain
        # From when on the budget is reckoned with the limits of these settings, not with those of the last process.
        self.may_claim = False
        self.next_call_at = float("-inf")  # on trio's clock, as far as is known here
        self._told_at_ms = 0  # when that was so, by Redis' clock: what was asked before may be answered after

    def wake(self) -> None:
        """Something is ripe here, or changed."""
        self._woken.set()

    def hear_next_call(self, in_ms: int, now_ms: int) -> None:
        """The time of the next upstream call was moved, at this unix time by Redis' clock."""
        self._put_off(in_ms, now_ms)
        self._was_put_off = True
        self.wake()

    def budget_view(self) -> BudgetView:
        """What monitors see of the budget."""
        return BudgetView(
            per_minute=self._settings.upstream_calls_per_minute,
            per_month=self._settings.upstream_calls_per_month,
            call_in_ms=max(0, round((max(self.next_call_at, 0) - trio.current_time()) * 1000)),
            month_calls=self._pace.calls,
            month_projected=self._pace.projected,
        )

    def take(self, grant: Grant, asked_at: float) -> None:
        """Have what was claimed flushed, its permit asked for then, and take notice of how all else stands."""
        for standing in grant.standings:
            if not isinstance(standing, Open):
                self._keeper.note(standing)
        if claims := [standing for standing in grant.standings if isinstance(standing, Claimed)]:
            self._keeper.flush(claims, asked_at)
        if not isinstance(grant.call_in_ms, str):
            self._pace.note(grant.calls, grant.now_ms)
            self._put_off(grant.call_in_ms, grant.now_ms)

    def look(self) -> None:
        """Messages may have been missed: what is known of the next call is to be read anew."""
        self.next_call_at = float("-inf")
        self._told_at_ms = 0
        self.wake()

    async def run(self) -> None:
        """Hold rounds for ever: when woken, and when the policy says so."""
        while True:
            await self._try_round()
            with trio.move_on_at(self._look_again_at):
                await self._woken.wait()
            self._woken = trio.Event()

    async def _try_round(self) -> None:
        self._look_again_at = float("inf")
        try:
            await self._round()
        except RedisRefused as refusal:
            self._keeper.give_up(self._ripe_here(), refusal)
        except Unavailable as error:
            if not isinstance(error, RedisUnavailable):
                _log.warning("no upstream call until the month's count is known", reason=str(error))
            self._look_again_at = trio.current_time() + _ASK_AGAIN_S

    async def _round(self) -> None:
        if not self.may_claim:
            await self._restore(await self._coordinator.outlook())
            self.may_claim = True
        if trio.current_time() < self.next_call_at or not self._ripe_here():
            await self._refuse_late()
            return
        planned = self._plan()
        self._look_again_at = planned.look_again_at
        for call in planned.calls:
            if not await self._claim(call):
                break
        await self._refuse_late()

    def _ripe_here(self) -> list[str]:
        now, threshold = trio.current_time(), self._settings.batch_threshold
        return [view.batch_id for view in self._keeper.views() if isinstance(next_step(view, now, threshold), str)]

    def _plan(self) -> Plan:
        budget = Budget(
            threshold=self._settings.batch_threshold,
            ride_along=self._settings.batch_ride_along,
            max_ids=self._settings.upstream_max_ids,
            next_call_at=self.next_call_at,
            interval_s=self._interval_s,
        )
        return plan(self._keeper.views(), budget, trio.current_time())

    async def _claim(self, call: Call) -> bool:
        """Claim the batches of one call; say whether another one may be claimed."""
        asked_at = trio.current_time()
        grant = await self._coordinator.claim(call)
        self.take(grant, asked_at)
        if isinstance(grant.call_in_ms, str):
            await self._restore(grant)
            self.wake()
        return grant.call_in_ms == 0

    def _put_off(self, call_in_ms: int, now_ms: int) -> None:
        """Take notice of when the next call may be made, unless something newer was heard."""
        if now_ms < self._told_at_ms:
            return
        self._told_at_ms = now_ms
        self.next_call_at = trio.current_time() + call_in_ms / 1000
        self._was_put_off = self._was_put_off or call_in_ms > 0

    async def _refuse_late(self) -> None:
        """Give up whom no call can reach in time; not those whose call is under way, as Redis alone knows for sure."""
        if trio.current_time() < self.next_call_at:
            self._look_again_at = self.next_call_at
        if not self._was_put_off:
            return
        self._was_put_off = False
        call_at = self.next_call_at
        if late := self._keeper.too_late(call_at):
            for standing in await self._coordinator.look(late):
                self._keeper.note(standing)
            if self.next_call_at == call_at:  # or else it was moved again, and whoever did that woke the next round
                self._keeper.refuse(call_at)

    async def _restore(self, outlook: Outlook) -> None:
        calls = await self._ledger.restore(outlook.now_ms, count_lost=outlook.call_in_ms == "lost")
        self._pace.note(calls, outlook.now_ms)
