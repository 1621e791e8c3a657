"""What is known of each request from its start to its line in the log: an id, when it came, how it ended.

log = RequestLog(lines)
entry = log.open(scope)      # from here on the scope's path is decoded
entry.header                 # {"X-Request-Id": "..."}
entry.write(200)
"""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import structlog
import trio

from core.ids import new_ids
from server.http1.asgi import Scope
from server.logs import Lines, timestamp
from server.notes import Notes, notes_of
from server.traffic import Traffic

_NAME, _EVENT = "server.access", "request"
CLIENT_LEFT = 499  # as nginx writes it
_SERVER_ERROR = 500
_ASKED_BY_MACHINES = frozenset({"/health/live", "/health/ready", "/metrics"})
_SHOWN_PATH_LENGTH = 256
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)


class _Line(msgspec.Struct, omit_defaults=True):
    """A line as structlog writes it, of a request in which nothing failed."""

    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    timestamp: str
    event: str
    logger: str
    level: str
    caller: str | None = None
    batch_id: str | None = None


_encode = msgspec.json.Encoder().encode


class RequestLog:
    """Writes a line for every request, and counts it."""

    def __init__(self, lines: Lines | None = None) -> None:
        """Where `lines` take JSON, most lines go there straight: by structlog they take five times as long."""
        self.traffic = Traffic()
        self._lines = lines if lines is not None and lines.takes_json else None
        self._ids = new_ids()
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(_NAME)

    def open(self, scope: Scope) -> "Entry":
        """A request begins."""
        path = scope["path"] = _decoded_path(scope)
        return Entry(self, scope.get("method", "WEBSOCKET"), path, notes_of(scope), _given_id(scope) or next(self._ids))

    def write(self, entry: "Entry", status: int | None) -> None:
        """A request ended with this status, or without one where the server ended first."""
        notes, method, path = entry.notes, entry.method, _shown(entry.path)
        duration_ms = round((trio.current_time() - entry.started_at) * 1000, 1)
        level = _level(notes.route, status)
        self.traffic.note(notes.route, status)
        if self._lines is not None and status is not None and notes.error is None and level == "info":
            line = _Line(
                entry.request_id, method, path, status, duration_ms, timestamp(), _EVENT, _NAME, level,
                notes.caller, notes.batch_id,
            )  # fmt: skip
            text = _encode(line)
            if text.isascii():
                self._lines.say(text)
                return
        getattr(self._log, level)(
            _EVENT,
            request_id=entry.request_id,
            method=method,
            path=path,
            status=status,
            duration_ms=duration_ms,
            **_known(notes, status),
        )


class Entry:
    """One request, until its line is written."""

    __slots__ = ("_log", "method", "notes", "path", "request_id", "started_at")

    def __init__(self, log: RequestLog, method: str, path: str, notes: Notes, request_id: str) -> None:
        self._log = log
        self.method = method
        self.path = path
        self.notes = notes
        self.request_id = request_id
        self.started_at = trio.current_time()

    @property
    def header(self) -> dict[str, str]:
        """What tells the client the id."""
        return {"X-Request-Id": self.request_id}

    def write(self, status: int | None) -> None:
        """Write the line."""
        self._log.write(self, status)


def _level(route: str, status: int | None) -> str:
    if status is None or status == _SERVER_ERROR:
        return "error"
    if status > _SERVER_ERROR:
        return "warning"
    return "debug" if route in _ASKED_BY_MACHINES else "info"


def _decoded_path(scope: Scope) -> str:
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
