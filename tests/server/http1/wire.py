"""A connection of ours, or of stock Hypercorn's, and a client that hears at once whatever there is to hear.

    async with conversation(ours, echo) as client:
        await client.say(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        answer, = client.answers()

Both ends are one pair of sockets, so whoever waits until every task waits knows that nothing more comes.
"""

import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from trio.testing import wait_all_tasks_blocked

from server.http1.asgi import App, Message, Receive, Scope, Send
from server.http1.connection import Connection
from server.http1.handover import Hypercorn
from server.http1.short_way import ShortWay
from server.http1.site import Site
from server.listener import _refusal
from server.request_log import RequestLog

Server = Callable[[App, socket.socket], Awaitable[None]]


@dataclass
class Answer:
    """One answer, whatever its framing."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


class Client:
    """The other end."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.heard = b""
        self.ended = False

    async def say(self, *pieces: bytes) -> None:
        """Send pieces, each once nothing more is to be heard of those before; those that nobody takes are lost."""
        for piece in pieces:
            with suppress(OSError):
                self.socket.sendall(piece)
            await self.listen()

    async def send_all(self, words: bytes) -> None:
        """Send all of it, and hear what is said meanwhile."""
        while words:
            with suppress(BlockingIOError):
                while words:
                    words = words[self.socket.send(words) :]
            await self.listen()

    async def listen(self) -> None:
        """Take in whatever comes."""
        await wait_all_tasks_blocked()
        with suppress(BlockingIOError):
            while not self.ended:
                more = self._more()
                self.heard += more
                self.ended = not more

    def _more(self) -> bytes:
        try:
            return self.socket.recv(65_536)
        except ConnectionError:
            return b""

    def answers(self, *methods: str) -> list[Answer]:
        """What was heard, without interim answers; `methods` are those asked with, if any was HEAD."""
        return parsed(self.heard, list(methods), ended=self.ended)

    def leave(self) -> None:
        self.socket.close()


@asynccontextmanager
async def conversation(server: Server, app: App) -> AsyncIterator[Client]:
    near, far = socket.socketpair()
    near.settimeout(0)
    far.settimeout(0)
    with closing(near), closing(far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_served, server, app, far)
            yield Client(near)
            nursery.cancel_scope.cancel()


async def _served(server: Server, app: App, sock: socket.socket) -> None:
    with sock:
        await server(app, sock)


def make_site(
    app: App, *, patience_s: float = 10, requests_per_connection: int = 1000, short_way: ShortWay | None = None
) -> Site:
    return Site(
        app,
        partial(_refusal, RequestLog()),
        patience_s=patience_s,
        requests_per_connection=requests_per_connection,
        short_way=short_way,
    )


def serve(site: Site) -> Server:
    """A server with connections of ours, to a site that is watched."""

    async def server(_app: App, sock: socket.socket) -> None:
        rest = await Connection(site, sock).run()
        if rest is not None:
            hypercorn = Hypercorn(site.app, patience_s=10, requests_per_connection=1000)
            await hypercorn.go_on(sock, rest)

    return server


async def ours(app: App, sock: socket.socket) -> None:
    site = make_site(app)
    async with site.watched():
        await serve(site)(app, sock)


async def stock(app: App, sock: socket.socket) -> None:
    config = Config()
    config.include_server_header = False
    config.accesslog = config.errorlog = None
    config.h11_max_incomplete_size = 64 * 1024
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    wrapped: Any = ASGIWrapper(app)
    await TCPServer(wrapped, config, WorkerContext(None), ConnectionState({}), stream)  # type: ignore[arg-type]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was understood, once the body is complete."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    told = {key: scope[key] for key in ("method", "path", "http_version", "scheme", "root_path", "state")}
    for key in ("raw_path", "query_string"):
        told[key] = scope[key].decode("latin-1")
    told["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    told["body"] = body.decode("latin-1")
    await send(start(200, json.dumps(told).encode()))
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


def start(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Message:
    length = (b"content-length", str(len(body)).encode())
    return {"type": "http.response.start", "status": status, "headers": [length, *headers]}


def answering(body: bytes, status: int = 200) -> App:
    """An app that asks for nothing."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start(status, body))
        await send({"type": "http.response.body", "body": body})

    return app


def parsed(heard: bytes, methods: list[str], *, ended: bool) -> list[Answer]:
    answers: list[Answer] = []
    while heard:
        head, _, rest = heard.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) (.*)", line)
        assert found, f"no answer begins with {heard[:80]!r}"
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        status = int(found[1])
        if status < 200:
            heard = rest
            continue
        bodiless = status in {204, 304} or (methods[len(answers) : len(answers) + 1] == ["HEAD"])
        body, heard = (b"", rest) if bodiless else _body(headers, rest, ended=ended)
        answers.append(Answer(status, found[2], headers, body))
    return answers


def _body(headers: dict[str, str], rest: bytes, *, ended: bool) -> tuple[bytes, bytes]:
    if "content-length" in headers:
        length = int(headers["content-length"])
        assert ended or len(rest) >= length, "an answer is not complete"
        return rest[:length], rest[length:]
    if "transfer-encoding" not in headers:
        assert ended, "only its end could end this answer"
        return rest, b""
    body = b""
    while True:
        size, found, rest = rest.partition(b"\r\n")
        assert found
        if int(size, 16) == 0:
            assert rest.startswith(b"\r\n")
            return body, rest[2:]
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
