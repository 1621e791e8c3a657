"""Months of prices: made before they come, dropped when they are old enough, and not before.

Months are reckoned by Postgres' clock. Here it stands still, whenever the tests run: sessions find a `now()` in their
search path before Postgres' own.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import asyncpg
import pytest
import structlog
import trio
from trio_asyncio import aio_as_trio

from core import partitions as partitions_module
from core.errors import HistoryUnavailable
from core.history import History
from core.migrate import upgrade
from core.partitions import Partitions
from core.postgres import Postgres, open_postgres
from server.local import LocalPostgres
from tests.conftest import Sql
from tests.core.kept import price_at

DAY_S = 86_400
NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)
_CLOSE_S = 5
_STANDING_CLOCK = """
    CREATE FUNCTION standing.now() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT current_setting('standing.at')::timestamptz $$
"""


@pytest.fixture(scope="module")
def own_url(postgres: LocalPostgres, sql: Sql) -> Iterator[str]:
    """A database of which months may be dropped without harm to other tests."""
    name = f"test_{uuid4().hex}"
    sql(postgres.url, f"CREATE DATABASE {name}")
    url = urlsplit(postgres.url)._replace(path=f"/{name}").geturl()
    upgrade(url)
    sql(url, "CREATE SCHEMA standing")
    sql(url, _STANDING_CLOCK)
    yield url
    sql(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_url(own_url: str, sql: Sql) -> str:
    """That database, without a month."""
    for name in months_in(own_url, sql):
        sql(own_url, f'DROP TABLE "{name}"')
    return own_url


@pytest.fixture
async def opened(asyncio_loop: object, empty_url: str) -> AsyncIterator[Postgres]:
    async with open_postgres(standing_at(NOW, empty_url)) as postgres:
        yield postgres


def standing_at(now: datetime, url: str, **settings: str) -> str:
    """That database as a session sees it at this moment."""
    clock = {"search_path": "public, standing, pg_catalog", "standing.at": now.isoformat()}
    return f"{url}?{urlencode(clock | settings)}"


def months_in(url: str, sql: Sql) -> list[str]:
    rows = sql(url, "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'prices'::regclass")
    return sorted(row["name"].strip('"') for row in rows)


def month(ahead: int) -> datetime:
    """The first moment of the month that is so many months ahead."""
    years, months = divmod(NOW.month - 1 + ahead, 12)
    return datetime(NOW.year + years, months + 1, 1, tzinfo=UTC)


def named(ahead: int) -> str:
    return f"prices_{month(ahead):%Y_%m}"


def make_months(url: str, sql: Sql, *ahead: int) -> None:
    for number in ahead:
        sql(url, f"SELECT ensure_prices_partition('{month(number).isoformat()}')")


@asynccontextmanager
async def holding(url: str, statement: str) -> AsyncIterator[None]:
    """Somebody's transaction that has done this and does not end."""
    holder = await aio_as_trio(asyncpg.connect)(url)
    try:
        await aio_as_trio(holder.execute)("BEGIN")
        await aio_as_trio(holder.execute)(statement)
        yield
    finally:
        with trio.move_on_after(_CLOSE_S, shield=True):
            await aio_as_trio(holder.close)()


async def test_this_month_and_two_more_are_there_before_anybody_writes(
    opened: Postgres, empty_url: str, sql: Sql
) -> None:
    for _ in range(2):
        await Partitions(opened, retention_s=None).run_once()
    assert [named(0), named(1), named(2)] == months_in(empty_url, sql)


@pytest.mark.parametrize(
    ("zone", "now"),
    [
        ("Pacific/Kiritimati", month(1) - timedelta(minutes=1)),  # where it is the next month already
        ("Pacific/Pago_Pago", month(0)),  # where it is still the last one
    ],
)
async def test_months_are_reckoned_by_utc_whatever_the_time_zone_of_the_session(
    asyncio_loop: object, empty_url: str, sql: Sql, zone: str, now: datetime
) -> None:
    make_months(empty_url, sql, -1, -2)
    async with open_postgres(standing_at(now, empty_url, timezone=zone)) as postgres:
        await Partitions(postgres, retention_s=_seconds_between(month(-1), now)).run_once()
    assert [named(-1), named(0), named(1), named(2)] == months_in(empty_url, sql)


async def test_a_month_is_made_while_others_write(opened: Postgres, empty_url: str, sql: Sql) -> None:
    make_months(empty_url, sql, 0)
    write = f"INSERT INTO prices VALUES ('{uuid4()}', 'bitcoin', 'usd', 1.5, '{month(0).isoformat()}')"
    async with holding(empty_url, write):
        await Partitions(opened, retention_s=None).run_once()
    assert [named(0), named(1), named(2)] == months_in(empty_url, sql)


def _seconds_between(moment: datetime, later: datetime) -> int:
    return int((later - moment).total_seconds())


@pytest.mark.parametrize(
    ("months", "hours", "left"),
    [
        (-2, 1, [-2, -1]),  # of that month an hour is too old, the rest is not
        (-2, 0, [-2, -1]),
        (-2, -1, [-3, -2, -1]),
        (-40, 0, [-30, -3, -2, -1]),
        (0, 0, []),
    ],
)
async def test_a_month_is_dropped_when_its_last_moment_is_too_old(
    opened: Postgres, empty_url: str, sql: Sql, months: int, hours: int, left: list[int]
) -> None:
    kept_since = month(months) + timedelta(hours=hours)
    make_months(empty_url, sql, -30, -3, -2, -1)
    await Partitions(opened, retention_s=_seconds_between(kept_since, NOW)).run_once()
    assert [*map(named, left), named(0), named(1), named(2)] == months_in(empty_url, sql)


async def test_without_a_retention_nothing_is_dropped(opened: Postgres, empty_url: str, sql: Sql) -> None:
    make_months(empty_url, sql, -300)
    await Partitions(opened, retention_s=None).run_once()
    assert named(-300) in months_in(empty_url, sql)


async def test_what_an_operator_attached_is_judged_by_its_bounds_not_by_its_name(
    opened: Postgres, empty_url: str, sql: Sql
) -> None:
    sql(empty_url, "CREATE TABLE \"Year; 1999\" PARTITION OF prices FOR VALUES FROM ('1999-01-01') TO ('2000-01-01')")
    sql(empty_url, "CREATE TABLE prices_1998_01 PARTITION OF prices FOR VALUES FROM ('2098-01-01') TO ('2098-02-01')")
    sql(empty_url, "CREATE TABLE prices_1997_01 PARTITION OF prices FOR VALUES FROM ('2099-01-01') TO (MAXVALUE)")
    sql(empty_url, "CREATE TABLE prices_1996_01 PARTITION OF prices DEFAULT")
    await Partitions(opened, retention_s=DAY_S).run_once()
    names = months_in(empty_url, sql)
    assert "Year; 1999" not in names
    assert {"prices_1996_01", "prices_1997_01", "prices_1998_01"} <= set(names)


async def test_a_price_that_comes_late_into_a_dropped_month_is_kept_and_the_month_goes_with_the_next_look(
    opened: Postgres, empty_url: str, sql: Sql
) -> None:
    make_months(empty_url, sql, -30)
    partitions = Partitions(opened, retention_s=DAY_S)
    await partitions.run_once()
    await History(opened).keep([price_at(round(month(-30).timestamp() * 1000))])
    assert named(-30) in months_in(empty_url, sql)
    await partitions.run_once()
    assert named(-30) not in months_in(empty_url, sql)


async def test_who_reads_for_long_is_not_waited_for_and_holds_up_no_writer(
    opened: Postgres, empty_url: str, sql: Sql
) -> None:
    make_months(empty_url, sql, -30)
    partitions = Partitions(opened, retention_s=DAY_S)
    async with holding(empty_url, "SELECT * FROM prices"):
        with pytest.raises(HistoryUnavailable) as caught:
            await partitions.run_once()
        await History(opened).keep([price_at(round(month(0).timestamp() * 1000))])
    assert isinstance(caught.value.__cause__, asyncpg.LockNotAvailableError)
    await partitions.run_once()
    assert [named(0), named(1), named(2)] == months_in(empty_url, sql)


async def test_one_instance_at_a_time_does_it_and_the_others_leave_it_to_that_one(
    opened: Postgres, empty_url: str, sql: Sql
) -> None:
    make_months(empty_url, sql, -30)
    async with holding(empty_url, partitions_module._IS_OURS):
        await Partitions(opened, retention_s=DAY_S).run_once()
        assert [named(-30)] == months_in(empty_url, sql)


async def test_many_instances_may_start_at_once(opened: Postgres, empty_url: str, sql: Sql) -> None:
    make_months(empty_url, sql, -30, -20)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(Partitions(opened, retention_s=DAY_S).run_once)
    await Partitions(opened, retention_s=DAY_S).run_once()
    assert [named(0), named(1), named(2)] == months_in(empty_url, sql)


class FlakyPostgres:
    """Away for its first two questions."""

    def __init__(self) -> None:
        self.asked_at: list[float] = []

    async def run(self, work: Any, *, deadline_s: float) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked_at.append(trio.current_time())
        if len(self.asked_at) <= 2:
            raise HistoryUnavailable
        return True


async def test_it_looks_every_hour_and_after_a_minute_where_postgres_was_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    postgres: Any = FlakyPostgres()
    with structlog.testing.capture_logs() as logs, trio.move_on_after(2 * 3600):
        await Partitions(postgres, retention_s=None).run()
    assert [at - postgres.asked_at[0] for at in postgres.asked_at] == [0, 60, 120, 3720]
    assert [log["event"] for log in logs] == ["partitions wait", "partitions wait"]
