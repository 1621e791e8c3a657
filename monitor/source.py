"""Where the monitor hears from: Redis' pub/sub, reconnecting by itself, or a recording (`monitor/recording.py`).

    await RedisSource("redis://127.0.0.1:6379").listen(hear)        # until cancelled

It writes no key. Once a second it says on the watch channel that somebody watches; that word comes back to it, which
proves that both ways are open.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.utils import str_if_bytes

from core import keys
from core.events import decode_message
from monitor.state import Connected, Heard, Lost, Unreadable

_WORD_EVERY_S = 1.0
_ASK_EVERY_S = 0.25  # no instance sends more often
_REPLY_TIMEOUT_S = 0.7  # with the second between two words: a Redis that hangs is noticed within 2 s
_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 2.0
_TO_DO = "check REDIS_URL or --redis-url, and that it runs there"

Word = Literal["watch", "snapshot"]


class Rewound(msgspec.Struct, frozen=True):
    """A recording goes back to its beginning: forget everything. All up to the moment asked for follows at once."""


class Note(msgspec.Struct, frozen=True):
    """Something about the source itself that whoever watches should know; it changes no state."""

    text: str


Said = Heard | Rewound | Note
Hear = Callable[[Said], None]


class Source(Protocol):
    """Whatever tells the monitor what happens."""

    async def listen(self, hear: Hear) -> None:
        """Tell everything that is heard, until cancelled."""

    def ask_snapshot(self) -> None:
        """Have every instance tell how it stands, with its coins: messages were lost. Cheap to call often."""

    def now_s(self) -> float:
        """The clock of what is heard: it goes on steadily, and while a recording is paused it stands still."""


@runtime_checkable
class Controls(Protocol):
    """What a source can do besides when its time is in the hands of whoever watches: a recording."""

    @property
    def position_s(self) -> float:
        """How far it has come."""

    @property
    def duration_s(self) -> float:
        """How far it goes."""

    @property
    def paused(self) -> bool:
        """Whether it stands still."""

    @property
    def speed(self) -> float:
        """How many of its seconds go by in one."""

    def set_paused(self, *, paused: bool) -> None:
        """Stand still, or go on."""

    def set_speed(self, speed: float) -> None:
        """Go on this much faster than it was."""

    def step(self, messages: int = 1) -> None:
        """Tell the next messages at once, and stand still."""

    def seek(self, to_s: float) -> None:
        """Go to this moment, forward or back."""


class RedisSource:
    """Messages from Redis; Connected, each second, and Lost say how Redis is."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._retry_s = _FIRST_RETRY_S
        self._asked = False

    def now_s(self) -> float:
        """This machine's clock."""
        return time.monotonic()

    def ask_snapshot(self) -> None:
        """Say `snapshot` on the watch channel, four times a second at most."""
        self._asked = True

    async def listen(self, hear: Hear) -> None:
        """Tell everything that is heard, and reconnect when Redis is lost, until cancelled."""
        while True:
            try:
                async with _client_of(self._redis_url) as redis, redis.pubsub() as feed:
                    await self._listen_on(redis, feed, hear)
            except _UnusableURLError:
                hear(Lost(f"this is not the URL of a Redis: {_TO_DO}"))
            except (RedisError, OSError) as error:
                hear(Lost(f"{str(error).rstrip('.') or type(error).__name__}: {_TO_DO}"))
            await asyncio.sleep(self._retry_s)
            self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    async def _listen_on(self, redis: Redis, feed: PubSub, hear: Hear) -> None:
        """Never returns; raises when Redis is lost."""
        await feed.subscribe(keys.EVENTS, keys.WATCH)
        await feed.get_message(timeout=_REPLY_TIMEOUT_S)  # the subscription stands before the first word is said
        self._asked = True  # whoever comes late is told everything
        while True:
            await redis.publish(keys.WATCH, self._word())
            if not await self._hear_until_next_word(redis, feed, hear):
                raise RedisConnectionError("Nothing is heard from Redis.")
            self._retry_s = _FIRST_RETRY_S

    async def _hear_until_next_word(self, redis: Redis, feed: PubSub, hear: Hear) -> bool:
        """Tell what comes within a second, and return whether a word was in it."""
        said_at = time.monotonic()
        next_word_at, may_ask_at = said_at + _WORD_EVERY_S, said_at + _ASK_EVERY_S
        came_back = False
        while (left_s := next_word_at - time.monotonic()) > 0:
            message = await feed.get_message(timeout=left_s)
            if message is not None and message["type"] == "message":
                is_word = str_if_bytes(message["channel"]) == keys.WATCH
                came_back = came_back or is_word
                hear(Connected() if is_word else _parsed(message["data"]))
            if self._asked and time.monotonic() > may_ask_at:
                await redis.publish(keys.WATCH, self._word())
                may_ask_at = time.monotonic() + _ASK_EVERY_S
        return came_back

    def _word(self) -> Word:
        word: Word = "snapshot" if self._asked else "watch"
        self._asked = False
        return word


def _parsed(said: bytes) -> Heard:
    try:
        return decode_message(said)
    except msgspec.DecodeError:
        return Unreadable()


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
