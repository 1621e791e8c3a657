"""HTTP/1.1 for a sender that must keep up with its trace: GETs on connections that are kept, and their answers.

    connections = Connections()
    answer = await connections.get("http://127.0.0.1:3000", "/v1/price/bitcoin", {"Authorization": "..."})

httpx looks at all its connections for each request: of 300 requests a second that took 1.5 s each, it sent some 47 s
late on a machine on which this one is late by less than a tenth of a second.
"""

from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

import h11
import msgspec
import trio

# Well below the 10 s after which our servers close a connection that nobody uses.
_KEPT_S = 4.0
_NO_ANSWER = (trio.BrokenResourceError, OSError, h11.RemoteProtocolError)


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes


class Connections:
    """As many as requests are under way, for the lifetime of the run."""

    def __init__(self) -> None:
        self._idle: dict[str, list[tuple[float, _Connection]]] = defaultdict(list)  # {url: (since, connection)}

    async def get(self, url: str, target: str, headers: Mapping[str, str]) -> Answer | None:
        """The answer once all of it has come, or None if there is none."""
        try:
            connection = self._kept(url) or await _connected(url)
        except OSError:
            return None
        try:
            answer = await connection.get(target, headers)
        except _NO_ANSWER:
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        if connection.may_be_kept():
            self._idle[url].append((trio.current_time(), connection))
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close those that nobody uses."""
        for kept in self._idle.values():
            while kept:
                kept.pop()[1].close()

    def _kept(self, url: str) -> "_Connection | None":
        while self._idle[url]:
            since, connection = self._idle[url].pop()
            if trio.current_time() < since + _KEPT_S:
                return connection
            connection.close()
        return None


class _Connection:
    """One connection, one request at a time."""

    def __init__(self, stream: trio.SocketStream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._http = h11.Connection(h11.CLIENT)

    def close(self) -> None:
        self._stream.socket.close()

    async def get(self, target: str, headers: Mapping[str, str]) -> Answer:
        request = h11.Request(method="GET", target=target, headers=[("Host", self._host), *headers.items()])
        await self._stream.send_all((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        status, body = 0, b""
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        return Answer(status, body)

    def may_be_kept(self) -> bool:
        """Whether another request may follow; if so, it is ready for that."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(bytes(await self._stream.receive_some()))
        return event


async def _connected(url: str) -> _Connection:
    parts = urlsplit(url)
    stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
    return _Connection(stream, parts.netloc)
