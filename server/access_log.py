"""Around the app: an id and a line in the log for every request that goes there, and an answer whatever happens."""

import structlog
from werkzeug.exceptions import NotFound

from server.asgi import send_answer
from server.errors import error_answer, most_telling
from server.http1.asgi import App, Message, Receive, Scope, Send
from server.http1.connection import CLIENT
from server.notes import notes_of
from server.request_log import CLIENT_LEFT, Entry, RequestLog


class AccessLog:
    """ASGI middleware."""

    def __init__(self, app: App, log: RequestLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on and log how it ended, also when it is cancelled."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        entry = self._log.open(scope)
        structlog.contextvars.bind_contextvars(request_id=entry.request_id)
        exchange = _Exchange(scope, receive, send, entry)
        try:
            await self._answer(scope, exchange)
        finally:
            notes_of(scope).release()
            entry.write(exchange.outcome)

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        # Werkzeug would find a route behind any number of slashes, which a proxy in front may judge otherwise.
        if scope["type"] == "websocket" or scope["path"].startswith("//"):
            await exchange.send_error(NotFound(), scope)
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except (Exception, BaseExceptionGroup) as group:
            error = most_telling(group)
            if exchange.status is not None or isinstance(error, BaseExceptionGroup):
                raise
            await exchange.send_error(error, scope)


class _Exchange:
    """One request's two ends, watched."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, entry: Entry) -> None:
        # Only our own connections tell; Hypercorn's let whoever receives know.
        self._client = scope.get("extensions", {}).get(CLIENT)
        self._receive = receive
        self._send = send
        self._entry = entry
        self._left = False
        self.status: int | None = None

    @property
    def outcome(self) -> int | None:
        """The status, 499 if the client left before there was one, None if the server ended first."""
        left = self._left or (self._client is not None and self._client.has_left)
        return CLIENT_LEFT if self.status is None and left else self.status

    async def receive(self) -> Message:
        """The next message from the client."""
        message = await self._receive()
        self._left = self._left or message["type"] == "http.disconnect"
        return message

    async def send(self, message: Message) -> None:
        """Send a message to the client, the first one with the request id."""
        if message["type"].endswith("http.response.start"):
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._entry.request_id.encode())]
        await self._send(message)

    async def send_error(self, error: Exception, scope: Scope) -> None:
        """Answer what the app itself could not."""
        await send_answer(self.send, scope, error_answer(error, scope))
