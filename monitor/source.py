"""Where the monitor hears from: Redis' pub/sub, reconnecting by itself.

    await RedisSource("redis://127.0.0.1:6379").listen(hear)        # until cancelled

It writes no key. Once a second it says on the watch channel that somebody watches; that word comes back to it, which
proves that both ways are open.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.utils import str_if_bytes

from core import keys
from core.events import Event, decode_event
from monitor.state import Connected, Heard, Lost, Unreadable

_WORD_EVERY_S = 1.0
_REPLY_TIMEOUT_S = 0.7  # with the second between two words: a Redis that hangs is noticed within 2 s
_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 2.0

Hear = Callable[[Heard], None]


class Source(Protocol):
    """Whatever tells the monitor what happens."""

    async def listen(self, hear: Hear) -> None:
        """Tell everything that is heard, until cancelled."""


class RedisSource:
    """Events and snapshots from Redis; Connected, each second, and Lost say how Redis is."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._retry_s = _FIRST_RETRY_S

    async def listen(self, hear: Hear) -> None:
        """Tell everything that is heard, and reconnect when Redis is lost, until cancelled."""
        while True:
            try:
                async with _client_of(self._redis_url) as redis, redis.pubsub() as feed:
                    await self._listen_on(redis, feed, hear)
            except _UnusableURLError:
                hear(Lost("this is not the URL of a Redis"))
            except (RedisError, OSError) as error:
                hear(Lost(str(error) or type(error).__name__))
            await asyncio.sleep(self._retry_s)
            self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    async def _listen_on(self, redis: Redis, feed: PubSub, hear: Hear) -> None:
        """Never returns; raises when Redis is lost."""
        await feed.subscribe(keys.EVENTS, keys.WATCH)
        await feed.get_message(timeout=_REPLY_TIMEOUT_S)  # the subscription stands before the first word is said
        while True:
            await redis.publish(keys.WATCH, "watch")
            if not await _hear_until_next_word(feed, hear):
                raise RedisConnectionError("Nothing is heard from Redis.")
            self._retry_s = _FIRST_RETRY_S


async def _hear_until_next_word(feed: PubSub, hear: Hear) -> bool:
    """Tell what comes within a second, and return whether the word was in it."""
    next_word_at = time.monotonic() + _WORD_EVERY_S
    came_back = False
    while (left_s := next_word_at - time.monotonic()) > 0:
        message = await feed.get_message(timeout=left_s)
        if message is None or message["type"] != "message":
            continue
        is_word = str_if_bytes(message["channel"]) == keys.WATCH
        came_back = came_back or is_word
        hear(Connected() if is_word else _parsed(message["data"]))
    return came_back


def _parsed(said: bytes) -> Heard:
    try:
        event: Event = decode_event(said)
    except msgspec.DecodeError:
        return Unreadable()
    return event


class _UnusableURLError(Exception):
    """Nothing of the URL is told: it may hold a password."""


def _client_of(redis_url: str) -> Redis:
    try:
        client = Redis.from_url(
            redis_url,
            socket_timeout=_REPLY_TIMEOUT_S,
            socket_connect_timeout=_REPLY_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        # Not opened: it tells now what the URL asks for in vain. The type: redis-py annotates it nowhere.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        raise _UnusableURLError from None
    return client
