"""How late the event loop wakes those who sleep: late for one is late for all.

lag = Lag()
nursery.start_soon(lag.run)
"""

from typing import NoReturn

import trio

from core.counts import DURATIONS_S, Histogram

_LOOK_EVERY_S = 0.5


class Lag:
    """Looks twice a second, which takes some 50 us."""

    def __init__(self) -> None:
        self.seen = Histogram(DURATIONS_S)

    async def run(self) -> NoReturn:
        """Look for ever."""
        while True:
            wake_at = trio.current_time() + _LOOK_EVERY_S
            await trio.sleep_until(wake_at)
            self.seen.note(trio.current_time() - wake_at)
