"""The feed on a real Valkey: what is published is heard, and nothing that Redis says ends it."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
import redis
import trio

from core import keys
from core.batches import Result
from core.events import Event, NextCall
from core.result_feed import ResultFeed
from core.standings import encode_result
from tests.waiting import until

RESULT = Result(
    batch_id="b",
    coin_id="bitcoin",
    trigger="window",
    size=1,
    fetched_at_ms=1,
    upstream_ms=2.5,
    prices={"usd": Decimal("1E-12"), "eur": None},
)


class Listener:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.full: list[tuple[str, int]] = []
        self.claimed: list[tuple[Sequence[str], float]] = []
        self.next_calls: list[tuple[int, int]] = []
        self.results: list[Result] = []
        self.looks = 0
        self.watched: list[bytes] = []
        self.events: list[Event] = []

    def hear_full(self, batch_id: str, size: int) -> None:
        self.full.append((batch_id, size))

    def hear_claimed(self, batch_ids: Sequence[str], lease_s: float) -> None:
        self.claimed.append((batch_ids, lease_s))

    def hear_next_call(self, in_ms: int, now_ms: int) -> None:
        self.next_calls.append((in_ms, now_ms))

    def hear_results(self, results: Sequence[Result]) -> None:
        self.results += results

    async def look(self) -> None:
        self.looks += 1
        await trio.lowlevel.checkpoint()

    def hear_watch(self, word: bytes) -> None:
        self.watched.append(word)

    def tell(self, event: Event) -> None:
        self.events.append(event)


class Follower:
    """Notes in which order it hears what."""

    def __init__(self) -> None:
        self.heard: list[Sequence[Result] | str] = []

    def hear_results(self, results: Sequence[Result]) -> None:
        self.heard.append(results)

    async def look(self) -> None:
        self.heard.append("look")
        await trio.lowlevel.checkpoint()


@pytest.fixture
def follower() -> Follower:
    return Follower()


@pytest.fixture
async def listener(redis_url: str, nursery: trio.Nursery, follower: Follower) -> Listener:
    listener = Listener()
    await nursery.start(ResultFeed(redis_url, listener, follower, listener).run)
    return listener


async def test_it_is_subscribed_when_it_has_started(listener: Listener, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.publish(keys.FEED, '{"type":"full","batch_id":"b","size":3}')
        client.publish(keys.FEED, '{"type":"claimed","batch_ids":["b","c"],"lease_ms":1500}')
        client.publish(keys.FEED, '{"type":"next_call","in_ms":60000,"now_ms":17}')
        client.publish(keys.FEED, b'{"type":"settled","results":[' + encode_result(RESULT) + b"]}")
        client.publish(keys.WATCH, "watch")
    await until(lambda: listener.watched)

    assert listener.full == [("b", 3)]
    assert listener.claimed == [(["b", "c"], 1.5)]
    assert listener.next_calls == [(60_000, 17)]
    assert listener.results == [RESULT]
    assert listener.looks == 1
    assert listener.watched == [b"watch"]
    assert [event.in_ms for event in listener.events if isinstance(event, NextCall)] == [60_000]


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"{", b"{}", b'{"type":"of another version"}', b""])
async def test_a_message_that_cannot_be_read_is_passed_over(listener: Listener, redis_url: str, junk: bytes) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.publish(keys.FEED, junk)
        client.publish(keys.FEED, '{"type":"full","batch_id":"b","size":3}')
    await until(lambda: listener.full)


async def test_it_subscribes_anew_and_has_its_listener_look_after_a_break(listener: Listener, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(_type="pubsub")
        await until(lambda: listener.looks == 2)
        client.publish(keys.WATCH, "watch")
    await until(lambda: listener.watched)


async def test_a_redis_that_refuses_it_is_tried_again(listener: Listener, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("requirepass", "secret")
        client.execute_command("AUTH", "secret")
        try:
            client.client_kill_filter(_type="pubsub")
            await until(lambda: client.info("stats")["unexpected_error_replies"] or client.info("errorstats"))
        finally:
            client.config_set("requirepass", "")
    await until(lambda: listener.looks == 2)


async def test_a_follower_hears_results_in_their_order_and_where_some_may_be_missing(
    listener: Listener, follower: Follower, redis_url: str
) -> None:
    settled = b'{"type":"settled","results":[' + encode_result(RESULT) + b"]}"
    with redis.Redis.from_url(redis_url) as client:
        client.publish(keys.FEED, settled)
        await until(lambda: len(follower.heard) == 2)
        client.client_kill_filter(_type="pubsub")
        await until(lambda: len(follower.heard) == 3)
        client.publish(keys.FEED, settled)
        await until(lambda: len(follower.heard) == 4)
    assert follower.heard == ["look", [RESULT], "look", [RESULT]]


async def test_a_silent_connection_is_found_by_asking_for_a_sign_of_life(listener: Listener, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:

        def pings() -> int:
            counted: dict[str, dict[str, int]] = client.info("commandstats")
            return counted.get("cmdstat_ping", {}).get("calls", 0)

        before = pings()
        await until(lambda: pings() > before)
    assert listener.looks == 1


async def test_without_redis_it_starts_all_the_same(nursery: trio.Nursery) -> None:
    listener = Listener()
    await nursery.start(ResultFeed("redis://127.0.0.1:1", listener, Follower(), listener).run)
    assert listener.looks == 0
