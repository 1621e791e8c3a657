"""A flush: batches that this instance claimed, one upstream call, and the results for everybody.

While the call runs the leases are renewed; should they be lost all the same, the call is given up, since its result
would be refused.
"""

from collections.abc import Sequence

import structlog
import trio

from core.batches import Failure, Result, unknown_coin
from core.coingecko import CoinGecko, Fetched, PermitLapsed
from core.coordinator import Coordinator
from core.errors import RedisUnavailable, UpstreamFailed, UpstreamLimited
from core.events import Flushed, unix_ms
from core.permits import Called, failed
from core.redis_link import RedisLink, RedisRefused
from core.standings import Claimed
from core.watch import Broadcast

_RENEW_EVERY_S = 0.5
# Beyond this nobody is answered from the result anyway: those who wait were told 503.
_COMPLETION_PATIENCE_S = 2.0

# Of hundreds of batches that one call flushed, the log names the first.
_LOGGED = 20

_log = structlog.get_logger()


class Flusher:
    """Flushes what was claimed."""

    def __init__(
        self,
        instance: str,
        coordinator: Coordinator,
        link: RedisLink,
        upstream: CoinGecko,
        broadcast: Broadcast,
    ) -> None:
        self._instance = instance
        self._coordinator = coordinator
        self._link = link
        self._upstream = upstream
        self._broadcast = broadcast
        self.calls = 0  # upstream calls begun

    async def flush(self, claims: Sequence[Claimed], start_by: float) -> list[Result]:
        """Fetch the claimed batches and settle them; return the results that stand.

        Empty if another instance took over meanwhile, or Redis went away before it knew of the results; and if the
        call could not begin by `start_by`, on trio's clock: then the claims are given back.
        """
        started_at = trio.current_time()
        results: list[Result] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold, claims, nursery.cancel_scope)
            try:
                results = await self._fetch_and_complete(claims, start_by)
            except PermitLapsed:
                await self._release(claims)
            nursery.cancel_scope.cancel()
        self._tell(claims, results, (trio.current_time() - started_at) * 1000)
        return results

    async def _fetch_and_complete(self, claims: Sequence[Claimed], start_by: float) -> list[Result]:
        called, outcomes = await self._fetch(claims, start_by)
        accepted = await self._complete(called, outcomes)
        return [result for claim, result in outcomes if claim.batch_id in accepted]

    async def _hold(self, claims: Sequence[Claimed], flush: trio.CancelScope) -> None:
        held, pause_s = len(claims), _RENEW_EVERY_S
        while held:
            await trio.sleep(pause_s)
            pause_s = _RENEW_EVERY_S
            try:
                held = await self._coordinator.renew(claims)
            except RedisRefused:
                continue
            except RedisUnavailable:
                await self._link.wait_up()
                pause_s = 0  # the lease ran on meanwhile
        flush.cancel()

    async def _fetch(self, claims: Sequence[Claimed], start_by: float) -> tuple[Called, list[tuple[Claimed, Result]]]:
        called_at = trio.current_time()
        fetched = Fetched({}, 0)
        failure: Failure | None = None
        called = Called("answered")
        coin_ids = {claim.coin_id for claim in claims}
        vs_currencies = frozenset[str]().union(*(claim.vs_currencies for claim in claims))
        self.calls += 1
        try:
            fetched = await self._upstream.fetch(coin_ids, vs_currencies, start_by=start_by)
        except PermitLapsed:
            self.calls -= 1
            raise
        except UpstreamLimited as error:
            failure = Failure("upstream_limited", error.message, error.retry_after_s)
            called = failed(error)
            _log.warning("coingecko limits us", reason=str(error.__cause__ or error))
        except UpstreamFailed as error:
            failure = Failure("upstream_failed", error.message)
            called = failed(error)
            _log.warning("coingecko failed", reason=str(error.__cause__ or error), exc_info=error)
        upstream_ms = (trio.current_time() - called_at) * 1000
        return called, [(claim, _result(claim, upstream_ms, failure, fetched)) for claim in claims]

    async def _complete(self, called: Called, outcomes: Sequence[tuple[Claimed, Result]]) -> set[str]:
        with trio.move_on_after(_COMPLETION_PATIENCE_S):
            while True:
                try:
                    return await self._coordinator.complete(called, outcomes)
                except RedisRefused:
                    return set()
                except RedisUnavailable:
                    await self._link.wait_up()
        return set()

    async def _release(self, claims: Sequence[Claimed]) -> None:
        _log.warning("a permit lapsed before its call began", batches=len(claims))
        try:
            await self._coordinator.release(claims)
        except RedisUnavailable:
            return  # the leases run out by themselves

    def _tell(self, claims: Sequence[Claimed], results: Sequence[Result], total_ms: float) -> None:
        first = next((claim for claim in claims if claim.trigger != "ride-along"), claims[0])
        failures = {result.failure.kind for result in results if result.failure}
        is_failed = all(result.failure for result in results)
        event = Flushed(
            instance=self._instance,
            at_ms=unix_ms(),
            trigger=first.trigger,
            coins=[claim.coin_id for claim in claims],
            requests=sum(claim.size for claim in claims),
            upstream_ms=results[0].upstream_ms if results else total_ms,
            outcome="fenced" if not results else "failed" if is_failed else "answered",
            reason=", ".join(sorted(failures)),
        )
        self._broadcast.tell(event)
        _log.info(
            "flush",
            trigger=event.trigger,
            coins=event.coins[:_LOGGED],
            batches=[claim.batch_id for claim in claims[:_LOGGED]],
            of=len(claims),
            requests=event.requests,
            upstream_ms=round(event.upstream_ms, 1),
            total_ms=round(total_ms, 1),
            outcome=event.outcome,
            **({"reason": event.reason} if event.reason else {}),
        )


def _result(claim: Claimed, upstream_ms: float, failure: Failure | None, fetched: Fetched) -> Result:
    prices = fetched.prices.get(claim.coin_id)
    if failure is None and prices is None:
        failure = unknown_coin(claim.coin_id)
    return Result(
        batch_id=claim.batch_id,
        coin_id=claim.coin_id,
        trigger=claim.trigger,
        size=claim.size,
        fetched_at_ms=claim.claimed_at_ms,
        upstream_ms=round(upstream_ms, 3),
        fresh_for_s=fetched.fresh_for_s,
        prices={code: price for code, price in (prices or {}).items() if code in claim.vs_currencies},
        unlisted=[] if failure else sorted(claim.vs_currencies - set(prices or {})),
        failure=failure,
    )
