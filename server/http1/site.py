"""What all connections have in common."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from time import time

import trio

from server.http1.asgi import App
from server.http1.idlers import Idlers
from server.http1.readers import Readers
from server.http1.short_way import ShortWay


class Site:
    """An app, how its clients are treated, and whether it is about to end."""

    def __init__(
        self,
        app: App,
        refusal: Callable[[Exception], App],
        *,
        patience_s: float,
        requests_per_connection: int,
        short_way: ShortWay | None = None,
    ) -> None:
        """`refusal` makes an app that answers with an error; `patience_s` is for heads, and for clients to read."""
        self.app = app
        self.short_way = short_way
        self.refusal = refusal
        self.patience_s = patience_s
        self.requests_per_connection = requests_per_connection
        self.idlers = Idlers(patience_s)
        self.readers = Readers()
        self.ending = False
        self._second = 0
        self._date_line = b""

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """A block in which connections are told what came, and those that wait too long are dismissed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.readers.watch)
            nursery.start_soon(self.idlers.watch)
            yield
            nursery.cancel_scope.cancel()

    def end(self) -> None:
        """Let what is under way be answered, and nothing come after it."""
        self.ending = True
        self.idlers.dismiss_all()

    def date_line(self) -> bytes:
        """The header that says when an answer was made."""
        second = int(time())
        if second != self._second:
            self._second = second
            self._date_line = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._date_line
