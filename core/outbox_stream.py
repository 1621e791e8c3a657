"""The outbox as a Redis stream: entries are taken by a consumer group, and leave when they are settled.

    stream = OutboxStream(connect(redis_url), instance)
    entries = await stream.take()
    await stream.settle(entries, refusals)

Taken entries stay pending until they are settled, and are taken again: at once by whoever took them, and by others
when their taker has been silent for a while. Every method raises RedisUnavailable when Redis is away. Each is one
asyncio coroutine on redis-py, off the hot path.
"""

from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, TypeVar

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from trio_asyncio import aio_as_trio

from core.errors import RedisUnavailable
from core.keys import BUDGET, OUTBOX, OUTBOX_REFUSED
from core.month import MonthCount, month_of

GROUP = "history"

_COUNT = 500  # a bulk write of so many takes Postgres some 10 ms
_BLOCK_MS = 1000
_CONNECT_S = 1.0
_ANSWER_S = 3.0  # longer than Redis is asked to wait for entries

# Three times as long as one attempt to write may take. A taker that tries again keeps its entries fresh by that.
RECLAIM_IDLE_MS = 30_000
FORGET_IDLE_MS = 3_600_000

_REFUSED_KEPT = 100_000

_MOST_CALLS = 2**63 - 1  # what Postgres can hold

_FORGET = files("core.lua").joinpath("forget.lua").read_text()

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Entry(msgspec.Struct, frozen=True):
    """One entry as Redis gives it; without fields if somebody deleted it."""

    id: bytes
    fields: dict[bytes, bytes]


class Refusal(msgspec.Struct, frozen=True):
    """An entry that will never be in Postgres, and why."""

    entry: Entry
    why: str


def connect(redis_url: str) -> Redis:
    """Make a client fit for an outbox, whose owner asks again by itself and closes it in the end."""
    return Redis.from_url(
        redis_url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=_CONNECT_S,
        socket_timeout=_ANSWER_S,
    )


class OutboxStream:
    """The outbox as one consumer of its group sees it."""

    def __init__(
        self,
        redis: Redis,
        consumer: str,
        *,
        reclaim_idle_ms: int = RECLAIM_IDLE_MS,
        forget_idle_ms: int = FORGET_IDLE_MS,
    ) -> None:
        self._redis = redis
        self._consumer = consumer
        self._reclaim_idle_ms = reclaim_idle_ms
        self._forget_idle_ms = forget_idle_ms

    async def open(self) -> None:
        """Make the group unless it is there, and forget consumers that hold nothing and are silent for an hour."""
        await self._ask(self._create_group)
        await self._ask(self._forget, self._forget_idle_ms, "")

    async def take(self) -> list[Entry]:
        """Take up to 500 entries: own ones first, then those of the dead, then new ones, waiting up to 1 s."""
        return await self._ask(self._take_or_create_group)

    async def month_count(self) -> MonthCount | None:
        """Read how many upstream calls the month has seen, or None where the budget does not tell."""
        return await self._ask(self._month_count)

    async def settle(self, entries: Sequence[Entry], refusals: Sequence[Refusal]) -> None:
        """Let these entries leave, all at once, those among them that were refused to a place aside."""
        await self._ask(self._settle, entries, refusals)

    async def leave(self) -> None:
        """Be forgotten as a consumer, unless entries are pending here."""
        await self._ask(self._forget, 0, self._consumer)

    async def _ask(self, step: Callable[..., Awaitable[_T]], *args: Any) -> _T:
        try:
            answer: _T = await aio_as_trio(step)(*args)
        except (RedisError, OSError) as error:
            raise RedisUnavailable from error
        return answer

    # From here on asyncio.

    async def _create_group(self) -> None:
        try:
            # From 0: entries may be there before the first group is, also after Redis came back empty.
            await self._redis.xgroup_create(OUTBOX, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _take_or_create_group(self) -> list[Entry]:
        try:
            return await self._read("0") or await self._reclaim() or await self._read(">", block=_BLOCK_MS)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
        await self._create_group()
        return []

    async def _read(self, after: str, *, block: int | None = None) -> list[Entry]:
        streams: Any = await self._redis.xreadgroup(GROUP, self._consumer, {OUTBOX: after}, count=_COUNT, block=block)
        return [Entry(entry_id, fields) for _, entries in streams for entry_id, fields in entries]

    async def _reclaim(self) -> list[Entry]:
        answer: Any = await self._redis.xautoclaim(OUTBOX, GROUP, self._consumer, self._reclaim_idle_ms, count=_COUNT)
        _, entries, deleted = answer
        if deleted:
            _log.error("outbox entries deleted", entries=[entry_id.decode() for entry_id in deleted])
        return [Entry(entry_id, fields) for entry_id, fields in entries]

    async def _month_count(self) -> MonthCount | None:
        try:
            budget: Any = await self._redis.hmget(BUDGET, ["calls", "until"])
        except ResponseError as error:
            _log.warning("budget unreadable", reason=str(error))
            return None
        return _month_count_of(*budget)

    async def _settle(self, entries: Sequence[Entry], refusals: Sequence[Refusal]) -> None:
        ids = [entry.id for entry in entries]
        async with self._redis.pipeline(transaction=True) as pipeline:
            for refusal in refusals:
                fields: Any = {**refusal.entry.fields, b"entry": refusal.entry.id, b"why": refusal.why}
                pipeline.xadd(OUTBOX_REFUSED, fields, maxlen=_REFUSED_KEPT)
            pipeline.xack(OUTBOX, GROUP, *ids)
            pipeline.xdel(OUTBOX, *ids)
            await pipeline.execute()

    async def _forget(self, idle_ms: int, consumer: str) -> None:
        await self._redis.eval(_FORGET, 1, OUTBOX, GROUP, str(idle_ms), consumer)


def _month_count_of(calls: bytes | None, until: bytes | None) -> MonthCount | None:
    """The count of the month that ends at `until`, or None where these are no such numbers."""
    if calls is None or until is None:
        return None
    try:
        count = MonthCount(month_of(int(until) - 1), int(calls))
    except (ValueError, OverflowError, OSError):
        return None
    return count if 0 <= count.calls <= _MOST_CALLS else None
