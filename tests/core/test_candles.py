"""Candles: which intervals are meant, and what is made of the prices in them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import trio_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.candles import INTERVALS, Candle, Interval, Stretch, stretch_of
from core.errors import BadInput, HistoryUnavailable
from core.history import History
from core.prices import from_unix_ms
from server.local import LocalPostgres
from tests.conftest import Sql
from tests.core.kept import NOON_MS, open_history, price_at

NOON = from_unix_ms(NOON_MS)
NOW = datetime(2026, 2, 28, 12, 34, 56, 789_000, tzinfo=UTC)
MINUTE_MS = 60_000


async def candles(
    history: History, interval: Interval = "1m", since: datetime = NOON, minutes: int = 60, coin_id: str = "bitcoin"
) -> list[Candle]:
    stretch = stretch_of(interval, since, since + timedelta(minutes=minutes), NOW)
    return await history.candles(coin_id, "usd", stretch)


@pytest.mark.parametrize(
    ("interval", "begins"),
    [
        ("1m", datetime(2026, 2, 28, 12, 34, tzinfo=UTC)),
        ("5m", datetime(2026, 2, 28, 12, 30, tzinfo=UTC)),
        ("15m", datetime(2026, 2, 28, 12, 30, tzinfo=UTC)),
        ("1h", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("4h", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("1d", datetime(2026, 2, 28, tzinfo=UTC)),
    ],
)
def test_intervals_begin_by_utc_and_hold_their_time(interval: Interval, begins: datetime) -> None:
    stretch = stretch_of(interval, NOW, NOW, NOW)
    assert Stretch(INTERVALS[interval], begins, begins + INTERVALS[interval]) == stretch


@pytest.mark.parametrize("interval", INTERVALS)
def test_unless_said_otherwise_it_is_the_hundred_intervals_until_now(interval: Interval) -> None:
    stretch = stretch_of(interval, None, None, NOW)
    assert stretch.ends - stretch.begins == 100 * INTERVALS[interval]
    assert stretch.ends - INTERVALS[interval] <= NOW < stretch.ends


def test_until_is_now_unless_it_begins_later() -> None:
    later = NOW + timedelta(days=2)
    assert stretch_of("1d", NOW - timedelta(days=1), None, NOW).ends == datetime(2026, 3, 1, tzinfo=UTC)
    assert stretch_of("1d", later, None, NOW).ends == datetime(2026, 3, 3, tzinfo=UTC)


def test_a_thousand_intervals_are_an_answer_and_one_more_is_too_many() -> None:
    since, until = NOW - timedelta(hours=999), NOW
    assert stretch_of("1h", since, until, NOW).ends - stretch_of("1h", since, until, NOW).begins == timedelta(
        hours=1000
    )
    with pytest.raises(BadInput, match="1001 intervals of 1h"):
        stretch_of("1h", since - timedelta(hours=1), until, NOW)


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
@pytest.mark.parametrize("interval", INTERVALS)
def test_the_ends_of_the_calendar_are_harmless(moment: datetime, interval: Interval) -> None:
    for since in (None, moment):
        stretch = stretch_of(interval, since, moment, NOW)
        assert stretch.begins < stretch.ends


async def test_a_candle_is_made_of_the_prices_of_its_interval(history: History) -> None:
    texts = ["0.30", "1E-12", "99999999999999999999.000000000001", "0.1"]
    await history.keep([price_at(NOON_MS + n, text) for n, text in enumerate(texts)])
    await history.keep([price_at(NOON_MS - 1, "7"), price_at(NOON_MS + MINUTE_MS, "8")])
    first, second = await candles(history)
    lowest, highest = Decimal("1E-12"), Decimal("99999999999999999999.000000000001")
    assert first == Candle(NOON, open=Decimal("0.30"), high=highest, low=lowest, close=Decimal("0.1"), count=4)
    assert str(first.open) == "0.30"
    assert second.opened_at == NOON + timedelta(minutes=1)


async def test_intervals_without_prices_have_no_candle(history: History) -> None:
    await history.keep([price_at(NOON_MS), price_at(NOON_MS + 5 * MINUTE_MS)])
    assert [candle.opened_at.minute for candle in await candles(history)] == [0, 5]
    assert await candles(history, coin_id="ethereum") == []


async def test_the_interval_of_the_last_moment_is_whole(history: History) -> None:
    await history.keep([price_at(NOON_MS + n * MINUTE_MS - 1, str(n)) for n in range(1, 4)])
    await history.keep([price_at(NOON_MS + 2 * MINUTE_MS, "4")])
    stretch = stretch_of("1m", NOON, NOON + timedelta(minutes=1), NOW)
    assert [candle.close for candle in await history.candles("bitcoin", "usd", stretch)] == [1, 2]


async def test_candles_are_of_one_coin_in_one_currency(history: History) -> None:
    await history.keep([price_at(NOON_MS, "1"), price_at(NOON_MS, "2", coin_id="ethereum")])
    await history.keep([price_at(NOON_MS, "3", vs_currency="eur")])
    assert [candle.close for candle in await candles(history)] == [1]


async def test_days_begin_by_utc_whatever_the_time_zone_of_the_session(database_url: str, asyncio_loop: object) -> None:
    midnight_ms = NOON_MS - 12 * 60 * MINUTE_MS
    async with open_history(f"{database_url}?timezone=Pacific/Kiritimati") as history:
        await history.keep([price_at(midnight_ms - 1, "1"), price_at(midnight_ms, "2")])
        found = await candles(history, "1d", NOON - timedelta(days=1), minutes=24 * 60)
    assert [(candle.opened_at.day, candle.close) for candle in found] == [(27, Decimal(1)), (28, Decimal(2))]


def reckoned(prices: Sequence[tuple[int, str, int]], length_ms: int) -> list[tuple[int, Decimal, Decimal, int]]:
    """(begin, open, close, count) by interval, from (time, batch, price); of one time the first batch is latest."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for at_ms, batch, price in prices:
        found.setdefault(at_ms // length_ms * length_ms, []).append((at_ms, -int(batch, 16), price))
    return [
        (begin, Decimal(min(inside)[2]), Decimal(max(inside)[2]), len(inside))
        for begin, inside in sorted(found.items())
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offsets=st.lists(st.integers(0, 3) | st.integers(0, 59 * MINUTE_MS), max_size=15))
async def test_candles_are_what_one_would_reckon_from_the_prices_as_pages_order_them(
    database_url: str, sql: Sql, offsets: Sequence[int]
) -> None:
    sql(database_url, "TRUNCATE prices")
    prices = [(NOON_MS + offset, f"{n * 7 % 16:032x}", n) for n, offset in enumerate(offsets)]
    async with trio_asyncio.open_loop(), open_history(database_url) as history:
        await history.keep([price_at(at_ms, str(price), batch_id=batch) for at_ms, batch, price in prices])
        found = await candles(history, "5m")
    told = [(round(one.opened_at.timestamp() * 1000), one.open, one.close, one.count) for one in found]
    assert reckoned(prices, 5 * MINUTE_MS) == told


async def test_without_postgres_there_are_no_candles(
    postgres: LocalPostgres, database_url: str, asyncio_loop: object
) -> None:
    async with open_history(database_url.replace(f":{postgres.port}/", ":1/")) as history:
        with pytest.raises(HistoryUnavailable):
            await candles(history)
