"""What comes before a cursor: pages without counting."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import trio_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import history as history_module
from core.errors import HistoryUnavailable
from core.history import Cursor, History, HistoryItem, Older
from core.prices import from_unix_ms
from server.local import LocalPostgres
from tests.conftest import Sql
from tests.core.kept import NOON_MS, open_history, price_at

MOST_ITEMS = 12
NEWEST = Cursor(datetime.max.replace(tzinfo=UTC))
# Within a few milliseconds around the turn of a month, so that many share one.
TURN_MS = round(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)


async def older(history: History, cursor: Cursor, *, limit: int = 100, **bounds: Any) -> Older:
    return await history.before("bitcoin", "usd", cursor, limit=limit, **({"since": None, "until": None} | bounds))


async def walked(history: History, *, limit: int, **bounds: Any) -> list[HistoryItem]:
    """All that is older than now, cursor by cursor."""
    items: list[HistoryItem] = []
    cursor: Cursor | None = NEWEST
    while cursor is not None:
        found = await older(history, cursor, limit=limit, **bounds)
        assert 0 < len(found.items) <= limit or cursor is NEWEST
        items += found.items
        assert len(items) <= MOST_ITEMS  # or it goes round in circles
        cursor = found.next
    return items


async def paged(history: History, *, limit: int, **bounds: Any) -> list[HistoryItem]:
    """The same, page by page."""
    items: list[HistoryItem] = []
    number = 1
    while True:
        arguments = {"since": None, "until": None} | bounds
        found = await history.page("bitcoin", "usd", limit=limit, page=number, **arguments)
        items += found.items
        assert len(items) <= MOST_ITEMS
        if found.next is None:
            assert len(items) == found.total_items
            return items
        number += 1


BOUNDS = st.none() | st.integers(-3, 3).map(lambda ms: from_unix_ms(TURN_MS + ms))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offsets=st.lists(st.integers(-3, 3), max_size=MOST_ITEMS), limit=st.integers(1, 5), since=BOUNDS, until=BOUNDS)
async def test_a_walk_by_cursors_sees_what_a_walk_by_pages_sees(
    database_url: str,
    sql: Sql,
    offsets: Sequence[int],
    limit: int,
    since: datetime | None,
    until: datetime | None,
) -> None:
    sql(database_url, "TRUNCATE prices")
    async with trio_asyncio.open_loop(), open_history(database_url) as history:
        await history.keep([price_at(TURN_MS + offset, str(n)) for n, offset in enumerate(offsets)])
        by_cursors = await walked(history, limit=limit, since=since, until=until)
        assert await paged(history, limit=limit, since=since, until=until) == by_cursors


async def test_a_page_ends_where_its_cursor_goes_on(history: History) -> None:
    await history.keep([price_at(NOON_MS + n % 2, str(n)) for n in range(6)])
    first = await history.page("bitcoin", "usd", since=None, until=None, limit=2, page=1)
    second = await history.page("bitcoin", "usd", since=None, until=None, limit=2, page=2)
    assert first.next
    assert (await older(history, first.next, limit=2)).items == second.items


async def test_the_last_prices_lead_nowhere(history: History) -> None:
    await history.keep([price_at(NOON_MS + n) for n in range(4)])
    first = await older(history, NEWEST, limit=2)
    assert first.next
    assert (await older(history, first.next, limit=2)).next is None
    assert (await history.page("bitcoin", "usd", since=None, until=None, limit=2, page=2)).next is None


async def test_before_a_time_is_strictly_before_it(history: History) -> None:
    await history.keep([price_at(NOON_MS + n, str(n)) for n in range(3)])
    found = await older(history, Cursor(from_unix_ms(NOON_MS + 2)))
    assert [item.price for item in found.items] == [1, 0]


async def test_a_time_between_two_milliseconds_comes_after_the_first(history: History) -> None:
    await history.keep([price_at(NOON_MS + n, str(n)) for n in range(2)])
    found = await older(history, Cursor(from_unix_ms(NOON_MS) + timedelta(microseconds=500)))
    assert [item.price for item in found.items] == [0]


async def test_prices_that_come_meanwhile_move_nothing(history: History) -> None:
    await history.keep([price_at(NOON_MS + n, str(n)) for n in range(4)])
    first = await older(history, NEWEST, limit=2)
    await history.keep([price_at(NOON_MS + n, str(n)) for n in range(4, 9)])
    assert first.next
    rest = await older(history, first.next, limit=9)
    assert [item.price for item in first.items + rest.items] == [3, 2, 1, 0]


async def test_a_cursor_stays_good_though_its_own_price_was_dropped(
    history: History, database_url: str, sql: Sql
) -> None:
    await history.keep([price_at(NOON_MS + n, str(n)) for n in range(3)])
    first = await older(history, NEWEST, limit=2)
    sql(database_url, "DELETE FROM prices WHERE price = 1")
    assert first.next
    assert [item.price for item in (await older(history, first.next)).items] == [0]


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
async def test_cursors_beyond_the_calendar_are_harmless(history: History, moment: datetime) -> None:
    await history.keep([price_at(NOON_MS)])
    found = await older(history, Cursor(moment, UUID(int=7)))
    assert [item.price for item in found.items] == ([] if moment.year == 1 else [Decimal("1.5")])


async def test_a_cursor_and_bounds_hold_together(history: History) -> None:
    await history.keep([price_at(NOON_MS + n, str(n)) for n in range(9)])
    cursor = Cursor(from_unix_ms(NOON_MS + 8))
    bounds: dict[str, Any] = {"since": from_unix_ms(NOON_MS + 2), "until": from_unix_ms(NOON_MS + 4)}
    assert [item.price for item in (await older(history, cursor, **bounds)).items] == [4, 3, 2]
    assert (await older(history, Cursor(from_unix_ms(NOON_MS + 2)), **bounds)).items == []


class TestPlans:
    """What Postgres did, with enough prices that it is worth a thought."""

    @pytest.fixture
    def filled_url(self, database_url: str, sql: Sql) -> str:
        months = ", ".join(f"'2026-{month:02}-01T00:00Z'" for month in range(1, 7))
        sql(database_url, f"SELECT ensure_prices_partition(month) FROM unnest(ARRAY[{months}]::timestamptz[]) AS month")
        sql(
            database_url,
            "INSERT INTO prices SELECT gen_random_uuid(), 'coin-' || n % 20, 'usd', n, "
            "timestamptz '2026-01-01T00:00Z' + n * interval '10 minutes' FROM generate_series(1, 20000) AS n",
        )
        sql(database_url, "ANALYZE prices")
        return database_url

    async def plan(self, url: str, statement: str, *arguments: object) -> str:
        async with open_history(url) as history:
            rows = await history._postgres.ask(f"EXPLAIN (ANALYZE, COSTS OFF) {statement}", *arguments, deadline_s=9)
        return "\n".join(row[0] for row in rows)

    def day(self, month: int, day: int) -> datetime:
        return datetime(2026, month, day, tzinfo=UTC)

    async def test_a_cursor_is_found_by_the_index_and_only_its_month_is_opened(
        self, filled_url: str, asyncio_loop: object
    ) -> None:
        at = self.day(3, 20)
        arguments = ("coin-7", "usd", self.day(1, 1), at, at, UUID(int=7), 20)
        plan = await self.plan(filled_url, history_module._BEFORE, *arguments)
        assert "Seq Scan" not in plan
        assert "Index Scan using prices_2026_03_coin_id_vs_currency_fetched_at_idx" in plan
        assert "Index Scan using prices_2026_02_coin_id_vs_currency_fetched_at_idx on prices_2026_02" in plan
        assert [line for line in plan.splitlines() if "prices_2026_02" in line and "never executed" in line]
        assert "prices_2026_04" not in plan

    async def test_candles_are_found_by_the_index_and_other_months_are_left_out(
        self, filled_url: str, asyncio_loop: object
    ) -> None:
        arguments = ("coin-7", "usd", self.day(3, 2), self.day(3, 9), timedelta(hours=1))
        plan = await self.plan(filled_url, history_module._CANDLES, *arguments)
        assert "Seq Scan" not in plan
        assert "prices_2026_03_coin_id_vs_currency_fetched_at_idx" in plan
        assert "prices_2026_02" not in plan
        assert "prices_2026_04" not in plan

    async def test_a_page_leaves_out_other_months_too(self, filled_url: str, asyncio_loop: object) -> None:
        arguments = ("coin-7", "usd", self.day(3, 2), self.day(3, 9), 20, 0)
        plan = await self.plan(filled_url, history_module._PAGE, *arguments)
        assert "Seq Scan" not in plan
        assert "prices_2026_02" not in plan


async def test_without_postgres_there_is_nothing_before(
    postgres: LocalPostgres, database_url: str, asyncio_loop: object
) -> None:
    async with open_history(database_url.replace(f":{postgres.port}/", ":1/")) as history:
        with pytest.raises(HistoryUnavailable):
            await older(history, NEWEST)
