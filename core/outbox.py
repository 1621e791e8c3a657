"""Fetched prices on their way from Redis to Postgres.

    redis = outbox.connect(redis_url)
    await nursery.start(OutboxWriter(redis, history, instance).run)
    ...
    await aio_as_trio(redis.aclose)()

A completion puts a price into the stream in the same step in which it answers, and it leaves the stream once Postgres
has it, so the stream's length is what Postgres does not have yet. Whatever happens in between, the entry is taken
again, by this instance or another, and Postgres knows what it has already. With the prices goes the month's count of
upstream calls, so that Postgres can tell it to a Redis that lost it.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from uuid import UUID

import structlog
import trio
from redis.asyncio import Redis

from core.errors import BadCoin, RedisUnavailable, Unavailable
from core.events import Event, Kept, unix_ms
from core.history import History, PricesRefused
from core.month import MonthCount
from core.outbox_stream import FORGET_IDLE_MS, RECLAIM_IDLE_MS, Entry, OutboxStream, Refusal, connect
from core.prices import Price, from_unix_ms, is_sane, parse_coin_id

__all__ = ["OutboxWriter", "connect"]

# Nothing tells when Redis or Postgres is back, so they are asked: soon at first, then without hammering.
_FIRST_BACK_OFF_S = 0.2
_LONGEST_BACK_OFF_S = 2.0
_LEAVE_S = 0.3
# A write takes some 3 ms of this process however little is in it, so what comes within this time goes together.
_REST_S = 0.25

_LONGEST_CURRENCY = 16  # as the table has it; versions that run side by side may support other currencies
_LOGGED_CHARACTERS = 300

_log = structlog.get_logger(__name__)


class OutboxWriter:
    """Moves prices from the outbox to Postgres; one an instance, all sharing the work."""

    def __init__(
        self,
        redis: Redis,
        history: History,
        instance: str,
        *,
        tell: Callable[[Event], None] = lambda _: None,
        reclaim_idle_ms: int = RECLAIM_IDLE_MS,
        forget_idle_ms: int = FORGET_IDLE_MS,
    ) -> None:
        self._stream = OutboxStream(redis, instance, reclaim_idle_ms=reclaim_idle_ms, forget_idle_ms=forget_idle_ms)
        self._history = history
        self._tell = tell
        self._missing: type[Unavailable] | None = None  # what was away at the last attempt
        self._back_off_s = _FIRST_BACK_OFF_S

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled, through any outage; started once the group is there, or Redis was found away.

        Cancelled at any moment: what Postgres does not have stays in the outbox, for the next to take.
        """
        try:
            await self._attempt(self._stream.open)
            task_status.started()
            while True:
                await self._attempt(self.run_once)
                await trio.sleep(_REST_S)  # a pace: what comes meanwhile is waited for by nobody
        finally:
            # Where this fails, others forget us an hour later.
            with trio.move_on_after(_LEAVE_S, shield=True), suppress(RedisUnavailable):
                await self._stream.leave()

    async def run_once(self) -> int:
        """Take up to 500 entries through, waiting up to 1 s for the first; returns how many.

        Raises RedisUnavailable or HistoryUnavailable, and the next call takes the same entries.
        """
        entries = await self._stream.take()
        if entries:
            refusals = await self._keep(entries, await self._stream.month_count())
            await self._stream.settle(entries, refusals)
            for refusal in refusals:
                _log.error("outbox entry refused", **_described(refusal))
        return len(entries)

    async def _attempt(self, step: Callable[[], Awaitable[object]]) -> None:
        try:
            await step()
        except Unavailable as error:
            await self._back_off(error)
        else:
            self._recover()

    async def _back_off(self, error: Unavailable) -> None:
        if type(error) is not self._missing:
            self._missing = type(error)
            _log.warning("outbox waits", missing=type(error).__name__, reason=repr(error.__cause__))
        await trio.sleep(self._back_off_s)  # a timer, since nothing tells when they are back
        self._back_off_s = min(2 * self._back_off_s, _LONGEST_BACK_OFF_S)

    def _recover(self) -> None:
        if self._missing is not None:
            _log.info("outbox goes on", missed=self._missing.__name__)
        self._missing = None
        self._back_off_s = _FIRST_BACK_OFF_S

    async def _keep(self, entries: Sequence[Entry], counted: MonthCount | None) -> list[Refusal]:
        """Have Postgres keep all prices among these entries; what is none, or what it will never take."""
        readable: list[tuple[Entry, Price]] = []
        refusals: list[Refusal] = []
        for entry in entries:
            try:
                readable.append((entry, _price_of(entry)))
            except _Unreadable as error:
                refusals.append(Refusal(entry, str(error)))
        return refusals + await self._keep_or_split(readable, counted)

    async def _keep_or_split(
        self, readable: Sequence[tuple[Entry, Price]], counted: MonthCount | None
    ) -> list[Refusal]:
        """Keep all of them; where Postgres refuses, halve until what it refuses stands alone."""
        prices = [price for _, price in readable]
        try:
            await self._history.keep(prices, counted)
        except PricesRefused as error:
            if len(readable) == 1:
                return [Refusal(readable[0][0], str(error))]
            middle = len(readable) // 2
            refusals = await self._keep_or_split(readable[:middle], counted)
            return refusals + await self._keep_or_split(readable[middle:], counted)
        if prices:
            flush_ids = sorted({price.fetched_at_ms for price in prices})
            self._tell(Kept(unix_ms(), flush_ids, len(prices)))
        return []


class _Unreadable(Exception):
    """An entry that no completion wrote; str() says what is wrong with it."""


def _price_of(entry: Entry) -> Price:
    """The price that an entry stands for, or raise _Unreadable."""
    try:
        text = {name.decode(): value.decode() for name, value in entry.fields.items()}
        price = Price(
            batch_id=UUID(hex=text["batch"]).hex,
            coin_id=parse_coin_id(text["coin"]),
            vs_currency=text["currency"],
            price=Decimal(text["price"]),
            fetched_at_ms=int(text["at"]),
        )
        from_unix_ms(price.fetched_at_ms)
    except (KeyError, ValueError, OverflowError, OSError, InvalidOperation, BadCoin) as error:
        raise _Unreadable(repr(error)) from error
    if not 0 < len(price.vs_currency) <= _LONGEST_CURRENCY or not is_sane(price.price):
        raise _Unreadable("currency or price out of bounds")
    return price


def _described(refusal: Refusal) -> dict[str, str]:
    """The refusal for the log, which may be the last place that has it; bounded."""
    fields = repr(refusal.entry.fields)[:_LOGGED_CHARACTERS]
    return {"entry": refusal.entry.id.decode(), "fields": fields, "why": refusal.why[:_LOGGED_CHARACTERS]}
