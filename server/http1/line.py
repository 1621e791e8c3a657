"""A connection's socket: what was received of it, what is sent over it, and whether the client is still there."""

import socket
from collections.abc import Callable

import trio

from core.bell import Bell
from server.http1.head import MAX_HEAD_BYTES
from server.http1.readers import Readers

_READ_BYTES = 16 * 1024
# What comes beyond that waits in the kernel. A head that is too long must show, so it is more than the longest.
_READ_AHEAD_BYTES = MAX_HEAD_BYTES + 1
# A client has the patience anew for each so many bytes of an answer.
_SLICE_BYTES = 64 * 1024
# For a client to take in an answer that came before it had sent everything: a close would cut the answer.
_LINGER_S = 0.5


class Line:
    """Reads ahead, whoever waits for it, and sends at once what the socket takes."""

    __slots__ = ("_bell", "_hear", "_patience_s", "_readers", "_reads", "_socket", "has_left", "received")

    def __init__(self, sock: socket.socket, readers: Readers, *, patience_s: float, hear: Callable[[], None]) -> None:
        """`sock` must not block, and is the caller's to close; `hear` is called when `readers` brought news."""
        self._socket = sock
        self._readers = readers
        self._patience_s = patience_s
        self._hear = hear
        self._reads = False
        self._bell = Bell()
        self.received = bytearray()
        # The client closed its side, or does not read what is sent.
        self.has_left = False

    def open(self) -> None:
        """Read from now on."""
        self._reads = True
        self._readers.join(self._socket, self._take_in)

    def close(self) -> None:
        """Read no more."""
        if self._reads:
            self._reads = False
            self._readers.leave(self._socket)

    async def wait_news(self) -> None:
        """Wait until somebody rings: there is more, the client left, or the exchange is over."""
        await self._bell.wait()

    def ring(self) -> None:
        """Wake whoever waits for news."""
        self._bell.ring()

    def take(self, length: int) -> bytes:
        """Take so much of what was received."""
        taken = bytes(self.received[:length])
        del self.received[:length]
        self.make_room()
        return taken

    def make_room(self) -> None:
        """Hear that something was taken from what was received."""
        if not self._reads and not self.has_left and len(self.received) < _READ_AHEAD_BYTES:
            self.open()

    def send(self, data: bytes) -> bytes:
        """Send what the socket takes at once, and return the rest, which is nothing if the client left."""
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            return data
        except OSError:
            self._leave()
            return b""
        return data[sent:] if sent < len(data) else b""

    async def write(self, data: bytes) -> None:
        """Send all of it; who does not read in time has left."""
        if data and (rest := self.send(data)):
            await self.write_slowly(rest)

    async def write_slowly(self, data: bytes) -> None:
        """Send a slice at a time, each within the patience: who reads slowly is waited for, who hardly reads is not."""
        rest = memoryview(data)
        with trio.CancelScope() as patience:
            while rest and not self.has_left:
                patience.deadline = trio.current_time() + self._patience_s
                await self._write_slice(rest[:_SLICE_BYTES])
                rest = rest[_SLICE_BYTES:]
        if patience.cancelled_caught:
            self._leave()

    async def linger(self) -> None:
        """Say that no more is sent, and wait until the client has heard."""
        with trio.move_on_after(_LINGER_S):
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                return
            while not self.has_left:
                self.received.clear()
                self.make_room()
                await self._bell.wait()

    async def _write_slice(self, rest: memoryview) -> None:
        while rest:
            await trio.lowlevel.wait_writable(self._socket)
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                continue
            except OSError:
                self._leave()
                return

    def _take_in(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave()
            return
        self.received += data
        if len(self.received) >= _READ_AHEAD_BYTES:
            self.close()
        self._hear()

    def _leave(self) -> None:
        self.has_left = True
        self.close()
        self._hear()
