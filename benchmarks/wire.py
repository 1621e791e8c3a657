"""HTTP/1.1 for the load generator: connections that are kept, never block, and cost little.

connection = Connection(("127.0.0.1", 3000), place=0)
connection.send(request)                # and once its socket is readable:
connection.receive()                    # the answer's status, 0 if there will be none, None if there is more to come
"""

import re
import socket

Address = tuple[str, int]

NO_ANSWER = 0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CONNECT_S = 20


def answer_end(data: bytes | bytearray) -> int | None:
    """Where the first answer in `data` ends; None while it is not whole."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    start = head_end + 4
    if length := _LENGTH.search(data, 0, head_end):
        end = start + int(length[1])
        return end if len(data) >= end else None
    return _chunks_end(data, start) if _CHUNKED.search(data, 0, head_end) else start


def _chunks_end(data: bytes | bytearray, start: int) -> int | None:
    """Where chunks that begin at `start` end; without trailers, which nobody here sends."""
    while (line_end := data.find(b"\r\n", start)) >= 0:
        size = int(bytes(data[start:line_end]).partition(b";")[0], 16)
        start = line_end + 2 + size + 2
        if size == 0:
            return start if len(data) >= start else None
    return None


class Connection:
    """One connection to a target, one request at a time."""

    __slots__ = ("_address", "_unread", "place", "sent_at", "socket")

    def __init__(self, address: Address, place: int) -> None:
        self.place = place  # of the target
        self.sent_at = 0.0  # for whoever measures
        self._address = address
        self._unread = bytearray()
        self.socket = self._connected()

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(self._address, timeout=_CONNECT_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(0)
        return connected

    def send(self, request: bytes) -> None:
        """A request is far smaller than the socket's buffer: it goes out at once, or its connection is broken."""
        try:
            self.socket.send(request)
        except OSError:
            self.socket.shutdown(socket.SHUT_RDWR)  # and `receive` will find it so

    def receive(self) -> int | None:
        """Read what is there; the status of an answer that is whole now, NO_ANSWER if the server left, else None."""
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return NO_ANSWER
        self._unread += data
        end = answer_end(self._unread)
        if end is None:
            return None
        status = int(self._unread[9:12])
        del self._unread[:end]
        return status

    def close(self) -> None:
        """End it."""
        self.socket.close()
