r"""A request's head: parsed by llhttp, refused where h11 would refuse it.

    head = Head()
    head.read(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

llhttp is told nothing but whole heads, by a parser of its own for each: it cannot be asked to stop at the end of a
message, and what it knows of one request must not bear on the next.
"""

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)
from werkzeug.exceptions import (
    NotImplemented as NotSupported,
)

MAX_HEAD_BYTES = 64 * 1024
# 250 ids of 128 characters, and room for the rest of a query.
_MAX_TARGET_BYTES = 48 * 1024
_MAX_HEADERS = 128
_LONGEST_METHOD = 16  # the longest that there is has 11 letters
# Lone line feeds count here, so that what uses them is refused rather than waited for.
_BLANK_LINE = re.compile(rb"\n\r?\n")
_FIRST_VISIBLE = 0x21
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
_VERSIONS = ("1.1", "1.0")
_ELSEWHERE = (b"websocket", b"h2c")
_HEEDED = frozenset((b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade"))


class Head:
    """What the head says; what was read before it was refused is there too."""

    __slots__ = (
        "_codings",
        "_complete",
        "_hosts",
        "_upgrade",
        "chunked",
        "expects_continue",
        "headers",
        "is_for_hypercorn",
        "keeps_alive",
        "length",
        "method",
        "target",
        "version",
    )

    def __init__(self) -> None:
        self.method = "-"
        self.target = b"/"
        self.version = "1.1"
        self.headers: list[tuple[bytes, bytes]] = []
        self.length = 0
        self.chunked = False
        self.keeps_alive = True
        self.expects_continue = False
        self.is_for_hypercorn = False
        self._codings: list[bytes] = []
        self._complete = False
        self._hosts = 0
        self._upgrade = b""

    def read(self, raw: bytes) -> None:
        """Take in a whole head, or raise what to refuse it with."""
        if raw == _HTTP2_PREFACE:
            self.is_for_hypercorn = True
            return
        parser = HttpRequestParser(self)
        try:
            parser.feed_data(raw)
        except HttpParserUpgrade:
            pass  # it is complete, and what follows is not for llhttp anyway
        except HttpParserError as error:
            self.method = raw.partition(b" ")[0][:_LONGEST_METHOD].decode("ascii", "replace")
            raise self._refusal() from error
        self.method = parser.get_method().decode()
        self.version = parser.get_http_version()
        self._check(raw)
        self._settle()

    def on_url(self, url: bytes) -> None:
        """Hear from llhttp."""
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Hear from llhttp, which leaves in place the blanks that follow a value."""
        name, value = name.lower(), value.rstrip(b" \t")
        self.headers.append((name, value))
        if name in _HEEDED:
            self._heed(name, value)

    def on_headers_complete(self) -> None:
        """Hear from llhttp."""
        self._complete = True

    def _heed(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"connection":
            self.keeps_alive = self.keeps_alive and b"close" not in _tokens(value)
        elif name == b"content-length":
            self.length = int(value)
        elif name == b"transfer-encoding":
            self._codings.append(value.lower())
            self.headers[-1] = name, value.lower()  # as h11 hands it on
        elif name == b"expect":
            self.expects_continue = self.expects_continue or b"100-continue" in _tokens(value)
        else:
            self._upgrade = value.lower()

    def _refusal(self) -> HTTPException:
        """What llhttp finds wrong once the head is complete is a coding that it does not know."""
        return NotSupported() if self._complete else BadRequest()

    def _check(self, raw: bytes) -> None:
        """Raise what llhttp let pass."""
        # It knows older and newer versions, other protocols, and more than one blank between the words.
        if not self._complete or not raw.startswith(self._line()) or self.version not in _VERSIONS:
            raise BadRequest
        if self._codings not in ([], [b"chunked"]):
            raise NotSupported
        if self._hosts > 1 or (self._hosts == 0 and self.version == "1.1"):
            raise BadRequest
        if len(self.target) > _MAX_TARGET_BYTES:
            raise RequestURITooLarge
        if len(self.headers) > _MAX_HEADERS:
            raise RequestHeaderFieldsTooLarge

    def _line(self) -> bytes:
        return b"%b %b HTTP/%b\r\n" % (self.method.encode(), self.target, self.version.encode())

    def _settle(self) -> None:
        self.chunked = bool(self._codings)
        if self.version == "1.0":
            self.keeps_alive = self.expects_continue = False
        if self.method == "CONNECT":
            self.keeps_alive = False  # what follows may be for the other end of a tunnel
        self.is_for_hypercorn = self._upgrade in _ELSEWHERE


def end_of_head(received: bytearray, start: int) -> int:
    """How long the head is that what was received begins with, 0 if it is not complete; searched from `start`.

    Raises what to refuse it with where no head can come of it.
    """
    if received and received[0] < _FIRST_VISIBLE:
        raise BadRequest
    blank = _BLANK_LINE.search(received, start)
    if (blank.end() if blank else len(received)) > MAX_HEAD_BYTES:
        raise RequestHeaderFieldsTooLarge
    return blank.end() if blank else 0


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]
