"""Where the server listens, how many it lets in, how long it waits.

Connections are ours (server/http1/). One whose client turns out to want HTTP/2 or a WebSocket goes on with Hypercorn.
TLS is for whatever stands in front.
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import cast

import structlog
import trio
from quart_trio import QuartTrio

from server.access_log import AccessLog
from server.http1.asgi import App, Receive, Scope, Send
from server.http1.connection import Connection
from server.http1.handover import Hypercorn
from server.http1.site import Site
from server.price import ShortWay
from server.request_log import RequestLog
from server.services import Services
from server.traffic import Connections

# Beyond the last deadline of an admitted request, for its answer to get out.
_GRACE_S = 0.5
# For what is under way when nobody waits for a price any more, such as a page of history.
_LAST_ANSWERS_S = 3.0
# For a request's head to come in completely, and between two requests: slow senders do not hold a connection.
_IDLE_S = 10.0
_BACKLOG = 1024
_REQUESTS_PER_CONNECTION = 100_000

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("server")


class CannotListen(Exception):
    """The address is not ours to listen on; str() says why, and what to do."""


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address, closed at the end if nobody took it over, or raise CannotListen.

    Bound, it claims the address before anything else is opened; nobody can connect before it listens.
    """
    try:
        listener = _bind(host, port)
    except (OSError, UnicodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "that is no host name"
        reason = f"Cannot listen on {host}:{port}: {told}."
        raise CannotListen(f"{reason} Set HOST and PORT to an address that is free.") from error
    with listener:
        yield listener


def _bind(host: str, port: int) -> socket.socket:
    """Hypercorn's own way to do it would leave the socket open when the address is taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


@asynccontextmanager
async def serving(
    app: QuartTrio,
    services: Services,
    listener: socket.socket,
    wait_empty: Callable[[], Awaitable[None]],
) -> AsyncIterator[str]:
    """A block in which the app is served, with its URL.

    Its end waits until a drain begins, and then for the last answers, at most for the result timeout. Until nobody
    waits any more connections are still let in, to be told 503.
    """
    url = _url(listener)
    site = Site(
        cast("App", app.asgi_app),
        partial(_refusal, services.log),
        patience_s=_IDLE_S,
        requests_per_connection=_REQUESTS_PER_CONNECTION,
        short_way=ShortWay(services),
    )
    hypercorn = Hypercorn(app, patience_s=_IDLE_S, requests_per_connection=_REQUESTS_PER_CONNECTION)
    async with site.watched(), trio.open_nursery() as connections, trio.open_nursery() as nursery:
        counted = Connections(connections, services.settings.max_connections)
        services.metrics.add(counted)
        let_in = partial(_let_in, counted, partial(_connect, site, hypercorn))
        accepting = await nursery.start(_accept, listener, let_in, connections)
        _log.info("listening", url=url)
        grace_s = services.settings.batch_result_timeout_ms / 1000 + _GRACE_S
        end = partial(_end, site, hypercorn)
        nursery.start_soon(_close, services.draining, wait_empty, accepting, end, connections.cancel_scope, grace_s)
        yield url


async def _accept(
    listener: socket.socket,
    let_in: Callable[[trio.SocketStream], Awaitable[None]],
    connections: trio.Nursery,
    *,
    task_status: trio.TaskStatus[trio.CancelScope],
) -> None:
    """Let connections in until the scope that is reported is cancelled."""
    listener.listen(_BACKLOG)
    doors = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    with trio.CancelScope() as accepting:
        task_status.started(accepting)
        await trio.serve_listeners(let_in, doors, handler_nursery=connections)


async def _close(
    draining: trio.Event,
    wait_empty: Callable[[], Awaitable[None]],
    accepting: trio.CancelScope,
    end: Callable[[], Awaitable[None]],
    connections: trio.CancelScope,
    grace_s: float,
) -> None:
    """When a drain begins, leave connections their time; once nobody waits, let nobody in, and soon end all."""
    await draining.wait()
    connections.deadline = trio.current_time() + grace_s
    await wait_empty()
    accepting.cancel()
    await end()
    connections.deadline = min(connections.deadline, trio.current_time() + _LAST_ANSWERS_S)


async def _let_in(
    connections: Connections,
    connect: Callable[[trio.SocketStream], Awaitable[None]],
    stream: trio.SocketStream,
) -> None:
    """Serve one connection, or refuse it when there are too many; this one is counted already."""
    if connections.count > connections.most:
        await trio.aclose_forcefully(stream)
        return
    try:
        await connect(stream)
    except* Exception as errors:  # noqa: BLE001 - one connection must not end all others
        _log.error("a connection failed", exc_info=errors)


async def _connect(site: Site, hypercorn: Hypercorn, stream: trio.SocketStream) -> None:
    sock = _plain(stream.socket)
    with sock:
        rest = await Connection(site, sock).run()
        if rest is not None:
            await hypercorn.go_on(sock, rest)


def _plain(sock: trio.socket.SocketType) -> socket.socket:
    """The socket without trio's part, which costs more than what it does for us."""
    plain = socket.socket(sock.family, sock.type, sock.proto, sock.detach())
    plain.settimeout(0)
    return plain


async def _end(site: Site, hypercorn: Hypercorn) -> None:
    site.end()
    await hypercorn.end()


def _refusal(log: RequestLog, error: Exception) -> App:
    """An app that answers with an error, and a line in the log, as the real one does."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI has it
        raise error

    return AccessLog(refuse, log)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
