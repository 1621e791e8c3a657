"""Connections that go on with Hypercorn, since they are not HTTP/1.1: HTTP/2 without TLS, and WebSockets."""

import logging
import socket
from typing import cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState

from server.http1.asgi import App


class Hypercorn:
    """Serves the app to those connections."""

    def __init__(self, app: App, *, patience_s: float, requests_per_connection: int) -> None:
        self._app = ASGIWrapper(cast("ASGIFramework", app))
        self._context = WorkerContext(None)
        self._config = Config()
        self._config.keep_alive_timeout = patience_s
        self._config.keep_alive_max_requests = requests_per_connection
        self._config.include_server_header = False
        self._config.accesslog = None  # our own has the request id
        self._config.errorlog = logging.getLogger("hypercorn.error")

    async def go_on(self, sock: socket.socket, received: bytes) -> None:
        """Serve a connection of which this was received."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        await _TakenOver(self._app, self._config, self._context, stream, received)

    async def end(self) -> None:
        """End the idle ones, and the others once they are answered."""
        await self._context.terminated.set()


class _TakenOver(TCPServer):
    """Hypercorn's connection, which begins with what another received, and with two bounds that it lacks.

    It ends when the client leaves, and not only when the keep-alive timer runs out. And a client that does not read in
    time is left: Hypercorn shields its sending from every cancel, so one such client could keep the process alive.
    """

    def __init__(
        self, app: ASGIWrapper, config: Config, context: WorkerContext, stream: trio.SocketStream, received: bytes
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type] # plain ones too
        self._received = received

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        try:
            async with self.send_lock:
                with trio.fail_after(self.config.keep_alive_timeout):
                    await self.stream.send_all(event.data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            await trio.aclose_forcefully(self.stream)
            await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        await self.protocol.handle(RawData(self._received))
        await super()._read_data()
        await self.idle_task.stop()
