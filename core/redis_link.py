"""The one owner of the hot Redis connection.

    link = RedisLink(url)
    await nursery.start(link.run)
    reply = await link.call("PING")

A command goes out as soon as it is handed over, whoever waits for others, and each caller gets its own reply. A
cancelled caller only stops waiting: the connection never notices. While Redis is away calls fail at once.
"""

from collections import deque
from typing import Any

import hiredis
import structlog
import trio

from core.bell import Bell
from core.errors import RedisUnavailable
from core.lua import SCRIPTS, Script
from core.redis_connection import PATIENCE_S, ConnectionLost, RedisConnection, keep_connected, no_errors, pack

# What a Redis says that is, or has become, the wrong one to talk to: connecting anew finds the right one.
_WRONG_REDIS = ("READONLY", "MASTERDOWN", "LOADING")

# While no answer is due Redis is asked for a sign of life this often: who only waits is to notice that it hangs.
_QUIET_S = 0.5
_SECOND_LOOK_S = 0.1
# So long a call may wait for those before it: ten thousand admissions at once take Redis more than a second.
_LATE_S = 3.0

_log = structlog.get_logger(__name__)


class RedisRefused(RedisUnavailable):
    """Redis answered with an error, such as being out of memory or loading its data."""


class _FellSilent(ConnectionLost):
    """Redis keeps the connection and says nothing."""


class _Call:
    """One command on its way, and where its reply goes."""

    __slots__ = ("done", "posted_at", "reply")

    def __init__(self, now: float) -> None:
        self.posted_at = now
        self.done = Bell()
        self.reply: Any = None


class RedisLink:
    """A pipelined connection that reconnects by itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: RedisConnection  # while it is up
        self._unsent = bytearray()  # what the connection did not take at once, and what came after
        self._is_held_up = Bell()
        self._unanswered: deque[_Call] = deque()
        self._given_up = 0  # calls before those, whose replies nobody waits for any more
        self._silence = trio.CancelScope()  # its deadline moves: calls are unanswered, and nothing came since
        self._up = trio.Event()
        self._down = trio.Event()
        self._down.set()
        self._tried = trio.Event()
        self.away_since = float("-inf")  # on trio's clock; for one that fell silent, its last word
        self._last_heard_at = float("-inf")
        self.commands = 0  # sent, since the start

    @property
    def is_up(self) -> bool:
        """Whether calls are being taken."""
        return self._up.is_set()

    async def wait_up(self) -> None:
        """Wait until Redis is connected."""
        await self._up.wait()

    async def wait_down(self) -> None:
        """Wait until Redis is away."""
        await self._down.wait()

    async def call(self, *command: str | bytes | int) -> Any:
        """Send one command and return its reply.

        Raises RedisUnavailable at once while Redis is away, and when it says nothing for PATIENCE_S, or comes to other
        calls only for some 3 s (the command may be carried out all the same); RedisRefused when Redis answers with an
        error. So it ends within some 4 s, whatever Redis does.
        """
        if not self.is_up:
            raise RedisUnavailable
        call = self._post(*command)
        await call.done.wait()
        if isinstance(call.reply, ConnectionLost):
            raise RedisUnavailable from call.reply
        if isinstance(call.reply, hiredis.ReplyError):
            raise RedisRefused from call.reply
        return call.reply

    def _post(self, *command: str | bytes | int) -> _Call:
        call = _Call(now := trio.current_time())
        if not self._unanswered:
            self._silence.deadline = now + PATIENCE_S
        self._unanswered.append(call)
        self.commands += 1
        data = pack(*command)
        if rest := data if self._unsent else self._connection.send_at_once(data):
            self._unsent += rest
            self._is_held_up.ring()
        return call

    async def run_script(self, script: Script, keys: list[str], args: list[str | bytes | int]) -> Any:
        """Run a script by its digest; raises as `call` does."""
        try:
            return await self.call("EVALSHA", script.digest, len(keys), *keys, *args)
        except RedisRefused as error:
            if not str(error.__cause__).startswith("NOSCRIPT"):
                raise
        return await self.call("EVAL", script.source, len(keys), *keys, *args)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection for ever; started once it is up, or Redis was found to be away."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_connected)
            await self._tried.wait()
            task_status.started()

    async def _keep_connected(self) -> None:
        try:
            await keep_connected(self._url, self._serve, self._lose)
        finally:
            self._go_down(ConnectionLost("this instance is ending"))

    async def _serve(self, connection: RedisConnection) -> None:
        await self._load_scripts(connection)
        self._connection = connection
        self._come_up()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, connection)
            nursery.start_soon(self._receive, connection)

    async def _load_scripts(self, connection: RedisConnection) -> None:
        try:
            with trio.fail_after(PATIENCE_S):
                no_errors(await connection.call(*(pack("SCRIPT", "LOAD", script.source) for script in SCRIPTS)))
        except trio.TooSlowError as error:
            raise ConnectionLost(f"no answer within {PATIENCE_S} s") from error

    def _come_up(self) -> None:
        self._down = trio.Event()
        self._up.set()
        self._tried.set()
        _log.info("redis connected")

    def _lose(self, reason: ConnectionLost) -> None:
        if self.is_up or not self._tried.is_set():
            _log.warning("redis is away", reason=str(reason))
            self.away_since = self._last_heard_at if isinstance(reason, _FellSilent) else trio.current_time()
        self._go_down(reason)

    def _go_down(self, reason: ConnectionLost) -> None:
        if self.is_up:
            self._up = trio.Event()
        self._down.set()
        self._tried.set()
        self._unsent.clear()
        self._given_up = 0
        while self._unanswered:
            self._settle(reason)

    async def _send(self, connection: RedisConnection) -> None:
        while True:
            while self._unsent:
                pipeline = bytes(self._unsent)
                await connection.send(pipeline)
                del self._unsent[: len(pipeline)]
            with trio.move_on_after(_QUIET_S):
                await self._is_held_up.wait()
            if not self._unanswered:
                self._post("PING")

    async def _receive(self, connection: RedisConnection) -> None:
        while True:
            with trio.CancelScope() as self._silence:
                self._await_replies()
                while True:
                    self._take(await connection.receive())
                    if connection.is_drained:
                        self._give_up_late()
            # Perhaps it was this process that stood still: then what Redis said meanwhile is there to be read.
            with trio.move_on_after(_SECOND_LOOK_S) as second_look:
                self._take(await connection.receive())
            if second_look.cancelled_caught:
                raise _FellSilent(f"no answer within {PATIENCE_S} s")

    def _take(self, replies: list[Any]) -> None:
        self._last_heard_at = trio.current_time()
        for reply in replies:
            if self._given_up:
                self._given_up -= 1
            else:
                self._settle(reply)
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_WRONG_REDIS):
                raise ConnectionLost(f"Redis refused: {reply}")
        self._await_replies()

    def _give_up_late(self) -> None:
        """Fail calls that Redis has not come to yet; their replies will come, and be dropped."""
        late = trio.current_time() - _LATE_S
        while self._unanswered and self._unanswered[0].posted_at <= late:
            self._settle(ConnectionLost(f"not answered within {_LATE_S} s"))
            self._given_up += 1

    def _await_replies(self) -> None:
        is_owed = self._unanswered or self._given_up
        self._silence.deadline = trio.current_time() + PATIENCE_S if is_owed else float("inf")

    def _settle(self, reply: Any) -> None:
        call = self._unanswered.popleft()
        call.reply = reply
        call.done.ring()
