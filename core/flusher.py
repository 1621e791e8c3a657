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
from core.flush_report import FlushReport
from core.permits import PERMIT_S, Called, failed, let_in_again_s
from core.redis_link import RedisLink, RedisRefused
from core.settings import Settings
from core.standings import Claimed
from core.tally import Tally
from core.watch import Broadcast

_RENEW_EVERY_S = 0.5
# Beyond this nobody is answered from the result anyway: those who wait were told 503.
_COMPLETION_PATIENCE_S = 2.0

_NOTHING = Fetched({}, 0)

_log = structlog.get_logger(__name__)


class Flusher:
    """Flushes what was claimed."""

    def __init__(
        self,
        settings: Settings,
        coordinator: Coordinator,
        link: RedisLink,
        upstream: CoinGecko,
        tally: Tally,
        broadcast: Broadcast,
    ) -> None:
        self._window_ms = settings.batch_window_ms
        self._let_in_again_s = let_in_again_s(settings)
        self._coordinator = coordinator
        self._link = link
        self._upstream = upstream
        self._tally = tally
        self._broadcast = broadcast

    async def flush(self, claims: Sequence[Claimed], asked_at: float) -> Sequence[Result]:
        """Fetch the claimed batches and settle them; return the results that stand.

        Empty if another instance took over meanwhile, or Redis went away before it knew of the results; and if the
        call could not begin before the permit lapsed that was `asked_at`: then the claims are given back.
        """
        started_at = trio.current_time()
        report = FlushReport(claims, claim_ms=(started_at - asked_at) * 1000)
        self._tally.counts.takeovers += sum(claim.trigger == "takeover" for claim in claims)
        if self._broadcast.is_watched:
            self._broadcast.tell(report.claimed())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold, claims, nursery.cancel_scope)
            try:
                await self._fetch_and_complete(report, asked_at + PERMIT_S)
            except PermitLapsed:
                report.lapsed = True
                await self._release(claims)
            nursery.cancel_scope.cancel()
        self._tell(report, (trio.current_time() - started_at) * 1000)
        return report.results

    async def _fetch_and_complete(self, report: FlushReport, start_by: float) -> None:
        called_at = trio.current_time()
        try:
            called, fetched, failure = await self._fetch(report.claims, start_by)
        finally:
            fetched_at = trio.current_time()
            report.upstream_ms = (fetched_at - called_at) * 1000
        report.call = called.outcome
        outcomes = [(claim, _result(claim, report.upstream_ms, failure, fetched)) for claim in report.claims]
        accepted = await self._complete(called, outcomes)
        report.publish_ms = (trio.current_time() - fetched_at) * 1000
        report.results = [result for claim, result in outcomes if claim.batch_id in accepted]

    async def _hold(self, claims: Sequence[Claimed], flush: trio.CancelScope) -> None:
        held, pause_s = len(claims), _RENEW_EVERY_S
        while held:
            await trio.sleep(pause_s)  # a timer: a lease runs out by the clock alone
            pause_s = _RENEW_EVERY_S
            try:
                held = await self._coordinator.renew(claims)
            except RedisRefused:
                continue
            except RedisUnavailable:
                await self._link.wait_up()
                pause_s = 0  # the lease ran on meanwhile
        flush.cancel()

    async def _fetch(self, claims: Sequence[Claimed], start_by: float) -> tuple[Called, Fetched, Failure | None]:
        coin_ids = {claim.coin_id for claim in claims}
        vs_currencies = frozenset[str]().union(*(claim.vs_currencies for claim in claims))
        began_at = trio.current_time()
        self._tally.call_began(began_at)
        try:
            fetched = await self._upstream.fetch(coin_ids, vs_currencies, start_by=start_by)
        except PermitLapsed:
            self._tally.call_lapsed(began_at)
            raise
        except UpstreamLimited as error:
            _log.warning("coingecko limits us", reason=str(error.__cause__ or error))
            told = error.no_sooner_than(self._let_in_again_s)
            return failed(error), _NOTHING, Failure("upstream_limited", told.message, told.retry_after_s)
        except UpstreamFailed as error:
            _log.warning("coingecko failed", reason=str(error.__cause__ or error), exc_info=error)
            return failed(error), _NOTHING, Failure("upstream_failed", error.message)
        return Called("answered"), fetched, None

    async def _complete(self, called: Called, outcomes: Sequence[tuple[Claimed, Result]]) -> set[str]:
        with trio.move_on_after(_COMPLETION_PATIENCE_S):
            while True:
                try:
                    accepted = await self._coordinator.complete(called, outcomes)
                except RedisRefused:
                    return set()
                except RedisUnavailable:
                    await self._link.wait_up()
                else:
                    self._tally.counts.fenced += len(outcomes) - len(accepted)
                    return accepted
        return set()

    async def _release(self, claims: Sequence[Claimed]) -> None:
        _log.warning("a permit lapsed before its call began", batches=len(claims))
        try:
            await self._coordinator.release(claims)
        except RedisUnavailable:
            return  # the leases run out by themselves

    def _tell(self, report: FlushReport, total_ms: float) -> None:
        self._count(report)
        if self._broadcast.is_watched:
            self._broadcast.tell(report.flushed(self._window_ms))
        _log.info(
            "flush",
            trigger=report.trigger,
            coins=[claim.coin_id for claim in report.named],
            batches=[claim.batch_id for claim in report.named],
            of=len(report.claims),
            requests=report.requests,
            upstream_ms=round(report.upstream_ms, 1),
            total_ms=round(total_ms, 1),
            outcome=report.outcome,
            **({"reason": report.reason} if report.reason else {}),
        )

    def _count(self, report: FlushReport) -> None:
        counts = self._tally.counts
        counts.flushes[report.outcome] += 1
        counts.batches.update(result.trigger for result in report.results)
        if not report.lapsed:
            self._tally.call_ended(trio.current_time(), report.upstream_ms / 1000)
            counts.calls["prices", report.call] += 1
            counts.coins_a_call.note(len({claim.coin_id for claim in report.claims}))


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
