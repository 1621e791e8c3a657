"""Redis pub/sub, as it reaches this instance: what happens to batches and to the budget, and monitors that watch.

    feed = ResultFeed(url, windows, streams, broadcast)
    await nursery.start(feed.run)         # subscribed when this returns, if Redis is there

Messages are lost while the subscription is down: the listener is told to look for itself each time it is back. A feed
that falls silent is asked for a sign of life, so a dead connection is found within a second.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import msgspec
import structlog
import trio

from core import keys
from core.batches import Result
from core.events import Event, unix_ms
from core.events import NextCall as NextCallMoved
from core.redis_connection import PATIENCE_S, ConnectionLost, RedisConnection, keep_connected, no_errors, pack

_QUIET_S = 0.5

_log = structlog.get_logger(__name__)


class Full(msgspec.Struct, frozen=True, tag="full"):
    """A batch holds as many requests as its threshold."""

    batch_id: str
    size: int


class ClaimedTogether(msgspec.Struct, frozen=True, tag="claimed"):
    """Batches that an instance claimed though they were neither full nor due."""

    batch_ids: list[str]
    lease_ms: int


class NextCall(msgspec.Struct, frozen=True, tag="next_call"):
    """The time of the next upstream call was moved, by something else than the pace."""

    in_ms: int
    now_ms: int  # unix time, by Redis' clock


class SettledTogether(msgspec.Struct, frozen=True, tag="settled"):
    """The results of one flush."""

    results: list[Result]


_decode = msgspec.json.Decoder(Full | ClaimedTogether | NextCall | SettledTogether).decode


class Listener(Protocol):
    """Whoever has requests waiting."""

    def hear_full(self, batch_id: str, size: int) -> None:
        """A batch is full."""

    def hear_claimed(self, batch_ids: Sequence[str], lease_s: float) -> None:
        """Batches were claimed without having been full or due."""

    def hear_next_call(self, in_ms: int, now_ms: int) -> None:
        """The time of the next upstream call was moved, at this unix time by Redis' clock."""

    def hear_results(self, results: Sequence[Result]) -> None:
        """Batches were settled."""

    def look(self) -> Awaitable[None]:
        """Messages may have been missed."""


class Follower(Protocol):
    """Whoever wants all results in the order in which Redis tells them."""

    def hear_results(self, results: Sequence[Result]) -> None:
        """Batches were settled."""

    def look(self) -> Awaitable[None]:
        """Messages may have been missed."""


class Watched(Protocol):
    """Whoever tells monitors."""

    def hear_watch(self, word: bytes) -> None:
        """A monitor watches."""

    def tell(self, event: Event) -> None:
        """Something happened that monitors may want to know."""


class ResultFeed:
    """One subscription that reconnects by itself."""

    def __init__(self, url: str, listener: Listener, follower: Follower, watched: Watched) -> None:
        self._url = url
        self._listener = listener
        self._follower = follower
        self._watched = watched
        self._tried = trio.Event()
        self._subscribed = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen for ever; started once subscribed, or Redis was found to be away."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_connected, self._url, self._serve, self._lose)
            await self._tried.wait()
            task_status.started()

    async def _serve(self, connection: RedisConnection) -> None:
        try:
            with trio.fail_after(PATIENCE_S):
                no_errors(await connection.call(pack("SUBSCRIBE", keys.FEED), pack("SUBSCRIBE", keys.WATCH)))
        except trio.TooSlowError as error:
            raise ConnectionLost("no subscription in time") from error
        self._subscribed = True
        self._tried.set()
        await self._listener.look()
        await self._follower.look()
        await self._listen(connection)

    def _lose(self, reason: ConnectionLost) -> None:
        if self._subscribed or not self._tried.is_set():
            _log.warning("result feed lost", reason=str(reason))
        self._subscribed = False
        self._tried.set()

    async def _listen(self, connection: RedisConnection) -> None:
        while True:
            for kind, *rest in no_errors(await self._replies(connection)):
                if kind == b"message":
                    self._hear(*rest)

    async def _replies(self, connection: RedisConnection) -> list[Any]:
        with trio.move_on_after(_QUIET_S):
            return await connection.receive()
        await connection.send(pack("PING"))
        try:
            with trio.fail_after(_QUIET_S):
                return await connection.receive()
        except trio.TooSlowError as error:
            raise ConnectionLost("Redis fell silent") from error

    def _hear(self, channel: bytes, payload: bytes) -> None:
        if channel == keys.WATCH.encode():
            self._watched.hear_watch(payload)
            return
        try:
            message = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.error("a message on the feed could not be read", reason=str(error))
            return
        match message:
            case Full(batch_id, size):
                self._listener.hear_full(batch_id, size)
            case ClaimedTogether(batch_ids, lease_ms):
                self._listener.hear_claimed(batch_ids, lease_ms / 1000)
            case NextCall(in_ms, now_ms):
                self._listener.hear_next_call(in_ms, now_ms)
                self._watched.tell(NextCallMoved(unix_ms(), in_ms))
            case SettledTogether(results):
                self._listener.hear_results(results)
                self._follower.hear_results(results)
