from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
import trio
from trio_asyncio import aio_as_trio

from core import history as history_module
from core.errors import HistoryUnavailable
from core.history import History, HistoryPage, PricesRefused
from core.month import MonthCount
from core.prices import Price, from_unix_ms
from server.local import LocalPostgres
from tests.core.kept import NOON_MS, open_history, price_at

Sql = Callable[[str, str], list[asyncpg.Record]]

FEBRUARY = date(2026, 2, 1)


@pytest.fixture
def stopped_postgres(postgres: LocalPostgres, database_url: str) -> Iterator[LocalPostgres]:
    postgres.stop()
    yield postgres
    postgres.stop()
    postgres.start()


@pytest.fixture
async def empty_database_url(postgres: LocalPostgres, sql: Sql) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    sql(postgres.url, f"CREATE DATABASE {name}")
    yield urlsplit(postgres.url)._replace(path=f"/{name}").geturl()
    sql(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


async def whole_page(history: History, *, limit: int = 100, page: int = 1, **bounds: Any) -> HistoryPage:
    bounds = {"since": None, "until": None} | bounds
    return await history.page("bitcoin", "usd", limit=limit, page=page, **bounds)


async def test_a_price_comes_back_exactly_as_it_was_kept(history: History) -> None:
    texts = ["1e-12", "0.1", "12345678.123456789", "1.177e-05", "0", "9" * 30, "1e-60", "67210.450", "1E+20"]
    await history.keep([price_at(NOON_MS - n, text) for n, text in enumerate(texts)])
    page = await whole_page(history)
    assert [Decimal(text) for text in texts] == [item.price for item in page.items]
    assert from_unix_ms(NOON_MS) == page.items[0].fetched_at


async def test_a_time_of_fetch_keeps_its_milliseconds_and_is_utc(history: History) -> None:
    await history.keep([price_at(NOON_MS + 123)])
    (item,) = (await whole_page(history)).items
    assert item.fetched_at.isoformat() == "2026-02-28T12:00:00.123000+00:00"


async def test_keeping_a_price_again_changes_nothing(history: History) -> None:
    price = price_at(NOON_MS)
    for _ in range(2):
        await history.keep([price, price])
    assert (await whole_page(history)).total_items == 1


async def test_a_batch_fetched_again_at_another_time_is_another_price(history: History) -> None:
    batch_id = uuid4().hex
    await history.keep([price_at(NOON_MS, batch_id=batch_id), price_at(NOON_MS + 1, batch_id=batch_id)])
    assert (await whole_page(history)).total_items == 2


async def test_keeping_no_prices_is_fine(history: History) -> None:
    await history.keep([])
    assert await whole_page(history) == HistoryPage([], 0)


async def test_a_months_count_of_calls_is_kept_with_the_prices(history: History) -> None:
    await history.keep([price_at(NOON_MS)], MonthCount(FEBRUARY, 5))
    assert (await history.calls_in(FEBRUARY), (await whole_page(history)).total_items) == (5, 1)


async def test_a_month_that_was_never_counted_has_seen_no_calls(history: History) -> None:
    await history.keep([price_at(NOON_MS)], MonthCount(FEBRUARY, 5))
    await history.keep([price_at(NOON_MS + 1)])
    assert await history.calls_in(date(2026, 3, 1)) == 0


async def test_a_count_only_grows_and_each_month_has_its_own(history: History) -> None:
    march = date(2026, 3, 1)
    for month, calls in [(FEBRUARY, 5), (march, 1), (FEBRUARY, 4), (FEBRUARY, 2**63 - 1), (march, 0)]:
        await history.keep([price_at(NOON_MS)], MonthCount(month, calls))
    assert (await history.calls_in(FEBRUARY), await history.calls_in(march)) == (2**63 - 1, 1)


async def test_prices_that_are_refused_leave_the_count_as_it_was(history: History) -> None:
    await history.keep([price_at(NOON_MS)], MonthCount(FEBRUARY, 5))
    with pytest.raises(PricesRefused):
        await history.keep([price_at(NOON_MS + 1), price_at(NOON_MS, "-1")], MonthCount(FEBRUARY, 6))
    assert await history.calls_in(FEBRUARY) == 5


async def test_many_may_write_counts_of_a_month_at_once_and_the_highest_stays(history: History) -> None:
    same = [price_at(NOON_MS + n) for n in range(50)]
    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(history.keep, same, MonthCount(FEBRUARY, n * 7 % 20))
    assert (await history.calls_in(FEBRUARY), (await whole_page(history)).total_items) == (19, 50)


async def test_a_page_holds_one_coin_in_one_currency(history: History) -> None:
    await history.keep([price_at(NOON_MS), price_at(NOON_MS, coin_id="ethereum"), price_at(NOON_MS, vs_currency="eur")])
    assert (await whole_page(history)).total_items == 1
    assert (await history.page("bitcoin", "eur", since=None, until=None, limit=9, page=1)).total_items == 1


async def test_pages_are_newest_first_and_by_batch_within_a_millisecond(history: History) -> None:
    # Five prices a millisecond; those of one are written in an order that is not that of their batches.
    prices = [price_at(NOON_MS + n // 5, str(n), batch_id=f"{n * 7 % 25:032x}") for n in range(25)]
    await history.keep(prices)
    pages = [await whole_page(history, limit=7, page=number) for number in (1, 2, 3, 4)]
    expected = sorted(prices, key=lambda price: (-price.fetched_at_ms, price.batch_id))
    assert [item.price for page in pages for item in page.items] == [price.price for price in expected]
    assert [len(page.items) for page in pages] == [7, 7, 7, 4]


async def test_bounds_are_inclusive(history: History) -> None:
    await history.keep([price_at(NOON_MS + n, str(n)) for n in range(5)])
    page = await whole_page(history, since=from_unix_ms(NOON_MS + 1), until=from_unix_ms(NOON_MS + 3))
    assert [item.price for item in page.items] == [3, 2, 1]
    assert page.total_items == 3


async def test_a_page_past_the_last_is_empty_and_still_tells_the_total(history: History) -> None:
    await history.keep([price_at(NOON_MS)])
    assert await whole_page(history, page=2) == HistoryPage([], 1)
    assert await whole_page(history, page=10**30) == HistoryPage([], 1)


@pytest.mark.parametrize("offset_h", [-23, 0, 23])
async def test_bounds_beyond_the_calendar_of_utc_are_harmless(history: History, offset_h: int) -> None:
    zone = timezone(timedelta(hours=offset_h))
    await history.keep([price_at(NOON_MS)])
    page = await whole_page(history, since=datetime.min.replace(tzinfo=zone), until=datetime.max.replace(tzinfo=zone))
    assert page.total_items == 1
    assert (await whole_page(history, since=datetime.max.replace(tzinfo=zone))).total_items == 0


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
async def test_each_month_gets_its_partition_by_utc_whatever_the_time_zone_of_the_session(
    database_url: str, sql: Sql, asyncio_loop: object, zone: str
) -> None:
    for name in ("prices_2031_03", "prices_2031_04"):
        sql(database_url, f"DROP TABLE IF EXISTS {name}")
    last_ms = round(datetime(2031, 3, 31, 23, 59, 59, 999_000, tzinfo=UTC).timestamp() * 1000)
    async with open_history(f"{database_url}?timezone={zone}") as history:
        await history.keep([price_at(last_ms), price_at(last_ms + 1), price_at(last_ms + 2)])
    rows = sql(database_url, "SELECT tableoid::regclass::text AS name FROM prices ORDER BY fetched_at")
    assert [row["name"] for row in rows] == ["prices_2031_03", "prices_2031_04", "prices_2031_04"]


async def test_many_may_write_the_first_prices_of_a_month_at_once(
    history: History, database_url: str, sql: Sql
) -> None:
    months = [datetime(2033, month, 1, tzinfo=UTC) for month in range(1, 13)]
    for month in months:
        sql(database_url, f"DROP TABLE IF EXISTS prices_{month:%Y_%m}")
    for month in months:
        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(history.keep, [price_at(int(month.timestamp()) * 1000 + n)])
    assert (await whole_page(history)).total_items == 60


async def test_a_write_looks_for_no_partition_and_locks_nothing_but_its_rows(
    history: History, database_url: str, sql: Sql
) -> None:
    await history.keep([price_at(NOON_MS)])
    locker = await aio_as_trio(asyncpg.connect)(database_url)
    await aio_as_trio(locker.execute)("BEGIN")
    await aio_as_trio(locker.execute)("LOCK TABLE prices IN SHARE UPDATE EXCLUSIVE MODE")
    await history.keep([price_at(NOON_MS + 1)])
    await aio_as_trio(locker.close)()
    assert (await whole_page(history)).total_items == 2


async def test_prices_before_and_after_a_months_turn_go_together_though_neither_month_is_there(
    history: History, database_url: str, sql: Sql
) -> None:
    for name in ("prices_2034_05", "prices_2034_06"):
        sql(database_url, f"DROP TABLE IF EXISTS {name}")
    turn_ms = round(datetime(2034, 6, 1, tzinfo=UTC).timestamp() * 1000)
    async with trio.open_nursery() as nursery:
        for n in range(5):
            nursery.start_soon(history.keep, [price_at(turn_ms - 1 - n), price_at(turn_ms + n)])
    assert (await whole_page(history)).total_items == 10


async def test_a_partition_that_an_operator_dropped_is_made_again(
    history: History, database_url: str, sql: Sql
) -> None:
    await history.keep([price_at(NOON_MS)])
    sql(database_url, "DROP TABLE prices_2026_02")
    await history.keep([price_at(NOON_MS)])
    assert (await whole_page(history)).total_items == 1


async def test_history_opens_while_postgres_is_away_and_works_once_it_is_up(
    stopped_postgres: LocalPostgres, database_url: str, asyncio_loop: object
) -> None:
    async with open_history(database_url) as history:
        with pytest.raises(HistoryUnavailable):
            await history.keep([price_at(NOON_MS)])
        with pytest.raises(HistoryUnavailable):
            await whole_page(history)
        await trio.to_thread.run_sync(stopped_postgres.start)
        await history.keep([price_at(NOON_MS)])
        assert (await whole_page(history)).total_items == 1


async def test_a_restart_of_postgres_costs_at_most_the_calls_of_that_moment(
    history: History, postgres: LocalPostgres
) -> None:
    await history.keep([price_at(NOON_MS)])
    await trio.to_thread.run_sync(postgres.stop)
    await trio.to_thread.run_sync(postgres.start)
    assert (await whole_page(history)).total_items == 1


async def test_what_went_wrong_is_told_to_the_operator_and_not_to_the_caller(
    stopped_postgres: LocalPostgres, database_url: str, asyncio_loop: object
) -> None:
    async with open_history(database_url) as history:
        with pytest.raises(HistoryUnavailable) as caught:
            await whole_page(history)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert "127.0.0.1" not in caught.value.message
    assert caught.value.retry_after_s


async def test_a_postgres_that_never_answers_is_away(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, asyncio_loop: object
) -> None:
    monkeypatch.setattr(history_module, "_READ_S", 0.15)
    monkeypatch.setattr(history_module, "_KEEP_S", 0.15)
    async with silent_server(nursery) as port, open_history(f"postgres://u:p@127.0.0.1:{port}/d") as history:
        with pytest.raises(HistoryUnavailable):
            await whole_page(history)
        with pytest.raises(HistoryUnavailable):
            await history.calls_in(FEBRUARY)
        with pytest.raises(HistoryUnavailable):
            await history.keep([price_at(NOON_MS)])


async def test_a_query_that_takes_too_long_is_given_up_and_the_next_one_works(
    history: History, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.keep([price_at(NOON_MS)])
    monkeypatch.setattr(history_module, "_READ_S", 0.3)
    locker = await aio_as_trio(asyncpg.connect)(database_url)
    await aio_as_trio(locker.execute)("BEGIN")
    await aio_as_trio(locker.execute)("LOCK TABLE prices")
    with pytest.raises(HistoryUnavailable):
        await whole_page(history)
    await aio_as_trio(locker.close)()
    monkeypatch.undo()
    assert (await whole_page(history)).total_items == 1


async def test_a_database_without_our_tables_is_unavailable_not_refusing(
    empty_database_url: str, asyncio_loop: object
) -> None:
    async with open_history(empty_database_url) as history:
        with pytest.raises(HistoryUnavailable):
            await history.keep([price_at(NOON_MS)])
        with pytest.raises(HistoryUnavailable):
            await whole_page(history)


@pytest.mark.parametrize(
    "refused",
    [
        price_at(NOON_MS, "NaN"),
        price_at(NOON_MS, "Infinity"),
        price_at(NOON_MS, "-1"),
        price_at(NOON_MS, batch_id="no uuid"),
        price_at(NOON_MS, coin_id="bit\0coin"),
        price_at(NOON_MS, coin_id="a" * 129),
        price_at(NOON_MS, vs_currency=""),
        price_at(10**30),
    ],
    ids=repr,
)
async def test_a_price_that_postgres_will_never_take_is_refused_with_all_beside_it(
    history: History, refused: Price
) -> None:
    with pytest.raises(PricesRefused):
        await history.keep([price_at(NOON_MS), refused])
    assert (await whole_page(history)).total_items == 0


async def test_cancels_at_any_moment_leave_the_pool_whole(history: History) -> None:
    for n in range(40):
        with trio.move_on_after(n / 10_000):
            await history.keep([price_at(NOON_MS + n)])
    async with trio.open_nursery() as nursery:
        for n in range(10):
            nursery.start_soon(history.keep, [price_at(NOON_MS + 1000 + n)])
    after = await whole_page(history, since=from_unix_ms(NOON_MS + 1000))
    assert after.total_items == 10


async def test_history_closes_in_a_cancelled_scope(database_url: str, sql: Sql, asyncio_loop: object) -> None:
    url = f"{database_url}?application_name=closing"
    with trio.CancelScope() as scope:
        async with open_history(url) as history:
            await whole_page(history)
            scope.cancel()
    assert history._postgres._pool.get_size() == 0


@asynccontextmanager
async def silent_server(nursery: trio.Nursery) -> AsyncIterator[int]:
    """A server that takes connections and never says a word; yields its port."""

    async def serve(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, serve, [listener])
    yield listener.socket.getsockname()[1]
    nursery.cancel_scope.cancel()
