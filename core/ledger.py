"""The month's count of upstream calls: restored when Redis has lost it, corrected by CoinGecko's own.

await ledger.restore(now_ms, count_lost=True)       # where Redis says that its budget is not to be relied on
nursery.start_soon(ledger.run)
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import structlog
import trio

from core.coingecko import CoinGecko, PermitLapsed
from core.coordinator import Coordinator
from core.errors import RedisUnavailable, Unavailable, UpstreamFailed, UpstreamLimited
from core.history import History
from core.month import month_ends_ms, month_of
from core.permits import DROPPED, PERMIT_S, Called, Permit, failed
from core.settings import Settings
from core.tally import Tally

# Others may call with the same key, so this is as far as our count may be off. Some 4,400 calls a month, of 100,000
# that the smallest plan has which tells.
_CORRECT_EVERY_S = 600

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Ledger:
    """Keeps the month's count true; one an instance, all sharing the work."""

    def __init__(
        self, settings: Settings, coordinator: Coordinator, history: History, coingecko: CoinGecko, tally: Tally
    ) -> None:
        self._is_counted = settings.upstream_calls_per_month is not None
        self._coordinator = coordinator
        self._history = history
        self._coingecko = coingecko
        self._tally = tally

    async def restore(self, now_ms: int, *, count_lost: bool) -> int:
        """Make the budget one to rely on, at this time of Redis; if the count is not lost, a new month began.

        Returns the calls of the month. Raises HistoryUnavailable or RedisUnavailable, and leaves the budget as it was.
        """
        calls = 0
        if self._is_counted and count_lost:
            calls = await self._history.calls_in(month_of(now_ms))
        calls = await self._coordinator.restore(month_ends_ms(now_ms), calls)
        _log.info("budget restored", calls=calls, count_lost=count_lost)
        return calls

    async def permit(self, once: str | None = None, every_ms: int = 0) -> Permit:
        """Take the permit for an upstream call that is no flush, or hear when to ask again.

        The budget is restored first, where it must be. Raises HistoryUnavailable or RedisUnavailable.
        """
        permit = await self._coordinator.permit(once, every_ms)
        if isinstance(permit.wait_ms, str):
            await self.restore(permit.now_ms, count_lost=permit.wait_ms == "lost")
            permit = await self._coordinator.permit(once, every_ms)
        return permit

    async def spend(self, permit: Permit, call: Callable[[], Awaitable[_T]], *, billed: bool = True) -> _T:
        """Make the call that a permit is for, and tell all instances what it says of the next one."""
        began_at = trio.current_time()
        self._tally.spent(began_at)
        outcome: _T | Exception
        try:
            outcome, called = await call(), Called("answered", billed=billed)
        except PermitLapsed as error:
            self._tally.unspent(began_at)
            outcome, called = error, DROPPED
        except (UpstreamFailed, UpstreamLimited) as error:
            outcome, called = error, failed(error)
        if called.outcome != "dropped":
            self._tally.counts.calls["other", called.outcome] += 1
        await self._report(called, permit)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _report(self, called: Called, permit: Permit) -> None:
        try:
            await self._coordinator.report(called, permit)
        except RedisUnavailable as error:
            _log.warning("a call went unreported", outcome=called.outcome, reason=repr(error.__cause__ or error))

    async def run(self) -> None:
        """Correct the count until cancelled, if there is a monthly budget and CoinGecko tells; else return at once."""
        if self._is_counted and self._coingecko.tells_usage:
            while True:
                wait_s = await self._correct()
                await trio.sleep(wait_s)  # a timer, for lack of news to wait for: CoinGecko counts, and tells nobody

    async def _correct(self) -> float:
        """Correct the count, if no instance did so lately; return after how many seconds to do so again."""
        asked_at = trio.current_time()
        try:
            permit = await self.permit("key", _CORRECT_EVERY_S * 1000)
            if permit.wait_ms:
                return _soon(permit)
            # CoinGecko counts what it is asked for, not that it is asked how much that was.
            ask = partial(self._coingecko.usage, start_by=asked_at + PERMIT_S)
            reported = await self.spend(permit, ask, billed=False)
            await self._coordinator.correct(permit.calls, reported)
        except (UpstreamFailed, UpstreamLimited, PermitLapsed, Unavailable) as error:
            _log.warning("month's calls not corrected", reason=repr(error.__cause__ or error))
        else:
            _log.info("month's calls corrected", counted=permit.calls, reported=reported)
        return _CORRECT_EVERY_S


def _soon(permit: Permit) -> float:
    """After how many seconds to ask for a permit again; one that cannot be relied on is asked for in a second."""
    return 1.0 if isinstance(permit.wait_ms, str) else min(permit.wait_ms / 1000, _CORRECT_EVERY_S)
