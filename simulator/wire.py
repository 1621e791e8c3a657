"""HTTP/1.1 on a trio stream: h11 says what the bytes mean, this says how they go out.

Written by hand because an answer may have to hang, break off or lie, which no web framework lets one do.
"""

import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import h11
import trio

from simulator.messages import Answer, Ending, Request, json_answer

# Above the longest target that is answered in words, so that its length is judged there.
MAX_HEAD_BYTES = 65_536
MAX_BODY_BYTES = 1_048_576

# No wait without end: for a request, for a client that reads, for a client to give up on an answer.
REQUEST_S = 60
SEND_S = 60
HANG_S = 300

PADDING = b" " * 65_536
GZIP_FORMAT = 31
WITHOUT_BODY = {204, 304}

Decide = Callable[[Request], Answer]

# A client that leaves, in any way, ends its own connection and nothing else.
GONE = (trio.BrokenResourceError, trio.TooSlowError, OSError)


async def serve_connection(stream: trio.abc.Stream, decide: Decide) -> None:
    """Answer one request after the other until either side ends the connection."""
    connection = Connection(stream)
    with suppress(*GONE):
        try:
            await connection.serve(decide)
        except h11.RemoteProtocolError as error:
            await connection.refuse(error)


class Connection:
    """One client's connection. Whoever opened the stream closes it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def serve(self, decide: Decide) -> None:
        """Answer until the connection is used up."""
        while request := await self._read_request():
            await self._answer(request, decide(request))
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def refuse(self, error: h11.RemoteProtocolError) -> None:
        """Tell a client that it does not speak HTTP."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send(json_answer(error.error_status_hint, {"error": str(error)}), bodyless=False)

    async def _read_request(self) -> Request | None:
        """The next request, or None when the client has no more."""
        with trio.fail_after(REQUEST_S):
            head = await self._next_event()
            return _request(head, await self._read_body()) if isinstance(head, h11.Request) else None

    async def _read_body(self) -> bytes:
        body = bytearray()
        while isinstance(data := await self._next_event(), h11.Data):
            body += data.data
            if len(body) > MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("body too long", error_status_hint=413)
        return bytes(body)

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send_event(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(bytes(await self._stream.receive_some()))
        return event

    async def _answer(self, request: Request, answer: Answer) -> None:
        await trio.sleep(answer.delay_s)
        if answer.ending is Ending.NEVER:
            await self._hang()
        else:
            await self._send(answer, bodyless=request.method == "HEAD" or answer.status in WITHOUT_BODY)

    async def _hang(self) -> None:
        """Wait for the client to leave."""
        with trio.move_on_after(HANG_S):
            while await self._stream.receive_some():
                pass

    async def _send(self, answer: Answer, *, bodyless: bool) -> None:
        with trio.fail_after(SEND_S):
            await self._send_event(_response(answer))
            for chunk in () if bodyless else _body(answer):
                await self._send_event(h11.Data(data=chunk))
            if answer.ending is Ending.WHOLE:
                await self._send_event(h11.EndOfMessage())
        if answer.ending is Ending.RESET:
            self._reset_on_close()

    async def _send_event(self, event: h11.Event) -> None:
        # Also for no bytes at all, so that a long body lets others have their turn.
        await self._stream.send_all(self._http.send(event) or b"")

    def _reset_on_close(self) -> None:
        if isinstance(self._stream, trio.SocketStream):
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _request(head: h11.Request, body: bytes) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("latin-1"), head.target.decode("latin-1"), headers, body)


def _response(answer: Answer) -> h11.Response:
    headers = list(answer.headers.items())
    if not answer.gzipped:
        headers.append(("content-length", str(len(answer.body) + answer.padding_bytes)))
    return h11.Response(status_code=answer.status, headers=headers)


def _body(answer: Answer) -> Iterator[bytes]:
    if answer.ending is not Ending.WHOLE:
        yield answer.body[: len(answer.body) // 2]
    elif answer.gzipped:
        yield from _gzip(_padded(answer))
    else:
        yield from _padded(answer)


def _padded(answer: Answer) -> Iterator[bytes]:
    yield answer.body
    for start in range(0, answer.padding_bytes, len(PADDING)):
        yield PADDING[: answer.padding_bytes - start]


def _gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    gzip = zlib.compressobj(wbits=GZIP_FORMAT)
    for chunk in chunks:
        yield gzip.compress(chunk)
    yield gzip.flush()
