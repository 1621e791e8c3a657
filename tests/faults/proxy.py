"""A network that misbehaves on demand: a TCP proxy between a client and a server on this machine.

    proxy = Proxy(("127.0.0.1", 6379))
    port = await nursery.start(proxy.serve)     # clients connect here
    proxy.latency_s = 0.2                       # each way, from the next bytes on
    proxy.silence()                             # connections stay and new ones are taken, but nothing passes
    proxy.cut()                                 # every connection is reset, and so is each new one
    proxy.mend()                                # all well again; what was held back by silence comes through

A tap watches one direction of one connection: it gets each chunk just before it would be forwarded, and a function
that forwards it. It may do something first, or afterwards, hold the chunk for as long as it likes, or let it fall.
"""

import math
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import trio

Forward = Callable[[bytes], Awaitable[None]]
Tap = Callable[[bytes, Forward], Awaitable[None]]

_CHUNK = 1 << 16
_MOST_ON_THE_WAY = 1000  # chunks that latency holds back, in each direction of a connection
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Taps(NamedTuple):
    """The watchers of one connection: of what its client sends, and of what its server answers."""

    up: Tap
    down: Tap


class Proxy:
    """Forwards connections to `target`; `taps` makes the watchers of each new one."""

    def __init__(self, target: tuple[str, int], taps: Callable[[], Taps] | None = None) -> None:
        self.latency_s = 0.0
        self._target = target
        self._taps = taps or (lambda: Taps(_pass_on, _pass_on))
        self._is_cut = False
        self._passable = trio.Event()
        self._passable.set()
        self._connections: set[_Connection] = set()

    def __repr__(self) -> str:
        state = "cut" if self._is_cut else "passable" if self._passable.is_set() else "silent"
        return f"<Proxy to port {self._target[1]} {state}, {len(self._connections)} connections>"

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Forward until cancelled; started with its port once it listens."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(int(listeners[0].socket.getsockname()[1]))
        await trio.serve_listeners(self._connect, listeners)

    def cut(self) -> None:
        """Reset every connection, and each new one at once: the port stays ours, so nobody else can get it."""
        self._is_cut = True
        for connection in list(self._connections):
            connection.reset()

    def silence(self) -> None:
        """Take connections and bytes, and pass nothing on."""
        if self._passable.is_set():
            self._passable = trio.Event()

    def mend(self) -> None:
        """Be a good network again."""
        self._is_cut = False
        self.latency_s = 0.0
        self._passable.set()

    async def _connect(self, client: trio.SocketStream) -> None:
        try:
            if self._is_cut:
                raise ConnectionRefusedError
            server = await trio.open_tcp_stream(*self._target)
        except OSError:
            _close(client, reset=True)
            return
        connection = _Connection(self, client, server)
        self._connections.add(connection)
        try:
            await connection.run(self._taps())
        finally:
            self._connections.discard(connection)

    async def wait_passable(self) -> None:
        """Wait until nothing holds bytes back."""
        await self._passable.wait()


class _Connection:
    """One client's connection and the one behind it; the end of either is the end of both."""

    def __init__(self, proxy: Proxy, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._scope = trio.CancelScope()
        self._broken = False

    def reset(self) -> None:
        """End both sides the hard way."""
        self._broken = True
        self._scope.cancel()

    async def run(self, taps: Taps) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass, self._client, self._server, taps.up, nursery)
                    nursery.start_soon(self._pass, self._server, self._client, taps.down, nursery)
        finally:
            for stream in (self._client, self._server):
                _close(stream, reset=self._broken)

    async def _pass(self, source: trio.SocketStream, drain: trio.SocketStream, tap: Tap, nursery: trio.Nursery) -> None:
        """Carry bytes in order, each chunk `latency_s` after it came; then end the connection."""

        async def forward(chunk: bytes) -> None:
            await drain.send_all(chunk)

        sending, receiving = trio.open_memory_channel[tuple[float, bytes]](_MOST_ON_THE_WAY)
        try:
            nursery.start_soon(self._read, source, sending)
            async for due, chunk in receiving:
                await trio.sleep_until(due)
                await self._proxy.wait_passable()
                await tap(chunk, forward)
        except _GONE:
            self._broken = True
        nursery.cancel_scope.cancel()

    async def _read(self, source: trio.SocketStream, sending: trio.MemorySendChannel[tuple[float, bytes]]) -> None:
        async with sending:
            with suppress(trio.BrokenResourceError):  # of the channel: nobody listens any more
                while chunk := await self._receive(source):
                    due = trio.current_time() + self._proxy.latency_s if self._proxy.latency_s else -math.inf
                    await sending.send((due, bytes(chunk)))

    async def _receive(self, source: trio.SocketStream) -> bytes | bytearray:
        try:
            return await source.receive_some(_CHUNK)
        except _GONE:
            self._broken = True
            return b""


async def _pass_on(chunk: bytes, forward: Forward) -> None:
    await forward(chunk)


def _close(stream: trio.SocketStream, *, reset: bool) -> None:
    """Close in order, or with a TCP reset as a crashed peer or a firewall does it."""
    if reset:
        with suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()
