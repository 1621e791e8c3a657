"""What this instance tells monitors: nothing while nobody watches.

A monitor says each second that it watches; for 3 s after its last word this instance publishes one message a tick: what
happened since the last one, and how it stands.
"""

from collections import OrderedDict
from typing import Protocol

import trio
from msgspec.structs import replace

from core import keys
from core.coordinator import Coordinator
from core.errors import RedisUnavailable
from core.events import (
    MOST_EVENTS,
    VERSION,
    Event,
    Limited,
    Message,
    Snapshot,
    Started,
    Stopped,
    encode_message,
    unix_ms,
)

_WATCHED_FOR_S = 3.0
_TICK_S = 0.25
# So many messages have one among them with all there is to tell; any monitor may ask for it to be the next.
_WHOLE_EVERY = 4
_ASKS_FOR_ALL = b"snapshot"


class Describer(Protocol):
    """Whoever can say how this instance stands."""

    async def snapshot(self, lag_ms: float, *, whole: bool) -> Snapshot:
        """Describe it now; `whole` is with what is told only in some messages."""


class Broadcast:
    """Tells monitors."""

    def __init__(self, instance: str, coordinator: Coordinator) -> None:
        self._instance = instance
        self._coordinator = coordinator
        self._events: OrderedDict[str | int, Event] = OrderedDict()  # {who was refused, or a number: event}
        self._told = 0
        self._missed = 0
        self._number = 0
        self._watched = trio.Event()
        self._watched_until = -1.0
        self._news_until = -1.0
        self._whole_next = False
        self._ended = False

    @property
    def is_watched(self) -> bool:
        """Whether anybody would hear of an event."""
        return self._watched.is_set()

    def hear_watch(self, word: bytes) -> None:
        """Take notice of a monitor that watches."""
        now = trio.current_time()
        if not self.is_watched and now > self._news_until:
            self._take()  # what nobody heard of in time is no news any more
        self._watched_until = now + _WATCHED_FOR_S
        self._whole_next = self._whole_next or word == _ASKS_FOR_ALL
        self._watched.set()

    def tell(self, event: Event) -> None:
        """Tell monitors of an event with the next message, if any watches."""
        if self.is_watched:
            self._keep(event)

    def tell_started(self) -> None:
        """Tell monitors that the instance serves; who watches is not known yet, but each says so every second."""
        self._news_until = trio.current_time() + _WATCHED_FOR_S
        self._keep(Started(unix_ms()))

    async def run(self, describer: Describer) -> None:
        """Publish for ever, while watched."""
        while True:
            await self._watched.wait()
            lag_s = 0.0
            while self._may_speak():
                await self._speak(describer, lag_s)
                wake_at = trio.current_time() + _TICK_S
                await trio.sleep_until(wake_at)
                lag_s = trio.current_time() - wake_at
            self._watched = trio.Event()

    async def say_goodbye(self, describer: Describer) -> None:
        """Publish the last word of this instance, if any monitor watches."""
        if self._may_speak():
            snapshot = await describer.snapshot(0, whole=False)
            self.tell(Stopped(unix_ms()))
            self._ended = True
            await self._publish(snapshot)

    def _may_speak(self) -> bool:
        return trio.current_time() <= self._watched_until and not self._ended

    async def _speak(self, describer: Describer, lag_s: float) -> None:
        whole = self._whole_next or self._number % _WHOLE_EVERY == 0
        self._whole_next = False
        snapshot = await describer.snapshot(lag_s * 1000, whole=whole)
        if self._may_speak():  # or else the last word was said meanwhile
            await self._publish(snapshot)

    async def _publish(self, snapshot: Snapshot) -> None:
        self._number += 1
        events, missed = self._take()
        message = Message(VERSION, self._instance, self._number, unix_ms(), events, missed, snapshot)
        try:
            await self._coordinator.publish(keys.EVENTS, encode_message(message))
        except RedisUnavailable:
            return  # a monitor sees that for itself, and that a number is missing

    def _keep(self, event: Event) -> None:
        if isinstance(event, Limited):
            before = self._events.pop(event.caller, None)
            times = before.times + event.times if isinstance(before, Limited) else event.times
            self._events[event.caller] = replace(event, times=times)
        else:
            self._told += 1
            self._events[self._told] = event
        if len(self._events) > MOST_EVENTS:
            self._events.popitem(last=False)
            self._missed += 1

    def _take(self) -> tuple[list[Event], int]:
        taken = list(self._events.values()), self._missed
        self._events.clear()
        self._missed = 0
        return taken
