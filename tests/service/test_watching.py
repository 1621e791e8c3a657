"""What monitors get of whole instances, on real parts; and what it costs where there are none."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx
import pytest
import redis
import trio

from core import keys
from core.events import Claimed, Draining, Event, Flushed, Kept, Limited, Message, Started, Stopped, decode_message
from core.service import open_core
from core.settings import Settings
from simulator import Simulator
from tests.conftest import Sql
from tests.service.conftest import ClientFor, StartInstance
from tests.waiting import until

_EventT = TypeVar("_EventT", bound=Event)

QUICK = {"batch_window_ms": 200}


class Ear:
    """Everything that is published on this Redis."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._feed: Any = self._client.pubsub()  # type: ignore[no-untyped-call] # redis-py's own
        self._feed.psubscribe("*")
        self._feed.get_message(timeout=5)
        self.heard: list[tuple[str, bytes]] = []  # (channel, message)

    def close(self) -> None:
        self._feed.close()
        self._client.close()

    def watch(self) -> None:
        self._client.publish(keys.WATCH, "watch")

    @property
    def messages(self) -> list[Message]:
        self._listen()
        return [decode_message(said) for channel, said in self.heard if channel == keys.EVENTS]

    @property
    def channels(self) -> set[str]:
        self._listen()
        return {channel for channel, _ in self.heard}

    def told(self, kind: type[_EventT]) -> list[_EventT]:
        return [event for message in self.messages for event in message.events if isinstance(event, kind)]

    def published(self) -> int:
        """How often anybody published, by script or not, except for these words of ours."""
        counted: Any = self._client.info("commandstats")
        return int(counted["cmdstat_publish"]["calls"]) if "cmdstat_publish" in counted else 0

    def _listen(self) -> None:
        while (message := self._feed.get_message()) is not None:
            if message["type"] == "pmessage":
                self.heard.append((message["channel"].decode(), message["data"]))


@pytest.fixture
def ear(redis_url: str) -> Iterator[Ear]:
    with contextmanager(listening)(redis_url) as ear:
        yield ear


def listening(url: str) -> Iterator[Ear]:
    ear = Ear(url)
    try:
        yield ear
    finally:
        ear.close()


@asynccontextmanager
async def watching(ear: Ear) -> AsyncIterator[None]:
    async def keep_watching() -> None:
        while True:
            ear.watch()
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_watching)
        yield
        nursery.cancel_scope.cancel()


async def get_all(clients: list[httpx.AsyncClient], *coin_ids: str) -> list[httpx.Response]:
    answers: list[httpx.Response] = []

    async def get(client: httpx.AsyncClient, coin_id: str) -> None:
        answers.append(await client.get(f"/v1/price/{coin_id}"))

    async with trio.open_nursery() as nursery:
        for number, coin_id in enumerate(coin_ids):
            nursery.start_soon(get, clients[number % len(clients)], coin_id)
    return answers


def count_kept(sql: Sql, database_url: str) -> int:
    return len(sql(database_url, "SELECT 1 FROM prices"))


async def test_while_nobody_watches_nothing_but_what_batches_need_is_published(
    start_instance: StartInstance, client_for: ClientFor, ear: Ear
) -> None:
    before = ear.published()
    clients = [await client_for(await start_instance(**QUICK)) for _ in range(2)]
    await get_all(clients, "bitcoin", "bitcoin", "bitcoin", "ethereum", *["solana"] * 18)  # the last are refused
    await trio.sleep(0.6)

    assert ear.channels == {keys.FEED}
    assert ear.published() - before == len(ear.heard)


async def test_two_instances_tell_to_the_unit_what_happened(
    start_instance: StartInstance, client_for: ClientFor, ear: Ear, upstream: Simulator, sql: Sql, database_url: str
) -> None:
    generous = QUICK | {"throttle_global_limit": 100}
    clients = [await client_for(await start_instance(**generous), user) for user in ("ann", "bob")]
    async with watching(ear):
        for _ in range(3):
            answers = await get_all(clients, *["bitcoin", "ethereum", "solana"] * 4, "bitcoin")
            assert {answer.status_code for answer in answers} == {200}
        await until(lambda: sum(event.prices for event in ear.told(Kept)) == count_kept(sql, database_url))
        heard = len(ear.messages)
        await until(lambda: len(ear.messages) >= heard + 12)  # with all there is to tell, of both

    latest = {message.instance: message.snapshot for message in ear.messages if message.snapshot is not None}
    snapshots = list(latest.values())
    assert len(snapshots) == 2
    assert sum(snapshot.requests for snapshot in snapshots) == 3 * 13
    assert sum(snapshot.calls for snapshot in snapshots) == len(upstream.calls)
    flushed = ear.told(Flushed)
    assert len(flushed) == len(ear.told(Claimed)) == len(upstream.calls)
    assert sum(event.requests for event in flushed) == sum(
        snapshot.answered + snapshot.failed for snapshot in snapshots
    )
    assert sum(len(event.batches) for event in flushed) == sum(snapshot.opened for snapshot in snapshots)
    flush_ids = {flush_id for event in ear.told(Kept) for flush_id in event.flush_ids}
    assert flush_ids <= {event.flush_id for event in flushed}
    assert {snapshot.process.outbox for snapshot in snapshots} == {0}


async def test_prices_of_coins_are_told_digit_by_digit(
    start_instance: StartInstance, client_for: ClientFor, ear: Ear, upstream: Simulator
) -> None:
    upstream.config.prices["bitcoin"] = {"usd": "1e-12"}
    ann = await client_for(await start_instance(**QUICK))
    async with watching(ear):
        await ann.get("/v1/price/bitcoin")
        await trio.sleep(1.3)
    coins = [coin for message in ear.messages if message.snapshot for coin in message.snapshot.coins or []]
    assert (coins[-1].coin_id, coins[-1].price, sum(coins[-1].requests)) == ("bitcoin", "0.000000000001", 1)


async def test_a_caller_over_its_limit_is_told(start_instance: StartInstance, client_for: ClientFor, ear: Ear) -> None:
    ann = await client_for(await start_instance(**QUICK))
    async with watching(ear):
        await trio.sleep(0.3)
        await get_all([ann], *["bitcoin"] * 25)
        await until(lambda: sum(event.times for event in ear.told(Limited)) == 5)
    assert {(event.caller, event.limit) for event in ear.told(Limited)} == {("user:ann", 20)}


async def test_an_instance_says_that_it_started_and_at_last_that_it_stopped(
    given: dict[str, Any], ear: Ear, asyncio_loop: object
) -> None:
    async with watching(ear), open_core(Settings.model_validate(given)) as core:
        await until(lambda: len(ear.messages) >= 2)
        core.desk.drain()
        await until(lambda: bool(ear.told(Draining)))
    first, *_, last = ear.messages
    assert [type(event) for event in first.events][:1] == [Started]
    assert isinstance(last.events[-1], Stopped)
