"""The list of all coins: long, seldom new, and so asked for rarely.

    nursery.start_soon(coin_list.run)
    body = await coin_list.get()        # JSON, byte for byte as CoinGecko sent it

Requests only wait for it: who leaves wastes no call.
"""

from functools import partial
from math import inf

import msgspec
import structlog
import trio

from core.coingecko import COIN_LIST_S, CoinGecko, PermitLapsed
from core.coordinator import Coordinator
from core.errors import (
    CryptoPulseError,
    OverBudget,
    RedisUnavailable,
    ResultTimeout,
    Unavailable,
    UpstreamFailed,
    UpstreamLimited,
    over_budget,
)
from core.ledger import Ledger
from core.permits import PERMIT_S, Permit, let_in_again_s
from core.settings import Settings

# So long here, and in Redis for all instances: what is served is never older than twice that, unless CoinGecko fails.
_KEEP_S = 3600
_KEEP_ON_FAILURE_S = 86_400
# Whoever waited for a call that failed gets its failure, and so does who asks soon after: each is not worth a call.
_FAILED_FOR_S = 5

_log = structlog.get_logger(__name__)


class _Kept(msgspec.Struct, frozen=True):
    """A list, and since when it is here, on trio's clock."""

    body: bytes
    since: float


class CoinList:
    """The list, for all requests of this instance."""

    def __init__(self, settings: Settings, coordinator: Coordinator, ledger: Ledger, coingecko: CoinGecko) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._ledger = ledger
        self._coingecko = coingecko
        self._wanted = trio.Event()
        self._tried = trio.Event()  # a new one for each attempt
        self._kept: _Kept | None = None
        self._failure: CryptoPulseError = ResultTimeout("The list of coins was never asked for.")
        self._failed_until = -inf

    async def get(self) -> bytes:
        """Give the list, as JSON; it is at most two hours old, or a day if none can be had.

        Raises OverBudget when no call may be made within the result timeout, ResultTimeout when none was answered 10 s
        later, UpstreamLimited, UpstreamFailed or Unavailable; never while there is one of the last day.
        """
        if body := self._kept_for(_KEEP_S):
            return body
        self._wanted.set()
        await self._tried.wait()  # each attempt has its deadline
        if body := self._kept_for(_KEEP_ON_FAILURE_S):
            return body
        raise self._failure.with_traceback(None)

    async def run(self) -> None:
        """Ask for the list whenever it is wanted, for ever."""
        while True:
            await self._wanted.wait()
            await self._attempt()
            self._wanted = trio.Event()
            tried, self._tried = self._tried, trio.Event()
            tried.set()

    async def _attempt(self) -> None:
        permit_s = self._settings.batch_result_timeout_ms / 1000
        try:
            with trio.fail_after(permit_s + COIN_LIST_S):
                self._kept = _Kept(await self._ask(trio.current_time() + permit_s), trio.current_time())
        except (OverBudget, Unavailable) as error:
            self._failure = error
        except UpstreamLimited as error:
            self._fail(error.no_sooner_than(let_in_again_s(self._settings)))
        except UpstreamFailed as error:
            self._fail(error)
        except PermitLapsed:
            self._fail(UpstreamFailed("CoinGecko could not be asked fast enough. Try again shortly.", billed=False))
        except trio.TooSlowError:
            self._failure = ResultTimeout("The list of coins did not come in time. Try again shortly.")

    async def _ask(self, give_up_at: float) -> bytes:
        # Looked for anew before each permit: while this instance waits for one, another may have used its own.
        while (body := await self._coordinator.kept_coin_list()) is None:
            if trio.current_time() < self._failed_until:
                raise self._failure
            asked_at = trio.current_time()
            permit = await self._ledger.permit()
            if not permit.wait_ms:
                return await self._fetch(permit, asked_at + PERMIT_S)
            await self._wait_for_permit(permit, give_up_at)
        return body

    async def _wait_for_permit(self, permit: Permit, give_up_at: float) -> None:
        wait_s = 1.0 if isinstance(permit.wait_ms, str) else permit.wait_ms / 1000
        if trio.current_time() + wait_s > give_up_at:
            raise over_budget(wait_s, self._settings.patience_s)
        await trio.sleep(wait_s)  # a timer: should a call be free sooner, the list is in no hurry

    async def _fetch(self, permit: Permit, start_by: float) -> bytes:
        body = await self._ledger.spend(permit, partial(self._coingecko.coin_list, start_by=start_by))
        try:
            await self._coordinator.keep_coin_list(body, _KEEP_S * 1000)
        except RedisUnavailable as error:
            _log.warning("the list of coins is not shared", reason=repr(error.__cause__ or error))
        return body

    def _kept_for(self, keep_s: float) -> bytes | None:
        if self._kept is None or trio.current_time() >= self._kept.since + keep_s:
            return None
        return self._kept.body

    def _fail(self, failure: UpstreamFailed | UpstreamLimited) -> None:
        if failure is not self._failure:
            _log.warning("no new list of coins", reason=str(failure.__cause__ or failure))
            self._failure = failure
            self._failed_until = trio.current_time() + (failure.retry_after_s or _FAILED_FOR_S)
