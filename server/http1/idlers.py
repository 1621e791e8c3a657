"""Connections that wait for a request, and how long they may.

All have the same patience, so whoever came first is dismissed first: a queue and one task do for thousands, and to
join and to leave costs next to nothing.
"""

from typing import Protocol

import trio

from core.bell import Bell


class Idler(Protocol):
    """Somebody who waits."""

    def dismiss(self) -> None:
        """Hear that there is no more time."""


class Idlers:
    """The queue, for the task of `watch`."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._until: dict[Idler, float] = {}
        self._bell = Bell()

    def join(self, idler: Idler) -> None:
        """Wait from now on."""
        self._until[idler] = trio.current_time() + self._patience_s
        self._bell.ring()

    def leave(self, idler: Idler) -> None:
        """Wait no more."""
        self._until.pop(idler, None)

    def dismiss_all(self) -> None:
        """Dismiss everybody, whatever time is left."""
        for idler in list(self._until):
            self._dismiss(idler)

    async def watch(self) -> None:
        """Dismiss whoever waits too long, for ever."""
        while True:
            if not self._until:
                await self._bell.wait()
            else:
                await trio.sleep_until(next(iter(self._until.values())))
                self._dismiss_late()

    def _dismiss_late(self) -> None:
        now = trio.current_time()
        late = []
        for idler, until in self._until.items():
            if until > now:
                break
            late.append(idler)
        for idler in late:
            self._dismiss(idler)

    def _dismiss(self, idler: Idler) -> None:
        self.leave(idler)
        idler.dismiss()
