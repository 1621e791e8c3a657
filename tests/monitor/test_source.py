"""Against a real Valkey: what instances publish is heard, and what happens when Redis goes and comes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Self, TypeVar

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from core import keys
from core.events import encode_message
from monitor import source
from monitor.app import MonitorApp
from monitor.source import RedisSource, Said
from monitor.state import Connected, Lost, Unreadable
from server.local import LocalValkey
from tests.monitor.conftest import run_plain
from tests.monitor.samples import batch, flushed, message, snapshot

PATIENCE_S = 20
WHOLE = message("api-1", snapshot(batch("bitcoin")), number=1)


T = TypeVar("T")


@pytest.fixture
def own_valkey(valkey: LocalValkey, redis_url: str) -> Iterator[LocalValkey]:
    yield valkey
    valkey.stop()
    valkey.start()


# What a monitor, this test and its connections may say; none of it writes a key.
READING = {
    *("publish", "subscribe", "unsubscribe", "ping", "dbsize", "info"),
    *("hello", "client|setinfo", "client|maint_notifications", "config|resetstat", "command", "select"),
}


async def commands_of(redis: Redis) -> set[str]:
    """Every command that Redis was told since its statistics were cleared."""
    return {str(name).removeprefix("cmdstat_") for name in await redis.info("commandstats")}


class Listener:
    """A source at work, and everything it told."""

    def __init__(self, redis_url: str) -> None:
        self.heard: list[Said] = []
        self._source = RedisSource(redis_url)
        self._news = asyncio.Event()

    async def listen(self) -> None:
        await self._source.listen(self._hear)

    def _hear(self, heard: Said) -> None:
        self.heard.append(heard)
        self._news.set()

    async def wait_for(self, wanted: Callable[[Said], bool]) -> Said:
        """The first thing of its kind, which is taken out of what was heard with all before it."""
        while True:
            while self.heard:
                if wanted(one := self.heard.pop(0)):
                    return one
            self._news.clear()
            await self._news.wait()


def listen(redis_url: str, story: Callable[[Listener], Awaitable[None]]) -> None:
    async def main() -> None:
        listener = Listener(redis_url)
        async with asyncio.timeout(PATIENCE_S):
            task = asyncio.create_task(listener.listen())
            try:
                await story(listener)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    run_plain(main())


def is_connected(heard: Said) -> bool:
    return isinstance(heard, Connected)


def is_lost(heard: Said) -> bool:
    return isinstance(heard, Lost)


def test_events_and_snapshots_are_heard_as_they_were_told(redis_url: str) -> None:
    async def story(listener: Listener) -> None:
        await listener.wait_for(is_connected)
        told = [
            message("api-1", snapshot(batch("bitcoin")), number=1),
            message("api-2", None, flushed("bitcoin"), number=1),
        ]
        async with Redis.from_url(redis_url) as redis:
            for one in told:
                await redis.publish(keys.EVENTS, encode_message(one))
        assert [await listener.wait_for(lambda one: not is_connected(one)) for _ in told] == told

    listen(redis_url, story)


def test_a_word_that_is_no_event_is_told_as_unreadable_and_does_no_harm(redis_url: str) -> None:
    async def story(listener: Listener) -> None:
        await listener.wait_for(is_connected)
        async with Redis.from_url(redis_url) as redis:
            for said in (b"\xff{", b'{"type":"unheard_of"}', encode_message(WHOLE)):
                await redis.publish(keys.EVENTS, said)
        heard = [await listener.wait_for(lambda one: not is_connected(one)) for _ in range(3)]
        assert heard == [Unreadable(), Unreadable(), WHOLE]

    listen(redis_url, story)


def test_a_monitor_says_that_it_watches_and_writes_no_key(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_WORD_EVERY_S", 0.2)

    async def story(listener: Listener) -> None:
        async with Redis.from_url(redis_url) as redis, redis.pubsub() as feed:
            await redis.config_resetstat()
            await feed.subscribe(keys.WATCH)
            words: list[bytes] = []
            while len(words) < 2:
                message = await feed.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_S)
                words += [message["data"]] if message else []
            assert set(words) <= {b"watch", b"snapshot"}
            assert await redis.dbsize() == 0
            assert await commands_of(redis) <= READING

    listen(redis_url, story)


def test_a_redis_that_goes_is_told_as_lost_and_its_return_as_connected(own_valkey: LocalValkey) -> None:
    async def story(listener: Listener) -> None:
        await listener.wait_for(is_connected)
        await asyncio.to_thread(own_valkey.stop)
        await listener.wait_for(is_lost)
        await asyncio.to_thread(own_valkey.start)
        await listener.wait_for(is_connected)

    listen(own_valkey.url, story)


def test_a_redis_that_hangs_is_told_as_lost(redis_url: str) -> None:
    async def story(listener: Listener) -> None:
        await listener.wait_for(is_connected)
        async with Redis.from_url(redis_url) as redis:
            await redis.client_pause(2000, all=True)
        await listener.wait_for(is_lost)
        await listener.wait_for(is_connected)

    listen(redis_url, story)


class DeafRedis:
    """Takes every word and tells none."""

    def __init__(self) -> None:
        self._subscribed: list[dict[str, str]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    def pubsub(self) -> Self:
        return self

    async def subscribe(self, *channels: str) -> None:
        self._subscribed = [{"type": "subscribe", "channel": channel} for channel in channels]

    async def publish(self, channel: str, said: str) -> None:
        return

    async def get_message(self, timeout: float) -> dict[str, str] | None:  # noqa: ASYNC109 - as redis-py has it
        if self._subscribed:
            return self._subscribed.pop()
        await asyncio.sleep(timeout)
        return None


def test_a_redis_that_takes_words_but_tells_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(listener: Listener) -> None:
        for _ in range(2):
            lost = await listener.wait_for(lambda _: True)
            assert isinstance(lost, Lost)
            assert lost.reason.startswith("Nothing is heard from Redis: check REDIS_URL")

    monkeypatch.setattr(source, "_client_of", lambda _: DeafRedis())
    monkeypatch.setattr(source, "_WORD_EVERY_S", 0.01)
    listen("redis://deaf", story)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "http://127.0.0.1",
        "redis://:secret@127.0.0.1:port/0",
        "redis://127.0.0.1:1/0?secret=1",
        "redis://a..b/0",
        "redis://127.0.0.1:1/0",
        "unix:///no/such/socket",
    ],
)
def test_a_url_without_a_redis_is_told_as_lost_and_tells_no_secret(url: str) -> None:
    async def story(listener: Listener) -> None:
        for _ in range(2):
            lost = await listener.wait_for(is_lost)
            assert isinstance(lost, Lost)
            assert lost.reason
            assert "secret" not in lost.reason

    listen(url, story)


def test_who_comes_late_asks_for_a_snapshot_at_once_and_again_when_told_to(redis_url: str) -> None:
    async def main() -> None:
        async with Redis.from_url(redis_url) as redis, redis.pubsub() as feed:
            await feed.subscribe(keys.WATCH)
            watching = RedisSource(redis_url)
            task = asyncio.create_task(watching.listen(lambda _: None))
            async with asyncio.timeout(PATIENCE_S):
                words = [await next_word(feed) for _ in range(2)]
                watching.ask_snapshot()
                words += [await next_word(feed) for _ in range(2)]
            task.cancel()
            await asyncio.wait([task])
            assert words == [b"snapshot", b"watch", b"snapshot", b"watch"]

    run_plain(main())


async def next_word(feed: PubSub) -> bytes:
    while True:
        message = await feed.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_S)
        if message is not None:
            word: bytes = message["data"]
            return word


def test_the_word_for_a_snapshot_is_said_four_times_a_second_at_most(redis_url: str) -> None:
    async def main() -> int:
        async with Redis.from_url(redis_url) as redis:
            watching = RedisSource(redis_url)

            def ask_and_answer(_: Said) -> None:
                watching.ask_snapshot()

            task = asyncio.create_task(watching.listen(ask_and_answer))
            await asyncio.sleep(0.3)
            await redis.config_resetstat()
            for _ in range(50):
                await asyncio.sleep(0.02)
                await redis.publish(keys.EVENTS, b"{}")
            calls = (await redis.info("commandstats"))["cmdstat_publish"]["calls"]
            task.cancel()
            await asyncio.wait([task])
            return int(calls) - 50

    assert 2 <= run_plain(main()) <= 6


def test_the_monitor_shows_what_real_instances_publish(redis_url: str) -> None:
    async def main() -> None:
        app = MonitorApp(RedisSource(redis_url))
        async with app.run_test(size=(80, 24)) as pilot, Redis.from_url(redis_url) as redis:
            async with asyncio.timeout(PATIENCE_S):
                while await redis.publish(keys.EVENTS, encode_message(WHOLE)) == 0:
                    await pilot.pause()
                while not app.picture().batches():
                    await pilot.pause()
            assert [row.coin_id for row in app.picture().batches()] == ["bitcoin"]

    run_plain(main())


def test_a_wrong_url_shows_the_banner_and_does_not_crash() -> None:
    async def look() -> None:
        app = MonitorApp(RedisSource("nonsense"))
        async with app.run_test(size=(80, 24)) as pilot:
            async with asyncio.timeout(PATIENCE_S):
                while app.picture().header().link != "lost":
                    await pilot.pause()
            assert "REDIS_URL" in app.picture().header().lost_reason

    run_plain(look())
