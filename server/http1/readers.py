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


class Readers:
    """The sockets, and whom each concerns, for the task of `watch`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()  # closed with this object: whoever reads may outlive `watch`

    def join(self, sock: socket.socket, take_in: Callable[[], None]) -> None:
        """Hear of this socket from now on; `take_in` must take something, or leave, or else is called again."""
        self._selector.register(sock, selectors.EVENT_READ, take_in)

    def leave(self, sock: socket.socket) -> None:
        """Hear of it no more; to be done before it is closed."""
        self._selector.unregister(sock)

    async def watch(self) -> None:
        """Tell each, for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._selector.fileno())
            for key, _ in self._selector.select(0):
                key.data()
