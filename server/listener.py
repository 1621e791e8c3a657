"""Hypercorn, set up: where it listens, how long it waits, what it leaves to us."""

import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import hypercorn.trio
import structlog
import trio
from hypercorn.config import Config
from quart_trio import QuartTrio

from core.settings import Settings

# Beyond the last deadline of an admitted request, for its answer to get out.
_GRACE_S = 2.0
# For a request's head to come in completely, and between two requests: slow senders do not hold a connection.
_IDLE_S = 10.0
_BACKLOG = 1024
_REQUESTS_PER_CONNECTION = 100_000


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
    app: QuartTrio, settings: Settings, listener: socket.socket, draining: trio.Event
) -> AsyncIterator[str]:
    """A block in which the app is served, with its URL.

    Its end waits until `draining` is set, and then for the last answers.
    """
    config = _config(bind=f"fd://{listener.detach()}")
    config.graceful_timeout = settings.batch_result_timeout_ms / 1000 + _GRACE_S
    serve = partial(hypercorn.trio.serve, app, config, shutdown_trigger=draining.wait, mode="asgi")
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve)
        structlog.get_logger("server").info("listening", url=url)
        yield url


def _config(*, bind: str) -> Config:
    config = Config()
    config.bind = [bind]
    config.backlog = _BACKLOG
    config.keep_alive_timeout = _IDLE_S
    config.keep_alive_max_requests = _REQUESTS_PER_CONNECTION
    config.include_server_header = False
    config.accesslog = None  # our own has the request id
    config.errorlog = logging.getLogger("hypercorn.error")
    return config
