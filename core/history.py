"""Prices, and counts of upstream calls, in Postgres: what is asked of its tables, and nothing else asks.

history = History(postgres)
await history.keep(prices)
page = await history.page("bitcoin", "usd", since=None, until=None, limit=20, page=1)
older = await history.before("bitcoin", "usd", page.next, since=None, until=None, limit=20)
candles = await history.candles("bitcoin", "usd", stretch)

A page counts all that there is and leaves out all pages before it, so deep ones take long; what comes before a cursor
is found by the index, and takes as long a year back as it does today.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec
from asyncpg.exceptions import CheckViolationError, DataError, IntegrityConstraintViolationError
from asyncpg.pool import PoolConnectionProxy

from core.candles import Candle, Stretch
from core.errors import HistoryUnavailable
from core.month import MonthCount
from core.postgres import Postgres
from core.prices import Price

# SQLSTATE classes 22 and 23 are about the values, whatever the state of the server.
_REFUSED = (DataError, IntegrityConstraintViolationError)

_READ_S = 3.0
_KEEP_S = 10.0

# No price was fetched outside of these, and every time zone can express them.
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 1, 1, tzinfo=UTC)
_LARGEST_OFFSET = 2**63 - 1

_AFTER_EVERY_BATCH = UUID(int=2**128 - 1)

_ENSURE_PARTITIONS = """
    SELECT ensure_prices_partition(month)
    FROM (SELECT DISTINCT date_trunc('month', moment, 'UTC') AS month FROM unnest($1::timestamptz[]) AS moment) AS _
"""

# One statement, so one transaction, and the count's row is locked no longer than it takes. Whoever comes with an older
# count, such as an instance that was slow, or a Redis that lost some of it, does not lower it.
_INSERT = """
    WITH counted AS (
        INSERT INTO upstream_calls (month, calls)
        SELECT $6, $7 WHERE $6::date IS NOT NULL
        ON CONFLICT (month) DO UPDATE SET calls = excluded.calls WHERE upstream_calls.calls < excluded.calls
    )
    INSERT INTO prices (batch_id, coin_id, vs_currency, price, fetched_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[], $5::timestamptz[])
    ON CONFLICT DO NOTHING
"""

_CALLS = "SELECT coalesce(max(calls), 0) AS calls FROM upstream_calls WHERE month = $1"

# One statement, so that count and items are of one moment. Past the last page it gives one row without an item.
_PAGE = """
    WITH matching AS NOT MATERIALIZED (
        SELECT price, fetched_at, batch_id FROM prices
        WHERE coin_id = $1 AND vs_currency = $2 AND fetched_at BETWEEN $3 AND $4
    )
    SELECT counted.total, item.price, item.fetched_at, item.batch_id
    FROM (SELECT count(*) AS total FROM matching) AS counted
    LEFT JOIN (
        SELECT * FROM matching ORDER BY fetched_at DESC, batch_id LIMIT $5::bigint OFFSET $6::bigint
    ) AS item ON true
    ORDER BY item.fetched_at DESC, item.batch_id
"""

# Rather than one comparison of rows, since one order falls and the other rises. The bounds hold the cursor's time
# already, so what is compared here is of one millisecond, and the index leads to it.
_BEFORE = """
    SELECT price, fetched_at, batch_id FROM prices
    WHERE coin_id = $1 AND vs_currency = $2 AND fetched_at BETWEEN $3 AND $4 AND (fetched_at < $5 OR batch_id > $6)
    ORDER BY fetched_at DESC, batch_id LIMIT $7::bigint
"""

# First and last are those of the order that pages have, turned round; the array is one, sorted once.
_CANDLES = """
    SELECT
        date_bin($5::interval, fetched_at, timestamptz 'epoch') AS opened_at,
        (array_agg(price ORDER BY fetched_at, batch_id DESC))[1] AS open,
        max(price) AS high,
        min(price) AS low,
        (array_agg(price ORDER BY fetched_at, batch_id DESC))[count(*)] AS close,
        count(*) AS count
    FROM prices
    WHERE coin_id = $1 AND vs_currency = $2 AND fetched_at >= $3 AND fetched_at < $4
    GROUP BY opened_at
    ORDER BY opened_at
"""


class PricesRefused(Exception):
    """Postgres will never take at least one of these prices, however often it is asked; it took none of them."""


class Cursor(msgspec.Struct, frozen=True):
    """A place between two prices: after one of this time and batch, so before all that are older.

    Without a batch, before everything of that time.
    """

    fetched_at: datetime
    batch_id: UUID = _AFTER_EVERY_BATCH


class HistoryItem(msgspec.Struct, frozen=True):
    """One kept price and its time of fetch, aware, in UTC."""

    price: Decimal
    fetched_at: datetime


class HistoryPage(msgspec.Struct, frozen=True):
    """One page of kept prices, newest first, how many there are on all pages, and where older ones begin."""

    items: list[HistoryItem]
    total_items: int
    next: Cursor | None = None


class Older(msgspec.Struct, frozen=True):
    """Kept prices from a cursor on, newest first, and where still older ones begin."""

    items: list[HistoryItem]
    next: Cursor | None = None


class History:
    """Kept prices; any number of tasks may call its methods at a time."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def keep(self, prices: Sequence[Price], counted: MonthCount | None = None) -> None:
        """Write these prices, all or none of them; leave those alone that are there by batch, currency and time.

        With them goes what a month has `counted` of upstream calls, unless a higher count is there already.
        Raises HistoryUnavailable within 10 s when Postgres is away: ask again later. Raises PricesRefused when
        asking again is no use because a value itself is at fault: then split the prices until the one is found,
        and put it aside. Prices are checked long before they come here, so that should never happen; but one that
        slipped through must not keep all that follow it from Postgres. Cancelled: written or not, so ask again.
        """
        if not prices:
            return
        columns = _columns(prices)
        count = (counted.month, counted.calls) if counted else (None, None)

        async def write(connection: PoolConnectionProxy) -> None:
            try:
                await connection.execute(_INSERT, *columns, *count)
            except CheckViolationError as error:
                if error.constraint_name:
                    raise
                # A month without a partition, which is rare: they are made ahead. Nothing looks first, so that a write
                # takes no lock but that of its rows.
                await connection.execute(_ENSURE_PARTITIONS, columns[-1])
                await connection.execute(_INSERT, *columns, *count)

        try:
            await self._postgres.run(write, deadline_s=_KEEP_S)
        except HistoryUnavailable as error:
            if isinstance(error.__cause__, _REFUSED):
                raise PricesRefused(str(error.__cause__)) from error.__cause__
            raise

    async def page(
        self,
        coin_id: str,
        vs_currency: str,
        *,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        page: int,
    ) -> HistoryPage:
        """Read one page of a coin's prices in a currency, newest first; pages count from 1, bounds are inclusive.

        Prices of one millisecond are ordered by batch, so that no page shows what another showed. Raises
        HistoryUnavailable within 3 s when Postgres is away.
        """
        offset = min((page - 1) * limit, _LARGEST_OFFSET)
        bounds = _bounds(since, until)
        rows = await self._postgres.ask(_PAGE, coin_id, vs_currency, *bounds, limit, offset, deadline_s=_READ_S)
        total = rows[0]["total"]
        found = [row for row in rows if row["price"] is not None]
        return HistoryPage(_items(found), total, _cursor(found) if offset + len(found) < total else None)

    async def before(
        self,
        coin_id: str,
        vs_currency: str,
        cursor: Cursor,
        *,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> Older:
        """Read a coin's prices in a currency from a cursor on, in the order of pages, and within the same bounds.

        Nothing is counted, so it takes the same time however far back; and prices that come meanwhile move nothing.
        Raises HistoryUnavailable within 3 s when Postgres is away.
        """
        at = _clamped(cursor.fetched_at)
        first, last = _bounds(since, until)
        bounds = (first, min(last, at), at, cursor.batch_id)
        rows = await self._postgres.ask(_BEFORE, coin_id, vs_currency, *bounds, limit + 1, deadline_s=_READ_S)
        found = rows[:limit]
        return Older(_items(found), _cursor(found) if len(rows) > limit else None)

    async def candles(self, coin_id: str, vs_currency: str, stretch: Stretch) -> list[Candle]:
        """What a coin's prices in a currency did, oldest first; an interval without a price has no candle.

        Raises HistoryUnavailable within 3 s when Postgres is away.
        """
        arguments = (coin_id, vs_currency, stretch.begins, stretch.ends, stretch.interval)
        rows = await self._postgres.ask(_CANDLES, *arguments, deadline_s=_READ_S)
        return [Candle(**row) for row in rows]

    async def calls_in(self, month: date) -> int:
        """How many upstream calls were counted in the month of this first day, as far as is known here.

        Raises HistoryUnavailable within 3 s when Postgres is away.
        """
        (row,) = await self._postgres.ask(_CALLS, month, deadline_s=_READ_S)
        calls: int = row["calls"]
        return calls


def _columns(prices: Sequence[Price]) -> tuple[list[UUID], list[str], list[str], list[Decimal], list[datetime]]:
    """What goes into each column, or raise PricesRefused where it cannot even be expressed."""
    try:
        batches = [UUID(hex=price.batch_id) for price in prices]
        times = [price.fetched_at for price in prices]
    except (ValueError, OverflowError) as error:
        raise PricesRefused(str(error)) from error
    coins = [price.coin_id for price in prices]
    currencies = [price.vs_currency for price in prices]
    return batches, coins, currencies, [price.price for price in prices], times


def _items(rows: Sequence[asyncpg.Record]) -> list[HistoryItem]:
    return [HistoryItem(row["price"], row["fetched_at"]) for row in rows]


def _cursor(rows: Sequence[asyncpg.Record]) -> Cursor | None:
    """The place after the last of these rows."""
    return Cursor(rows[-1]["fetched_at"], rows[-1]["batch_id"]) if rows else None


def _bounds(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    return _clamped(since or _FIRST), _clamped(until or _LAST)


def _clamped(moment: datetime) -> datetime:
    return min(max(moment, _FIRST), _LAST)
