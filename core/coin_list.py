"""The list of all coins: long, seldom new, and so asked for rarely.

body = await coin_list.get()        # JSON, byte for byte as CoinGecko sent it
"""

from functools import partial
from math import ceil, inf

import msgspec
import structlog
import trio

from core.coingecko import COIN_LIST_S, CoinGecko, PermitLapsed
from core.coordinator import Coordinator
from core.errors import (
    CryptoPulseError,
    RedisUnavailable,
    ResultTimeout,
    UpstreamFailed,
    UpstreamLimited,
    over_budget,
)
from core.ledger import Ledger
from core.permits import PERMIT_S, Permit
from core.settings import Settings

# So long here, and in Redis for all instances: what is served is never older than twice that, unless CoinGecko fails.
_KEEP_S = 3600
_KEEP_ON_FAILURE_S = 86_400
# Whoever waited for a call that failed gets its failure, and so does who asks soon after: each is not worth a call.
_FAILED_FOR_S = 5

_log = structlog.get_logger()


class _Kept(msgspec.Struct, frozen=True):
    """A list, and since when it is here, on trio's clock."""

    body: bytes
    since: float


class CoinList:
    """The list, for all requests of this instance."""

    def __init__(self, settings: Settings, coordinator: Coordinator, ledger: Ledger, coingecko: CoinGecko) -> None:
        self._patience_s = settings.batch_result_timeout_ms / 1000
        self._coordinator = coordinator
        self._ledger = ledger
        self._coingecko = coingecko
        self._turn = trio.Lock()  # one asks, and the others find what it got; is it cancelled, the next one asks
        self._kept: _Kept | None = None
        self._failure: UpstreamFailed | UpstreamLimited | None = None
        self._failed_until = -inf

    async def get(self) -> bytes:
        """Give the list, as JSON; it is at most two hours old, or a day if none can be had.

        Raises OverBudget when no call may be made within the result timeout, ResultTimeout when none was answered 10 s
        later, UpstreamLimited, UpstreamFailed or RedisUnavailable; never while there is one of the last day.
        """
        try:
            return await self._get_in_turn()
        except CryptoPulseError:
            if older := self._kept_for(_KEEP_ON_FAILURE_S):
                return older
            raise

    async def _get_in_turn(self) -> bytes:
        give_up_at = trio.current_time() + self._patience_s
        try:
            with trio.fail_at(give_up_at + COIN_LIST_S):
                async with self._turn:
                    return self._kept_for(_KEEP_S) or await self._ask(give_up_at)
        except trio.TooSlowError as error:
            raise ResultTimeout("The list of coins did not come in time. Try again shortly.") from error

    async def _ask(self, give_up_at: float) -> bytes:
        # Looked for anew before each permit: while this instance waits for one, another may have used its own.
        while (body := await self._coordinator.kept_coin_list()) is None:
            if self._failure and trio.current_time() < self._failed_until:
                raise self._failure.with_traceback(None)
            asked_at = trio.current_time()
            permit = await self._ledger.permit()
            if not permit.wait_ms:
                return await self._fetch(permit, asked_at + PERMIT_S)
            await _wait(permit, give_up_at)
        return self._keep(body)

    async def _fetch(self, permit: Permit, start_by: float) -> bytes:
        try:
            body = await self._ledger.spend(permit, partial(self._coingecko.coin_list, start_by=start_by))
        except (UpstreamFailed, UpstreamLimited) as error:
            self._fail(error)
            raise
        except PermitLapsed as error:
            failure = UpstreamFailed("CoinGecko could not be reached fast enough. Try again shortly.", billed=False)
            self._fail(failure)
            raise failure from error
        await self._share(body)
        return self._keep(body)

    async def _share(self, body: bytes) -> None:
        try:
            await self._coordinator.keep_coin_list(body, _KEEP_S * 1000)
        except RedisUnavailable as error:
            _log.warning("the list of coins is not shared", reason=repr(error.__cause__ or error))

    def _keep(self, body: bytes) -> bytes:
        self._kept = _Kept(body, trio.current_time())
        return body

    def _kept_for(self, keep_s: float) -> bytes | None:
        if self._kept is None or trio.current_time() >= self._kept.since + keep_s:
            return None
        return self._kept.body

    def _fail(self, failure: UpstreamFailed | UpstreamLimited) -> None:
        _log.warning("no new list of coins", reason=str(failure.__cause__ or failure))
        self._failure = failure
        self._failed_until = trio.current_time() + (failure.retry_after_s or _FAILED_FOR_S)


async def _wait(permit: Permit, give_up_at: float) -> None:
    """Wait until a permit may be had, as Redis told, or raise OverBudget if that is too late."""
    wait_s = 1.0 if isinstance(permit.wait_ms, str) else permit.wait_ms / 1000
    if trio.current_time() + wait_s > give_up_at:
        raise over_budget(max(1, ceil(wait_s)))
    await trio.sleep(wait_s)
