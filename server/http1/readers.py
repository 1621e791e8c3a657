"""Connections that are told when there is something to read: one task hears for all of them.

    readers = Readers()
    nursery.start_soon(readers.watch)
    readers.join(sock, connection.take_in)  # called whenever something is there, until it leaves

A task of its own for each would cost a request a task switch and two system calls, and take a third more memory while
it waits.
"""

import selectors
import socket
from collections.abc import Callable

import trio

# Then others have their turn: of thousands of requests that come at once, the first are not to wait for the last.
_AT_ONCE = 64


class Readers:
    """The sockets, and whom each concerns, for the task of `watch`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()  # closed with this object: whoever reads may outlive `watch`
        self._here: set[socket.socket] = set()

    def join(self, sock: socket.socket, take_in: Callable[[], None]) -> None:
        """Hear of this socket from now on; `take_in` must take something, or leave, or else is called again."""
        self._selector.register(sock, selectors.EVENT_READ, take_in)
        self._here.add(sock)

    def leave(self, sock: socket.socket) -> None:
        """Hear of it no more; to be done before it is closed."""
        self._selector.unregister(sock)
        self._here.remove(sock)

    async def watch(self) -> None:
        """Tell each, for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._selector.fileno())
            ready = self._selector.select(0)
            for start in range(0, len(ready), _AT_ONCE):
                if start:
                    await trio.lowlevel.checkpoint()
                for key, _ in ready[start : start + _AT_ONCE]:
                    if key.fileobj in self._here:
                        key.data()
