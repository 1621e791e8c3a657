"""A connection: its task answers, unless a request goes the short way, where none is needed.

connection = Connection(site, sock)
rest = await connection.run()  # what Hypercorn is to go on with, None at the end; the socket stays open
"""

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote

import structlog
import trio
from werkzeug.exceptions import HTTPException

from server.http1.answer import whole
from server.http1.asgi import App, Scope
from server.http1.exchange import Exchange
from server.http1.head import Head, end_of_head
from server.http1.line import Line
from server.http1.site import Site

if TYPE_CHECKING:
    from server.http1.short_way import Errand

# Where a scope's extensions tell of the client: whether it `has_left`.
CLIENT = "cryptopulse.client"

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("server")


class Connection:
    """Answers one request after the other; a request whose client leaves is cancelled, and ends the connection."""

    __slots__ = (
        "_addresses",
        "_cancel_scope",
        "_dismissed",
        "_errand",
        "_exchange",
        "_is_idle",
        "_is_last",
        "_keeps_alive",
        "_line",
        "_requests_left",
        "_searched",
        "_site",
        "_unsent",
    )

    def __init__(self, site: Site, sock: socket.socket) -> None:
        """`sock` must not block, and is the caller's to close."""
        self._site = site
        self._addresses = _addresses(sock)
        self._line = Line(sock, site.readers, patience_s=site.patience_s, hear=self._hear)
        self._requests_left = site.requests_per_connection
        self._exchange: Exchange | None = None  # while the task answers
        self._errand: Errand | None = None  # while a request is on the short way
        self._is_idle = False  # its task waits for a request, and has nothing else to do
        self._keeps_alive = True  # the request on the short way
        self._is_last = False  # the answer that was given on the short way
        self._unsent = b""  # of an answer that went the short way
        self._searched = 0  # so much of what was received holds no end of a head
        self._dismissed = False
        self._cancel_scope: trio.CancelScope

    async def run(self) -> bytes | None:
        """Answer requests until either side ends it; raises Cancelled."""
        head = None
        self._line.open()
        try:
            with trio.CancelScope() as self._cancel_scope:
                head = await self._serve()
        finally:
            self._line.close()
            self._give_up_errand()
        return None if head is None else head + bytes(self._line.received)

    @property
    def has_left(self) -> bool:
        """Whether the client closed its side, or does not read what is sent."""
        return self._line.has_left

    def dismiss(self) -> None:
        """Hear that no request came in time, or that none is wanted any more."""
        self._dismissed = True
        self._wake()

    def _wake(self) -> None:
        self._is_idle = False
        self._line.ring()

    def _hear(self) -> None:
        """There is more to read, or the client left."""
        if self._is_idle and not self._line.has_left and self._goes_short():
            return
        if self._line.has_left:
            self._give_up_errand()
            if self._unsent or (self._exchange is not None and not self._exchange.over):
                self._cancel_scope.cancel()
        self._wake()

    def _goes_short(self) -> bool:
        """Send a request off on the short way, if it is for that."""
        try:
            found = self._errand_at_hand()
        except HTTPException:
            return False  # the task refuses it
        except Exception as error:  # noqa: BLE001 - it must not end the task that reads for all
            _log.error("a request could not go the short way", exc_info=error)
            return False
        if found is None:
            return False
        end, self._errand = found
        self._line.take(end)
        self._searched = 0
        self._site.idlers.leave(self)
        self._is_idle = False
        self._requests_left -= 1
        self._errand.start()
        return True

    def _errand_at_hand(self) -> "tuple[int, Errand] | None":
        """The request that was received, if it is whole, and for the short way; and how long its head is."""
        way, received = self._site.short_way, self._line.received
        if way is None or not received.startswith(way.begins):
            return None
        end = end_of_head(received, self._searched)
        if not end:
            return None
        head = Head()
        head.read(bytes(received[:end]))
        if head.length or head.chunked or head.expects_continue or head.is_for_hypercorn:
            return None
        self._keeps_alive = head.keeps_alive
        errand = way.errand(self._scope(head), self._reply)
        return None if errand is None else (end, errand)

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Answer what went the short way, and leave to the task what is more than that."""
        self._errand = None
        self._is_last = not self._keeps_alive or not self._requests_left or self._site.ending
        self._site.idlers.join(self)
        try:
            data = whole(status, headers, body, self._site.date_line(), keeps_alive=not self._is_last)
        except ValueError as error:  # it ends this connection alone
            _log.error("a request failed", exc_info=error)
            self._is_last, data = True, b""
        self._unsent = self._line.send(data)
        if self._unsent or self._is_last or self._line.received or self._line.has_left:
            self._wake()
        else:
            self._is_idle = True

    def _give_up_errand(self) -> None:
        errand, self._errand = self._errand, None
        if errand is not None:
            errand.cancel()

    async def _serve(self) -> bytes | None:
        """Answer until the end; returns a head that is for Hypercorn."""
        while self._requests_left and not self._is_last:
            head = Head()
            try:
                raw = await self._next_head()
                if raw is None:
                    if self._is_last:
                        break
                    return None
                head.read(raw)
            except HTTPException as error:
                await self._answer(head, self._site.refusal(error), keeps_alive=False)
                break
            if head.is_for_hypercorn:
                return raw
            self._requests_left -= 1
            if not await self._answer(head, self._site.app, keeps_alive=head.keeps_alive and self._requests_left > 0):
                break
        await self._line.linger()
        return None

    async def _next_head(self) -> bytes | None:
        """Wait for a whole head, or raise what to refuse it with; None if none comes."""
        if self._line.received:
            await trio.lowlevel.checkpoint()  # who sends many requests at once leaves others their turn
        self._dismissed = False
        self._searched = 0
        self._site.idlers.join(self)
        try:
            while not (end := self._end_of_head()):
                if self._is_over():
                    return None
                self._is_idle = self._errand is None
                await self._line.wait_news()
                self._is_idle = False
                if self._unsent:
                    await self._send_rest()
        finally:
            self._is_idle = False
            self._site.idlers.leave(self)
        return self._line.take(end)

    def _end_of_head(self) -> int:
        """How long the head is that is there, if one is, and it is its turn."""
        if self._errand is not None or self._is_last:
            return 0
        end = end_of_head(self._line.received, self._searched)
        self._searched = max(0, len(self._line.received) - 2)  # a blank line may have begun
        return end

    def _is_over(self) -> bool:
        if self._errand is not None:
            return False
        return self._is_last or self._line.has_left or self._dismissed or self._site.ending

    async def _send_rest(self) -> None:
        """Send the rest of an answer to who reads it slowly."""
        self._site.idlers.leave(self)
        await self._line.write_slowly(self._unsent)
        self._unsent = b""
        self._dismissed = False
        self._site.idlers.join(self)

    async def _answer(self, head: Head, app: App, *, keeps_alive: bool) -> bool:
        """Let an app answer; whether another request may follow."""
        exchange = Exchange(self._line, self._site, head, keeps_alive=keeps_alive)
        self._exchange = exchange
        if self._line.has_left:
            self._cancel_scope.cancel()
        try:
            await self._run(app, self._scope(head), exchange)
        finally:
            self._exchange = None
        return exchange.over and exchange.answer.keeps_alive and exchange.skip_body() and not self._line.has_left

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
            if exchange.over or self._line.has_left:
                return
            failure = RuntimeError("the app ended without an answer")
        if not isinstance(failure, HTTPException):
            _log.error("a request failed", exc_info=failure)
        if not exchange.answer.started and not self._line.has_left:
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
