"""Prices, and counts of upstream calls, in Postgres: the only module that knows it, beside the migrations.

async with trio_asyncio.open_loop(), open_history(database_url) as history:
    await history.keep(prices)
    page = await history.page("bitcoin", "usd", since=None, until=None, limit=20, page=1)

Postgres may be away at any time, at the start too. A call is one asyncio coroutine from borrowing a connection to
giving it back: were they two, a cancel between them would take the connection from the pool for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import trio
from asyncpg.exceptions import DataError, IntegrityConstraintViolationError, InternalClientError
from trio_asyncio import aio_as_trio

from core.errors import HistoryUnavailable
from core.month import MonthCount
from core.prices import Price

# Away, restarting, slow, overloaded, or without our tables: asyncpg says each in its own words.
_AWAY = (OSError, trio.TooSlowError, asyncpg.PostgresError, asyncpg.InterfaceError, InternalClientError)

# SQLSTATE classes 22 and 23 are about the values, whatever the state of the server.
_REFUSED = (DataError, IntegrityConstraintViolationError)

_READ_S = 3.0
_KEEP_S = 10.0
_CLOSE_S = 0.3

# One bulk write and some readers at a time; Postgres allows 100 connections by default, for all instances together.
_MAX_CONNECTIONS = 5

# No price was fetched outside of these, and every time zone can express them.
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 1, 1, tzinfo=UTC)
_LARGEST_OFFSET = 2**63 - 1

_Question = tuple[str, Sequence[object]]  # a statement and its arguments

_ENSURE_PARTITIONS = "SELECT ensure_prices_partition(moment) FROM unnest($1::timestamptz[]) AS moment"

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
    SELECT counted.total, item.price, item.fetched_at
    FROM (SELECT count(*) AS total FROM matching) AS counted
    LEFT JOIN (
        SELECT * FROM matching ORDER BY fetched_at DESC, batch_id LIMIT $5::bigint OFFSET $6::bigint
    ) AS item ON true
    ORDER BY item.fetched_at DESC, item.batch_id
"""


class PricesRefused(Exception):
    """Postgres will never take at least one of these prices, however often it is asked; it took none of them."""


class HistoryItem(msgspec.Struct, frozen=True):
    """One kept price and its time of fetch, aware, in UTC."""

    price: Decimal
    fetched_at: datetime


class HistoryPage(msgspec.Struct, frozen=True):
    """One page of kept prices, newest first, and how many there are on all pages."""

    items: list[HistoryItem]
    total_items: int


@asynccontextmanager
async def open_history(database_url: str) -> AsyncIterator["History"]:
    """Open the history of this database inside an open trio_asyncio loop; Postgres need not be up.

    Takes `postgres://` and `postgresql://`, with query arguments. Closes within 0.3 s, also when cancelled.
    """
    pool = await aio_as_trio(_open_pool)(database_url)
    try:
        yield History(pool)
    finally:
        with trio.move_on_after(_CLOSE_S, shield=True), suppress(*_AWAY):
            await aio_as_trio(pool.close)()
        pool.terminate()


async def _open_pool(database_url: str) -> asyncpg.Pool:
    _forgive_orphans(asyncio.get_running_loop())
    # No connection is made before somebody asks.
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=_MAX_CONNECTIONS,
        server_settings={"application_name": "cryptopulse"},
    )


def _forgive_orphans(loop: asyncio.AbstractEventLoop) -> None:
    """Let no connection that broke after its caller had left end the program.

    A connect that is cancelled in the wrong moment leaves a future with an error that nobody awaits. asyncio would
    log that; trio-asyncio raises it out of `open_loop()`.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), _AWAY):
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


class History:
    """Kept prices; any number of tasks may call its methods at a time."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

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
        questions = _write_questions(prices, counted)
        try:
            await self._ask(*questions, deadline_s=_KEEP_S)
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
        bounds = (_clamped(since or _FIRST), _clamped(until or _LAST))
        rows = await self._ask((_PAGE, (coin_id, vs_currency, *bounds, limit, offset)), deadline_s=_READ_S)
        items = [HistoryItem(row["price"], row["fetched_at"]) for row in rows if row["price"] is not None]
        return HistoryPage(items, rows[0]["total"])

    async def calls_in(self, month: date) -> int:
        """How many upstream calls were counted in the month of this first day, as far as is known here.

        Raises HistoryUnavailable within 3 s when Postgres is away.
        """
        (row,) = await self._ask((_CALLS, [month]), deadline_s=_READ_S)
        calls: int = row["calls"]
        return calls

    async def _ask(self, *questions: _Question, deadline_s: float) -> list[asyncpg.Record]:
        """Ask one after the other on one connection; the last answer, or HistoryUnavailable within the deadline."""
        # Giving back, which may have to cancel a query over the network, is bounded by this timeout as well.
        timeout_s = deadline_s / 3

        async def borrow_ask_give_back() -> list[asyncpg.Record]:
            async with self._pool.acquire(timeout=timeout_s) as connection:
                return [await connection.fetch(text, *arguments) for text, arguments in questions][-1]

        try:
            with trio.fail_after(deadline_s - timeout_s):
                rows: list[asyncpg.Record] = await aio_as_trio(borrow_ask_give_back)()
        except _AWAY as error:
            raise HistoryUnavailable from error
        return rows


def _write_questions(prices: Sequence[Price], counted: MonthCount | None) -> tuple[_Question, _Question]:
    """The statements that write all this, or raise PricesRefused where they cannot even be expressed."""
    try:
        batches = [UUID(hex=price.batch_id) for price in prices]
        times = [price.fetched_at for price in prices]
    except (ValueError, OverflowError) as error:
        raise PricesRefused(str(error)) from error
    coins = [price.coin_id for price in prices]
    currencies = [price.vs_currency for price in prices]
    # Asked each time, not remembered: partitions come and go with backups and retention, and it costs little.
    months = sorted({time.replace(day=1, hour=0, minute=0, second=0, microsecond=0) for time in times})
    columns = (batches, coins, currencies, [price.price for price in prices], times)
    count = (counted.month, counted.calls) if counted else (None, None)
    return (_ENSURE_PARTITIONS, [months]), (_INSERT, [*columns, *count])


def _clamped(moment: datetime) -> datetime:
    return min(max(moment, _FIRST), _LAST)
