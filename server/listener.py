"""Hypercorn, set up: where it listens, how many it lets in, how long it waits.

The loop that accepts connections is ours, since Hypercorn's lets in as many as come; each connection is Hypercorn's.
"""

import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from quart_trio import QuartTrio

from core.settings import Settings

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
    settings: Settings,
    listener: socket.socket,
    draining: trio.Event,
    wait_empty: Callable[[], Awaitable[None]],
) -> AsyncIterator[str]:
    """A block in which the app is served, with its URL.

    Its end waits until `draining` is set, and then for the last answers, at most for the result timeout. Until nobody
    waits any more connections are still let in, to be told 503.
    """
    url = _url(listener)
    context = WorkerContext(None)
    async with trio.open_nursery() as connections, trio.open_nursery() as nursery:
        connect = partial(_connect, ASGIWrapper(app), _config(), context)
        let_in = partial(_let_in, connections, settings.max_connections, connect)
        accepting = await nursery.start(_accept, listener, let_in, connections)
        _log.info("listening", url=url)
        grace_s = settings.batch_result_timeout_ms / 1000 + _GRACE_S
        nursery.start_soon(_close, draining, wait_empty, accepting, context, connections.cancel_scope, grace_s)
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
    context: WorkerContext,
    connections: trio.CancelScope,
    grace_s: float,
) -> None:
    """When a drain begins, leave connections their time; once nobody waits, let nobody in, and soon end all."""
    await draining.wait()
    connections.deadline = trio.current_time() + grace_s
    await wait_empty()
    accepting.cancel()
    await context.terminated.set()
    connections.deadline = min(connections.deadline, trio.current_time() + _LAST_ANSWERS_S)


async def _let_in(
    connections: trio.Nursery,
    most: int,
    connect: Callable[[trio.SocketStream], Awaitable[None]],
    stream: trio.SocketStream,
) -> None:
    """Serve one connection, or refuse it when there are too many; this one is counted already."""
    if len(connections.child_tasks) > most:
        await trio.aclose_forcefully(stream)
        return
    try:
        await connect(stream)
    except* Exception as errors:  # noqa: BLE001 - one connection must not end all others
        _log.error("a connection failed", exc_info=errors)


class _Connection(TCPServer):
    """Hypercorn's, with two bounds that it lacks.

    It ends when the client leaves, and not only when the keep-alive timer runs out. And a client that does not read is
    left after 10 s: Hypercorn shields its sending from every cancel, so one such client could keep the process alive.
    """

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        try:
            async with self.send_lock:
                with trio.fail_after(_IDLE_S):
                    await self.stream.send_all(event.data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            await trio.aclose_forcefully(self.stream)
            await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


async def _connect(app: ASGIWrapper, config: Config, context: WorkerContext, stream: trio.SocketStream) -> None:
    await _Connection(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type] # plain ones too


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _config() -> Config:
    config = Config()
    config.keep_alive_timeout = _IDLE_S
    config.keep_alive_max_requests = _REQUESTS_PER_CONNECTION
    config.include_server_header = False
    config.accesslog = None  # our own has the request id
    config.errorlog = logging.getLogger("hypercorn.error")
    return config
