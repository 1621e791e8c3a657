"""What this instance tells monitors: nothing while nobody watches.

A monitor says each second that it watches; for 3 s after its last word this instance publishes what happens, and a
snapshot four times a second.
"""

from collections import deque
from collections.abc import Callable

import trio

from core import keys
from core.coordinator import Coordinator
from core.errors import RedisUnavailable
from core.events import Event, encode_event

_WATCHED_FOR_S = 3.0
_PUBLISH_EVERY_S = 0.25
# An event storm costs memory and attention; what a monitor misses here, the next snapshot's totals tell.
_MOST_EVENTS = 200


class Broadcast:
    """Events and snapshots for monitors."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._watched = trio.Event()
        self._watched_until = -1.0

    def hear_watch(self) -> None:
        """Take notice of a monitor that watches."""
        self._watched_until = trio.current_time() + _WATCHED_FOR_S
        self._watched.set()

    def tell(self, event: Event) -> None:
        """Tell monitors of an event, soon, if any watches."""
        if self._watched.is_set():
            self._events.append(event)

    async def run(self, snapshot: Callable[[], Event]) -> None:
        """Publish for ever, while watched."""
        while True:
            await self._watched.wait()
            await self._publish([*self._take(), snapshot()])
            await trio.sleep(_PUBLISH_EVERY_S)
            if trio.current_time() > self._watched_until:
                self._watched = trio.Event()

    async def say(self, event: Event) -> None:
        """Publish one event now, if any monitor watches; for the last word of an instance."""
        if self._watched.is_set():
            await self._publish([*self._take(), event])

    def _take(self) -> list[Event]:
        events = list(self._events)
        self._events.clear()
        return events

    async def _publish(self, events: list[Event]) -> None:
        try:
            for event in events:
                await self._coordinator.publish(keys.EVENTS, encode_event(event))
        except RedisUnavailable:
            return  # a monitor sees that for itself
