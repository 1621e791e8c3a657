"""A connection: its task answers, and hears from the task that reads for all connections.

connection = Connection(site, sock)
rest = await connection.run()  # what Hypercorn is to go on with, None at the end; the socket stays open
"""

import socket
from typing import NoReturn
from urllib.parse import unquote

import structlog
import trio
from werkzeug.exceptions import HTTPException

from core.bell import Bell
from server.http1.asgi import App, Scope
from server.http1.exchange import Exchange
from server.http1.head import MAX_HEAD_BYTES, Head, end_of_head
from server.http1.site import Site

# Where a scope's extensions tell of the client: whether it `has_left`.
CLIENT = "cryptopulse.client"
_READ_BYTES = 16 * 1024
# What comes beyond that waits in the kernel. A head that is too long must show, so it is more than the longest.
_READ_AHEAD_BYTES = MAX_HEAD_BYTES + 1
# A client has the patience anew for each so many bytes of an answer.
_SLICE_BYTES = 64 * 1024
# For a client to take in an answer that came before it had sent everything: a close would cut the answer.
_LINGER_S = 0.5

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("server")


class Connection:
    """Answers one request after the other; a request whose client leaves is cancelled, and ends the connection."""

    __slots__ = (
        "_addresses",
        "_bell",
        "_cancel_scope",
        "_dismissed",
        "_exchange",
        "_reads",
        "_site",
        "_socket",
        "has_left",
        "received",
    )

    def __init__(self, site: Site, sock: socket.socket) -> None:
        """`sock` must not block, and is the caller's to close."""
        self._site = site
        self._socket = sock
        self._addresses = _addresses(sock)
        self._bell = Bell()  # something was received, or the client left, or time is up
        self._reads = False
        self._exchange: Exchange | None = None
        self._dismissed = False
        self._cancel_scope: trio.CancelScope
        self.received = bytearray()
        # The client closed its side, or does not read what is sent.
        self.has_left = False

    async def run(self) -> bytes | None:
        """Answer requests until either side ends it; raises Cancelled."""
        head = None
        self._read()
        try:
            with trio.CancelScope() as self._cancel_scope:
                head = await self._serve()
        finally:
            self._read_no_more()
        return None if head is None else head + bytes(self.received)

    def dismiss(self) -> None:
        """Hear that no request came in time, or that none is wanted any more."""
        self._dismissed = True
        self._bell.ring()

    async def wait_news(self) -> None:
        """Wait until more was received, the client left, or the exchange is over."""
        await self._bell.wait()

    def ring(self) -> None:
        """Wake whoever waits for news."""
        self._bell.ring()

    def make_room(self) -> None:
        """Go on reading."""
        if not self._reads and len(self.received) < _READ_AHEAD_BYTES:
            self._read()

    async def write(self, data: bytes) -> None:
        """Send all of it; who does not read in time has left."""
        if not data:
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._leave()
            return
        if sent < len(data):
            await self._write_slowly(memoryview(data)[sent:])

    async def _write_slowly(self, rest: memoryview) -> None:
        """Send a slice at a time, each within the patience: who reads slowly is waited for, who hardly reads is not."""
        with trio.CancelScope() as patience:
            while rest and not self.has_left:
                patience.deadline = trio.current_time() + self._site.patience_s
                await self._write_slice(rest[:_SLICE_BYTES])
                rest = rest[_SLICE_BYTES:]
        if patience.cancelled_caught:
            self._leave()

    async def _write_slice(self, rest: memoryview) -> None:
        while rest:
            await trio.lowlevel.wait_writable(self._socket)
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                continue
            except OSError:
                self._leave()
                return

    def _read(self) -> None:
        self._reads = True
        self._site.readers.join(self._socket, self._take_in)

    def _read_no_more(self) -> None:
        if self._reads:
            self._reads = False
            self._site.readers.leave(self._socket)

    def _take_in(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave()
            return
        self.received += data
        self._bell.ring()
        if len(self.received) >= _READ_AHEAD_BYTES:
            self._read_no_more()

    def _leave(self) -> None:
        self.has_left = True
        self._read_no_more()
        self._bell.ring()
        if self._exchange is not None and not self._exchange.over:
            self._cancel_scope.cancel()

    async def _serve(self) -> bytes | None:
        """Answer until the end; returns a head that is for Hypercorn."""
        for others in reversed(range(self._site.requests_per_connection)):
            head = Head()
            try:
                raw = await self._next_head()
                if raw is None:
                    return None
                head.read(raw)
            except HTTPException as error:
                await self._answer(head, self._site.refusal(error), keeps_alive=False)
                break
            if head.is_for_hypercorn:
                return raw
            if not await self._answer(head, self._site.app, keeps_alive=head.keeps_alive and others > 0):
                break
        await self._linger()
        return None

    async def _next_head(self) -> bytes | None:
        """Wait for a whole head, or raise what to refuse it with; None if none comes."""
        if self.received:
            await trio.lowlevel.checkpoint()  # who sends many requests at once leaves others their turn
        self._dismissed = False
        self._site.idlers.join(self)
        searched = 0
        try:
            while not (end := end_of_head(self.received, searched)):
                if self.has_left or self._dismissed or self._site.ending:
                    return None
                searched = max(0, len(self.received) - 2)  # a blank line may have begun
                await self._bell.wait()
        finally:
            self._site.idlers.leave(self)
        head = bytes(self.received[:end])
        del self.received[:end]
        self.make_room()
        return head

    async def _answer(self, head: Head, app: App, *, keeps_alive: bool) -> bool:
        """Let an app answer; whether another request may follow."""
        exchange = Exchange(self, self._site, head, keeps_alive=keeps_alive)
        self._exchange = exchange
        if self.has_left:
            self._cancel_scope.cancel()
        try:
            await self._run(app, self._scope(head), exchange)
        finally:
            self._exchange = None
        return exchange.over and exchange.answer.keeps_alive and exchange.skip_body() and not self.has_left

    async def _run(self, app: App, scope: Scope, exchange: Exchange) -> None:
        """Run an app, and answer for it if it does not."""
        failure: Exception | None = None
        try:
            await app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this connection alone
            failure = error
        except BaseExceptionGroup as group:
            _raise_cancelled(group)
        if failure is None:
            if exchange.over or self.has_left:
                return
            failure = RuntimeError("the app ended without an answer")
        if not isinstance(failure, HTTPException):
            _log.error("a request failed", exc_info=failure)
        if not exchange.answer.started and not self.has_left:
            exchange.start_over()
            await self._site.refusal(failure)(scope, exchange.receive, exchange.send)

    def _scope(self, head: Head) -> Scope:
        path, _, query = head.target.partition(b"?")
        client, server = self._addresses
        return {
            "type": "http",
            "http_version": head.version,
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": head.method,
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": head.headers,
            "client": client,
            "server": server,
            "state": {},
            "extensions": {CLIENT: self},
        }

    async def _linger(self) -> None:
        """Say that no more is sent, and wait until the client has heard."""
        with trio.move_on_after(_LINGER_S):
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                return
            while not self.has_left:
                self.received.clear()
                self.make_room()
                await self._bell.wait()


def _addresses(sock: socket.socket) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    """The client's and ours, as far as they have ports."""
    try:
        ends = sock.getpeername(), sock.getsockname()
    except OSError:  # the client is gone already, which reading will tell
        return None, None
    client, server = ((end[0], end[1]) if isinstance(end, tuple) else None for end in ends)
    return client, server


def _raise_cancelled(group: BaseExceptionGroup) -> NoReturn:
    """Go on with what ends more than this connection; what failed on the way is logged, and ends it alone."""
    failures, rest = group.split(Exception)
    if failures is not None:
        _log.error("a request failed", exc_info=failures)
    raise rest or group
