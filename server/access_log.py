"""Around the whole app: an id and a line in the log for every request, and an answer whatever happens."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
import trio
from werkzeug.exceptions import NotFound

from core.ids import new_ids
from server.asgi import send_answer
from server.errors import error_answer, most_telling
from server.http1.asgi import App, Message, Receive, Scope, Send
from server.http1.connection import CLIENT
from server.notes import Notes, notes_of
from server.traffic import Traffic

_CLIENT_LEFT = 499  # as nginx writes it
_SERVER_ERROR = 500
_ASKED_BY_MACHINES = frozenset({"/health/live", "/health/ready", "/metrics"})
_SHOWN_PATH_LENGTH = 256
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)


class AccessLog:
    """ASGI middleware."""

    def __init__(self, app: App, traffic: Traffic) -> None:
        self._app = app
        self._ids = new_ids()
        self._traffic = traffic
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("server.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on and log how it ended, also when it is cancelled."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope["path"] = decoded_path(scope)
        request_id = _given_id(scope) or next(self._ids)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        exchange = _Exchange(scope, receive, send, request_id)
        started = trio.current_time()
        try:
            await self._answer(scope, exchange)
        finally:
            notes_of(scope).release()
            self._write(scope, exchange.outcome, (trio.current_time() - started) * 1000)

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

    def _write(self, scope: Scope, status: int | None, duration_ms: float) -> None:
        notes = notes_of(scope)
        self._traffic.note(notes.route, status)
        self._level(notes.route, status)(
            "request",
            method=scope.get("method", "WEBSOCKET"),
            path=_shown(scope["path"]),
            status=status,
            duration_ms=round(duration_ms, 1),
            **_known(notes, status),
        )

    def _level(self, route: str, status: int | None) -> Callable[..., Any]:
        if status is None or status == _SERVER_ERROR:
            return self._log.error
        if status > _SERVER_ERROR:
            return self._log.warning
        return self._log.debug if route in _ASKED_BY_MACHINES else self._log.info


class _Exchange:
    """One request's two ends, watched."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        # Only our own connections tell; Hypercorn's let whoever receives know.
        self._client = scope.get("extensions", {}).get(CLIENT)
        self._receive = receive
        self._send = send
        self._request_id = request_id.encode()
        self._left = False
        self.status: int | None = None

    @property
    def outcome(self) -> int | None:
        """The status, 499 if the client left before there was one, None if the server ended first."""
        left = self._left or (self._client is not None and self._client.has_left)
        return _CLIENT_LEFT if self.status is None and left else self.status

    async def receive(self) -> Message:
        """The next message from the client."""
        message = await self._receive()
        self._left = self._left or message["type"] == "http.disconnect"
        return message

    async def send(self, message: Message) -> None:
        """Send a message to the client, the first one with the request id."""
        if message["type"].endswith("http.response.start"):
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id)]
        await self._send(message)

    async def send_error(self, error: Exception, scope: Scope) -> None:
        """Answer what the app itself could not."""
        await send_answer(self.send, scope, error_answer(error, scope))


def decoded_path(scope: Scope) -> str:
    """The path that routes are matched with; a slash that came encoded is no slash between its parts."""
    raw: bytes = scope["raw_path"]
    target = raw.decode("ascii", "replace")
    if "%" in target:
        target = unquote(_ENCODED_SLASH.sub("%252F", target))
    if target.startswith("/"):
        return target
    try:
        return urlsplit(target).path or "/"
    except ValueError:  # such as 'http://[': no route has it
        return f"/{target}"


def _shown(path: str) -> str:
    """A path for the log; where a client encoded its '?', what follows may still be a query with a key."""
    return path.partition("?")[0][:_SHOWN_PATH_LENGTH]


def _given_id(scope: Scope) -> str | None:
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return str(given[0].decode())
    return None


def _known(notes: Notes, status: int | None) -> dict[str, Any]:
    """What the notes tell, without what they do not know."""
    known: dict[str, Any] = {"caller": notes.caller, "batch_id": notes.batch_id}
    if notes.error is not None:
        known |= _told(notes.error, status)
    return {name: value for name, value in known.items() if value is not None}


def _told(error: BaseException, status: int | None) -> dict[str, Any]:
    """An error in as much detail as it is our fault; what a client did wrong may quote what it sent."""
    if status == _SERVER_ERROR:
        return {"exc_info": error}
    return {"error": _causes(error) if status is not None and status > _SERVER_ERROR else type(error).__name__}


def _causes(error: BaseException) -> str:
    """An error and what led to it, in one line."""
    chain = [f"{type(error).__name__}: {error}"]
    while (cause := error.__cause__) is not None:
        chain.append(f"{type(cause).__name__}: {cause}")
        error = cause
    return " < ".join(chain)
