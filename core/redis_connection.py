"""One connection to Redis on a trio stream: packed commands out, replies in.

async with connect(url) as connection:
    await connection.send(pack("PING"))
    replies = await connection.receive()
"""

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

import hiredis
import trio
from redis.connection import SSLConnection, parse_url

# A Redis that takes longer than this to accept a connection or to answer counts as away.
PATIENCE_S = 1.0
_CHUNK = 1 << 16
# A read of less took all that was there; over TLS a read gives one record at most.
_TLS_RECORD = 1 << 14
# Short enough to be back well within 2 s of Redis' return, long enough not to hammer it.
_RECONNECT_EVERY_S = 0.25
_FOREIGN = (
    OSError,
    UnicodeError,  # a host name that cannot be encoded
    ssl.SSLError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    hiredis.ProtocolError,
)

_NOTHING = object()  # what the parser gives while a reply is incomplete
_T = TypeVar("_T")


class ConnectionLost(Exception):
    """The connection broke, or Redis does not answer; str() says how."""


def pack(*command: str | bytes | int) -> bytes:
    """Write one command as RESP."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub means `tuple[..., ...]`
    return packed


class RedisConnection:
    """A connection that is logged in and has its database selected."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.is_drained = True  # whether the last read took all that was there
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)

    def send_at_once(self, data: bytes) -> bytes:
        """Send what the socket takes now, and return the rest; over TLS that is all, and on a broken connection too."""
        if not isinstance(self._stream, trio.SocketStream):
            return data
        try:
            sent = os.write(self._stream.socket.fileno(), data)
        except OSError:
            return data
        return data[sent:]

    async def send(self, data: bytes) -> None:
        """Send packed commands, or raise ConnectionLost. Cancelling it may leave half a command: close then."""
        try:
            await self._stream.send_all(data)
        except _FOREIGN as error:
            raise ConnectionLost(f"sending failed: {error}") from error

    async def receive(self) -> list[Any]:
        """Wait for at least one whole reply, or raise ConnectionLost. Cancelling it loses nothing."""
        while True:
            try:
                data = await self._stream.receive_some(_CHUNK)
                self.is_drained = len(data) < _TLS_RECORD
                self._reader.feed(bytes(data))
                replies = list(iter(self._reader.gets, _NOTHING))
            except _FOREIGN as error:
                raise ConnectionLost(f"receiving failed: {error}") from error
            if not data:
                raise ConnectionLost("Redis closed the connection")
            if replies:
                return replies

    async def call(self, *commands: bytes) -> list[Any]:
        """Send commands and wait for all their replies; only for a connection that nobody else uses."""
        await self.send(b"".join(commands))
        replies: list[Any] = []  # bytes, int, None, hiredis.ReplyError, or a list of these
        while len(replies) < len(commands):
            replies += await self.receive()
        return replies


def no_errors(replies: list[Any]) -> list[Any]:
    """Give these replies back if none of them is an error, else raise ConnectionLost."""
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise ConnectionLost(f"Redis refused: {reply}")
    return replies


async def keep_connected(
    url: str,
    serve: Callable[[RedisConnection], Awaitable[None]],
    lost: Callable[[ConnectionLost], None],
) -> NoReturn:
    """Connect and serve for ever, telling of each loss."""
    while True:
        try:
            async with connect(url) as connection:
                await serve(connection)
        except* ConnectionLost as losses:
            lost(_first_of(losses))
        await trio.sleep(_RECONNECT_EVERY_S)  # a timer, since Redis tells nobody when it is back


def _first_of(losses: BaseExceptionGroup[ConnectionLost]) -> ConnectionLost:
    loss = losses.exceptions[0]
    return _first_of(loss) if isinstance(loss, BaseExceptionGroup) else loss


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[RedisConnection]:
    """Open a connection to `redis://`, `rediss://` or `unix://`, or raise ConnectionLost within PATIENCE_S."""
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call] # redis-py types it not
    stream = await _patiently(_open_stream, options)
    try:
        connection = RedisConnection(stream)
        await _patiently(_log_in, connection, options)
        yield connection
    finally:
        await trio.aclose_forcefully(stream)


async def _patiently(step: Callable[..., Awaitable[_T]], *args: Any) -> _T:
    try:
        with trio.fail_after(PATIENCE_S):
            return await step(*args)
    except trio.TooSlowError as error:
        raise ConnectionLost(f"no connection within {PATIENCE_S} s") from error
    except _FOREIGN as error:
        raise ConnectionLost(f"connecting failed: {error}") from error


async def _open_stream(options: dict[str, Any]) -> trio.abc.Stream:
    if "path" in options:
        return await trio.open_unix_socket(options["path"])
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    if options.get("connection_class") is SSLConnection:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        return await trio.open_ssl_over_tcp_stream(host, port, ssl_context=context)
    return await trio.open_tcp_stream(host, port)


async def _log_in(connection: RedisConnection, options: dict[str, Any]) -> None:
    commands = []
    if "password" in options:
        commands.append(pack("AUTH", options.get("username") or "default", options["password"]))
    if options.get("db"):
        commands.append(pack("SELECT", options["db"]))
    no_errors(await connection.call(*commands))
