"""A way for requests that need no task: they are taken in when they are read, and answered when their answer is there.

A connection asks it of each request that begins as those do; what it does not want goes to the app.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from server.http1.asgi import Scope

# A status, headers beside those that frame an answer, and a body, once.
Reply = Callable[[int, Mapping[str, str], bytes], None]


class Errand(Protocol):
    """One request under way."""

    def start(self) -> None:
        """See to it that it is answered, now or later."""

    def cancel(self) -> None:
        """Hear that nobody is to be answered any more: the client left, or the server ends."""


class ShortWay(Protocol):
    """Whoever answers such requests."""

    @property
    def begins(self) -> bytes:
        """How a head begins that may be for it."""

    def errand(self, scope: Scope, reply: Reply) -> Errand | None:
        """A request to be started, which has no body; None if it is not for it."""
