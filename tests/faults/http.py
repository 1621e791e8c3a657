"""HTTP/1.1 as a client that tells exactly how a request went wrong; connections are kept for the next request.

connections = Connections()
answer = await connections.get(port, "/v1/price/bitcoin", {"Authorization": "..."})     # or NoAnswer
"""

import time
from collections import defaultdict
from typing import Literal

import h11
import msgspec
import trio

# Servers may close a kept connection at any time; one that is used again this soon is hardly ever met by that.
_KEPT_S = 4.0
_GONE = (trio.BrokenResourceError, OSError)


class NoAnswer(Exception):
    """There was no connection, or it ended before a whole answer had come."""

    def __init__(self, how: Literal["refused", "closed", "broken"]) -> None:
        super().__init__(how)
        self.how: Literal["refused", "closed", "broken"] = how


class Answer(msgspec.Struct, frozen=True):
    """One whole answer; header names in lower case. `more`: bytes came that nobody had asked for."""

    status: int
    headers: dict[str, str]
    body: bytes
    more: bool


class Connections:
    """To servers on this machine, by port."""

    def __init__(self) -> None:
        self._idle: dict[int, list[tuple[float, _Connection]]] = defaultdict(list)

    async def aclose(self) -> None:
        """Close those that are kept."""
        for kept in self._idle.values():
            for _, connection in kept:
                await trio.aclose_forcefully(connection.stream)

    async def get(self, port: int, target: str, headers: dict[str, str]) -> Answer:
        """Send a GET and return its answer, or raise NoAnswer; on one connection, and once."""
        connection = await self._take(port)
        try:
            answer = await connection.get(target, headers)
        except BaseException:
            await trio.aclose_forcefully(connection.stream)
            raise
        if connection.may_be_kept():
            self._idle[port].append((time.monotonic(), connection))
        else:
            await trio.aclose_forcefully(connection.stream)
        return answer

    async def _take(self, port: int) -> "_Connection":
        while self._idle[port]:
            since, connection = self._idle[port].pop()
            if time.monotonic() - since < _KEPT_S:
                return connection
            await trio.aclose_forcefully(connection.stream)
        try:
            return _Connection(await trio.open_tcp_stream("127.0.0.1", port))
        except OSError:
            raise NoAnswer("refused") from None


class _Connection:
    """One connection, one request at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._heard = False  # anything of the current answer

    async def get(self, target: str, headers: dict[str, str]) -> Answer:
        self._heard = False
        try:
            await self._ask(target, headers)
            head = await self._next_event()
            body = bytearray()
            while isinstance(data := await self._next_event(), h11.Data):
                body += data.data
        except (*_GONE, h11.RemoteProtocolError):
            raise NoAnswer("broken" if self._heard else "closed") from None
        assert isinstance(head, h11.Response)
        told = {name.decode(): value.decode() for name, value in head.headers}
        return Answer(head.status_code, told, bytes(body), bool(self._http.trailing_data[0]))

    def may_be_kept(self) -> bool:
        """Whether another request may follow; if so, it is ready for that."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _ask(self, target: str, headers: dict[str, str]) -> None:
        host = {"Host": "127.0.0.1"}
        request = h11.Request(method="GET", target=target, headers=list((host | headers).items()))
        await self.stream.send_all((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self.stream.receive_some()
            self._heard = self._heard or bool(data)
            self._http.receive_data(bytes(data))
        return event
