"""A request's body, taken out of what was received.

body = SizedBody(5)
body.take(received)  # what of it is there, b"" if nothing is
body.complete
"""

import re
from typing import Protocol

from werkzeug.exceptions import BadRequest, RequestHeaderFieldsTooLarge

# For the line before a chunk, and for all trailers together: few use either.
_MAX_LINES_BYTES = 4096
_LINE_END = b"\r\n"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?[ \t]*")
_TRAILER = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class Body(Protocol):
    """Either of the two."""

    complete: bool

    def take(self, received: bytearray) -> bytes:
        """Remove from what was received all of the body that is there, or raise what to refuse it with."""


class SizedBody:
    """With a Content-Length."""

    __slots__ = ("_left", "complete")

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = length == 0

    def take(self, received: bytearray) -> bytes:
        """Remove what is there."""
        part = bytes(received[: self._left])
        del received[: len(part)]
        self._left -= len(part)
        self.complete = self._left == 0
        return part


class ChunkedBody:
    """With a size before each chunk; what is said beside sizes, and trailers, is left out."""

    __slots__ = ("_ends_chunk", "_left", "_lines_left", "_trails", "complete")

    def __init__(self) -> None:
        self._left = 0
        self._ends_chunk = False
        self._trails = False
        self._lines_left = _MAX_LINES_BYTES
        self.complete = False

    def take(self, received: bytearray) -> bytes:
        """Remove what is there, or raise what to refuse it with."""
        parts: list[bytes] = []
        while not self.complete and self._step(received, parts):
            pass
        return b"".join(parts)

    def _step(self, received: bytearray, parts: list[bytes]) -> bool:
        """Take the next piece; False if it is not there yet."""
        if self._left:
            return self._take_data(received, parts)
        if self._ends_chunk:
            return self._take_end(received)
        return self._take_line(received)

    def _take_data(self, received: bytearray, parts: list[bytes]) -> bool:
        part = bytes(received[: self._left])
        del received[: len(part)]
        parts.append(part)
        self._left -= len(part)
        self._ends_chunk = self._left == 0
        return bool(part)

    def _take_end(self, received: bytearray) -> bool:
        end = bytes(received[: len(_LINE_END)])
        if not _LINE_END.startswith(end):
            raise BadRequest
        if end != _LINE_END:
            return False
        del received[: len(_LINE_END)]
        self._ends_chunk = False
        return True

    def _take_line(self, received: bytearray) -> bool:
        feed = received.find(b"\n", 0, self._lines_left)
        if feed < 0:
            if len(received) >= self._lines_left:
                raise RequestHeaderFieldsTooLarge
            return False
        line = bytes(received[: feed + 1])
        if not line.endswith(_LINE_END):
            raise BadRequest  # now: or else its client would wait for an answer that waits for a line's end
        del received[: len(line)]
        line = line.removesuffix(_LINE_END)
        if self._trails:
            self._end_or_skip(line)
        else:
            self._begin_chunk(line)
        return True

    def _begin_chunk(self, line: bytes) -> None:
        said = _SIZE.fullmatch(line)
        if said is None:
            raise BadRequest
        self._left = int(said[1], 16)
        self._trails = self._left == 0

    def _end_or_skip(self, line: bytes) -> None:
        if not line:
            self.complete = True
        elif _TRAILER.fullmatch(line) is None:
            raise BadRequest
        self._lines_left -= len(line)
