import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, cast
from uuid import uuid4

import pytest
import redis
import redis.asyncio
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock
from trio_asyncio import aio_as_trio

from core import outbox
from core.errors import HistoryUnavailable, RedisUnavailable
from core.events import Event, Kept
from core.history import History
from core.keys import BUDGET, OUTBOX, OUTBOX_REFUSED
from core.month import MonthCount
from core.outbox import OutboxWriter
from core.outbox_stream import GROUP, Entry
from core.prices import Price, from_unix_ms, is_sane
from server.local import LocalPostgres, LocalValkey
from tests.waiting import until

Sql = Callable[[str, str], list[Any]]

AT_MS = 1_772_280_000_000
FEBRUARY = date(2026, 2, 1)
FEBRUARY_ENDS_MS = 1_772_323_200_000


class Noticing:
    """A history that tells of each write after it is done."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.wrote = trio.Event()

    async def keep(self, prices: Sequence[Price], counted: MonthCount | None = None) -> None:
        await self._history.keep(prices, counted)
        self.wrote.set()

    async def next_write(self) -> None:
        self.wrote = trio.Event()
        await self.wrote.wait()


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """The same Redis from outside; survives its restarts."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def client(asyncio_loop: object, redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = outbox.connect(redis_url)
    yield client
    await aio_as_trio(client.aclose)()


@pytest.fixture
def writer(client: redis.asyncio.Redis, history: History) -> OutboxWriter:
    return OutboxWriter(client, history, "one")


@pytest.fixture
def away_postgres(postgres: LocalPostgres, database_url: str) -> Iterator[LocalPostgres]:
    postgres.stop()
    yield postgres
    postgres.stop()
    postgres.start()


@pytest.fixture
def away_valkey(valkey: LocalValkey, server: redis.Redis) -> Iterator[LocalValkey]:
    valkey.stop()
    yield valkey
    valkey.stop()
    valkey.start()


def add(server: redis.Redis, price: str = "1.5", **changes: str) -> None:
    fields: Any = {"batch": uuid4().hex, "coin": "bitcoin", "currency": "usd", "price": price, "at": str(AT_MS)}
    server.xadd(OUTBOX, fields | changes)


def left_in(server: redis.Redis) -> int:
    return int(server.xlen(OUTBOX))


def pending_in(server: redis.Redis) -> int:
    summary: Any = server.xpending(OUTBOX, GROUP)
    return int(summary["pending"])


def consumers_in(server: redis.Redis) -> list[str]:
    consumers: Any = server.xinfo_consumers(OUTBOX, GROUP)
    return [consumer["name"].decode() for consumer in consumers]


def refused_in(server: redis.Redis) -> list[dict[bytes, bytes]]:
    entries: Any = server.xrange(OUTBOX_REFUSED)
    return [fields for _, fields in entries]


async def kept_in(history: History) -> list[Decimal]:
    page = await history.page("bitcoin", "usd", since=None, until=None, limit=100, page=1)
    return sorted(item.price for item in page.items)


async def test_prices_get_to_postgres_and_leave_the_outbox(
    writer: OutboxWriter, server: redis.Redis, history: History
) -> None:
    for price in ("1e-12", "0.1", "12345678.123456789"):
        add(server, price)
    await writer.run_once()  # makes the group
    assert await writer.run_once() == 3
    assert await kept_in(history) == [Decimal("1e-12"), Decimal("0.1"), Decimal("12345678.123456789")]
    assert (left_in(server), pending_in(server)) == (0, 0)


async def test_monitors_are_told_which_flushes_postgres_has_prices_of(
    client: redis.asyncio.Redis, server: redis.Redis, history: History
) -> None:
    told: list[Event] = []
    writer = OutboxWriter(client, history, "one", tell=told.append)
    for at_ms in (AT_MS, AT_MS + 7, AT_MS):
        add(server, at=str(at_ms))
    add(server, price="junk")
    await writer.run_once()
    await writer.run_once()
    assert [(event.flush_ids, event.prices) for event in told if isinstance(event, Kept)] == [([AT_MS, AT_MS + 7], 3)]


async def test_monitors_are_not_told_of_prices_that_postgres_does_not_have(
    client: redis.asyncio.Redis, server: redis.Redis, history: History, database_url: str, sql: Sql
) -> None:
    told: list[Event] = []
    writer = OutboxWriter(client, history, "one", tell=told.append)
    sql(database_url, "ALTER TABLE prices ADD CONSTRAINT unlucky CHECK (price <> 13)")
    try:
        add(server, "13", at=str(AT_MS))
        add(server, "14", at=str(AT_MS + 7))
        await writer.run_once()
        await writer.run_once()
    finally:
        sql(database_url, "ALTER TABLE prices DROP CONSTRAINT unlucky")
    assert [(event.flush_ids, event.prices) for event in told if isinstance(event, Kept)] == [([AT_MS + 7], 1)]


async def test_where_there_was_nothing_to_keep_monitors_are_told_nothing(
    client: redis.asyncio.Redis, server: redis.Redis, history: History
) -> None:
    told: list[Event] = []
    writer = OutboxWriter(client, history, "one", tell=told.append)
    add(server, price="junk")
    await writer.run_once()
    assert await writer.run_once() == 1
    assert told == []


class Idle(OutboxWriter):
    """Never finds anything, and notes when it looked."""

    def __init__(self) -> None:
        super().__init__(cast("Any", None), cast("Any", None), "idle")
        self._stream = cast("Any", self)
        self.looked_at: list[float] = []

    async def open(self) -> None:
        await trio.lowlevel.checkpoint()

    async def leave(self) -> None:
        await trio.lowlevel.checkpoint()

    async def run_once(self) -> int:
        self.looked_at.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        return 0


async def test_however_often_there_is_something_postgres_is_written_to_four_times_a_second(
    autojump_clock: MockClock,
) -> None:
    writer = Idle()
    with trio.move_on_after(0.95):
        await writer.run()
    assert len(writer.looked_at) == 4


async def test_an_empty_outbox_gives_nothing_to_do(writer: OutboxWriter) -> None:
    assert await writer.run_once() == 0
    assert await writer.run_once() == 0


async def test_the_months_count_of_calls_goes_to_postgres_with_the_prices(
    writer: OutboxWriter, server: redis.Redis, history: History
) -> None:
    await writer.run_once()
    server.hset(BUDGET, mapping={"calls": 5, "until": FEBRUARY_ENDS_MS, "run": "x", "next": 0})
    assert await writer.run_once() == 0
    assert await history.calls_in(FEBRUARY) == 0
    add(server)
    await writer.run_once()
    assert await history.calls_in(FEBRUARY) == 5


async def test_the_count_survives_prices_that_postgres_refuses(
    writer: OutboxWriter, server: redis.Redis, history: History, database_url: str, sql: Sql
) -> None:
    server.hset(BUDGET, mapping={"calls": 5, "until": FEBRUARY_ENDS_MS})
    sql(database_url, "ALTER TABLE prices ADD CONSTRAINT unlucky CHECK (price <> 13)")
    try:
        for n in (13, 14):
            add(server, str(n))
        await writer.run_once()
        await writer.run_once()
    finally:
        sql(database_url, "ALTER TABLE prices DROP CONSTRAINT unlucky")
    assert await history.calls_in(FEBRUARY) == 5
    assert await kept_in(history) == [14]


@pytest.mark.parametrize(
    "budget",
    [
        {"calls": "5"},
        {"until": str(FEBRUARY_ENDS_MS)},
        {"calls": "five", "until": str(FEBRUARY_ENDS_MS)},
        {"calls": "-1", "until": str(FEBRUARY_ENDS_MS)},
        {"calls": str(2**63), "until": str(FEBRUARY_ENDS_MS)},
        {"calls": "5", "until": "soon"},
        {"calls": "5", "until": "9" * 30},
        {"calls": "5", "until": "-" + "9" * 17},
    ],
    ids=repr,
)
async def test_a_budget_that_makes_no_sense_keeps_no_price_from_postgres(
    writer: OutboxWriter, server: redis.Redis, history: History, database_url: str, sql: Sql, budget: dict[str, str]
) -> None:
    add(server)
    await writer.run_once()
    server.hset(BUDGET, mapping=budget)  # type: ignore[arg-type] # redis-py's own type is invariant
    assert await writer.run_once() == 1
    assert len(await kept_in(history)) == 1
    assert sql(database_url, "SELECT * FROM upstream_calls") == []


async def test_a_budget_that_is_no_hash_keeps_no_price_from_postgres(
    writer: OutboxWriter, server: redis.Redis, history: History
) -> None:
    add(server)
    await writer.run_once()
    server.set(BUDGET, "x")
    with structlog.testing.capture_logs() as logs:
        assert await writer.run_once() == 1
    assert len(await kept_in(history)) == 1
    assert [log["event"] for log in logs] == ["budget unreadable"]


async def test_while_postgres_is_away_prices_stay_and_are_written_once_it_is_back(
    writer: OutboxWriter, server: redis.Redis, history: History, away_postgres: LocalPostgres
) -> None:
    await writer.run_once()
    add(server)
    for _ in range(3):
        with pytest.raises(HistoryUnavailable):
            await writer.run_once()
    assert (left_in(server), pending_in(server)) == (1, 1)
    await trio.to_thread.run_sync(away_postgres.start)
    assert await writer.run_once() == 1
    assert (left_in(server), len(await kept_in(history))) == (0, 1)


async def test_a_redis_that_is_away_is_said_so(writer: OutboxWriter, away_valkey: LocalValkey) -> None:
    with pytest.raises(RedisUnavailable):
        await writer.run_once()
    await trio.to_thread.run_sync(away_valkey.start)
    assert await writer.run_once() == 0


async def test_a_writer_goes_on_with_a_redis_that_came_back_empty(
    writer: OutboxWriter, server: redis.Redis, history: History
) -> None:
    await writer.run_once()
    server.flushall()
    add(server)
    await writer.run_once()
    await writer.run_once()
    assert len(await kept_in(history)) == 1


async def test_an_outbox_that_vanishes_under_a_waiting_writer_is_made_anew(
    writer: OutboxWriter, server: redis.Redis, nursery: trio.Nursery
) -> None:
    await writer.run_once()
    taken: list[int] = []

    async def wait_for_entries() -> None:
        taken.append(await writer.run_once())

    async with trio.open_nursery() as waiting:
        waiting.start_soon(wait_for_entries)
        await until_blocked(server)
        server.flushall()
    assert taken == [0]
    assert consumers_in(server) == []


async def test_what_a_dead_instance_took_is_written_by_another_once(
    client: redis.asyncio.Redis, server: redis.Redis, history: History
) -> None:
    add(server)
    with trio.CancelScope() as dying:

        class DiesAfterWriting(Noticing):
            async def keep(self, prices: Sequence[Price], counted: MonthCount | None = None) -> None:
                await super().keep(prices, counted)
                dying.cancel()
                await trio.lowlevel.checkpoint()

        dead = OutboxWriter(client, DiesAfterWriting(history), "dead")  # type: ignore[arg-type] # a history to it
        await dead.run_once()
        await dead.run_once()
    assert (left_in(server), pending_in(server)) == (1, 1)

    assert await OutboxWriter(client, history, "heir", reclaim_idle_ms=0).run_once() == 1
    assert (left_in(server), len(await kept_in(history))) == (0, 1)


async def test_what_another_instance_took_just_now_is_left_to_it(
    client: redis.asyncio.Redis, server: redis.Redis, history: History, away_postgres: LocalPostgres
) -> None:
    add(server)
    slow = OutboxWriter(client, history, "slow")
    await slow.run_once()
    with pytest.raises(HistoryUnavailable):
        await slow.run_once()
    assert await OutboxWriter(client, history, "eager").run_once() == 0


@pytest.mark.parametrize(
    "junk",
    [
        {"batch": "no uuid"},
        {"coin": "BitCoin"},
        {"currency": ""},
        {"currency": "u" * 17},
        {"price": "NaN"},
        {"price": "-1"},
        {"price": "1,2"},
        {"price": "1e400"},
        {"price": "1e9999999999999999999"},
        {"at": "noon"},
        {"at": "9" * 30},
    ],
    ids=repr,
)
async def test_an_entry_that_is_no_price_is_put_aside_with_the_reason_and_blocks_nobody(
    writer: OutboxWriter, server: redis.Redis, history: History, junk: dict[str, str]
) -> None:
    add(server, "1")
    add(server, **{"price": "2"} | junk)
    add(server, "3")
    await writer.run_once()
    with structlog.testing.capture_logs() as logs:
        assert await writer.run_once() == 3
    assert await kept_in(history) == [1, 3]
    assert left_in(server) == 0
    (refused,) = refused_in(server)
    assert junk.items() <= {key.decode(): value.decode() for key, value in refused.items()}.items()
    assert refused[b"why"]
    assert [(log["event"], log["log_level"]) for log in logs] == [("outbox entry refused", "error")]


@given(
    st.dictionaries(
        st.sampled_from([b"batch", b"coin", b"currency", b"price", b"at", b"other"]),
        st.binary(max_size=30)
        | st.sampled_from([b"bitcoin", b"usd", uuid4().hex.encode()])
        | st.decimals().map(lambda number: str(number).encode())
        | st.integers().map(lambda number: str(number).encode()),
    )
)
def test_an_entry_of_any_bytes_is_a_sane_price_or_unreadable(fields: dict[bytes, bytes]) -> None:
    with contextlib.suppress(outbox._Unreadable):
        price = outbox._price_of(Entry(b"1-1", fields))
        assert is_sane(price.price)
        assert from_unix_ms(price.fetched_at_ms) == price.fetched_at


async def test_a_price_that_postgres_refuses_is_put_aside_and_the_others_are_kept(
    writer: OutboxWriter, server: redis.Redis, history: History, database_url: str, sql: Sql
) -> None:
    sql(database_url, "ALTER TABLE prices ADD CONSTRAINT unlucky CHECK (price <> 13)")
    try:
        for n in range(20):
            add(server, str(n))
        await writer.run_once()
        assert await writer.run_once() == 20
    finally:
        sql(database_url, "ALTER TABLE prices DROP CONSTRAINT unlucky")
    assert await kept_in(history) == [n for n in range(20) if n != 13]
    (refused,) = refused_in(server)
    assert refused[b"price"] == b"13"
    assert b"unlucky" in refused[b"why"]
    assert (left_in(server), pending_in(server)) == (0, 0)


async def test_an_entry_that_somebody_deleted_while_it_was_pending_is_said_and_let_go(
    writer: OutboxWriter, server: redis.Redis, away_postgres: LocalPostgres
) -> None:
    await writer.run_once()
    add(server)
    with pytest.raises(HistoryUnavailable):
        await writer.run_once()
    server.xtrim(OUTBOX, maxlen=0)
    with structlog.testing.capture_logs() as logs:
        await writer.run_once()
    assert pending_in(server) == 0
    assert [log["log_level"] for log in logs] == ["error"]


async def test_run_writes_what_comes_until_it_is_cancelled_and_is_forgotten_then(
    client: redis.asyncio.Redis, server: redis.Redis, history: History
) -> None:
    noticing = Noticing(history)
    async with running(OutboxWriter(client, noticing, "one")):  # type: ignore[arg-type] # a history to it
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(noticing.next_write)
                await trio.testing.wait_all_tasks_blocked()
                add(server)
        assert consumers_in(server) == ["one"]
    assert len(await kept_in(history)) == 3
    assert consumers_in(server) == []


async def test_run_starts_without_redis_and_says_once_that_it_waits_and_once_that_it_goes_on(
    client: redis.asyncio.Redis, server: redis.Redis, history: History, away_valkey: LocalValkey
) -> None:
    noticing = Noticing(history)
    with structlog.testing.capture_logs() as logs:
        async with running(OutboxWriter(client, noticing, "one")):  # type: ignore[arg-type] # a history to it
            await trio.to_thread.run_sync(away_valkey.start)
            add(server)
            await noticing.wrote.wait()
            await until(lambda: left_in(server) == 0)
    assert [(log["event"], log.get("missing")) for log in logs] == [
        ("outbox waits", "RedisUnavailable"),
        ("outbox goes on", None),
    ]


async def test_run_outlasts_an_outage_of_postgres_and_logs_its_cause_once(
    client: redis.asyncio.Redis, server: redis.Redis, history: History, away_postgres: LocalPostgres
) -> None:
    noticing = Noticing(history)
    with structlog.testing.capture_logs() as logs:
        async with running(OutboxWriter(client, noticing, "one")):  # type: ignore[arg-type] # a history to it
            add(server)
            await until(lambda: len(logs) == 1)
            await trio.to_thread.run_sync(away_postgres.start)
            await noticing.wrote.wait()
            await until(lambda: len(logs) == 2)
    assert [log["event"] for log in logs] == ["outbox waits", "outbox goes on"]
    assert "ConnectionRefusedError" in logs[0]["reason"]


async def test_a_writer_that_ends_with_entries_pending_is_not_forgotten(
    client: redis.asyncio.Redis, server: redis.Redis, history: History, away_postgres: LocalPostgres
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with running(OutboxWriter(client, history, "one")):
            add(server)
            await until(lambda: bool(logs))
    assert (consumers_in(server), pending_in(server)) == (["one"], 1)


async def test_consumers_of_dead_instances_are_forgotten_once_they_hold_nothing(
    client: redis.asyncio.Redis, server: redis.Redis, history: History
) -> None:
    add(server)
    server.xgroup_create(OUTBOX, GROUP, "0")
    server.xreadgroup(GROUP, "holds-an-entry", {OUTBOX: ">"})
    server.xgroup_createconsumer(OUTBOX, GROUP, "empty")
    async with running(OutboxWriter(client, history, "patient")):
        assert "empty" in consumers_in(server)
    async with running(OutboxWriter(client, history, "one", forget_idle_ms=0)):
        assert "empty" not in consumers_in(server)
        assert "holds-an-entry" in consumers_in(server)


async def test_cancels_at_any_moment_lose_no_price_and_write_none_twice(
    client: redis.asyncio.Redis, server: redis.Redis, history: History
) -> None:
    moments = random.Random(20)
    writers = [OutboxWriter(client, history, name, reclaim_idle_ms=0) for name in ("one", "two", "three")]

    async def write_with_cancels(writer: OutboxWriter) -> None:
        for _ in range(30):
            with trio.move_on_after(moments.uniform(0, 0.02)):
                await writer.run_once()

    for n in range(90):
        add(server, str(n))
    async with trio.open_nursery() as nursery:
        for writer in writers:
            nursery.start_soon(write_with_cancels, writer)
    while left_in(server):
        await writers[0].run_once()
    assert await kept_in(history) == list(range(90))
    assert pending_in(server) == 0


@contextlib.asynccontextmanager
async def running(writer: OutboxWriter) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        yield
        nursery.cancel_scope.cancel()


async def until_blocked(server: redis.Redis) -> None:
    clients: Callable[[], Any] = server.client_list
    await until(lambda: any("b" in client["flags"] for client in clients()))
