"""How one task wakes another.

await bell.wait()  # in the one task that waits
bell.ring()        # in another; nothing happens if nobody waits
"""

from typing import Any

import trio


class Bell:
    """Like an event that forgets, for a single waiter, and an object of a few bytes."""

    __slots__ = ("_sleeper",)

    def __init__(self) -> None:
        self._sleeper: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Wait for the next ring, or raise Cancelled; raises BusyResourceError if somebody waits already."""
        if self._sleeper is not None:
            raise trio.BusyResourceError("somebody waits for this already")
        self._sleeper = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._give_up)

    def ring(self) -> None:
        """Wake whoever waits."""
        sleeper = self._sleeper
        if sleeper is not None:
            self._sleeper = None
            trio.lowlevel.reschedule(sleeper)

    def _give_up(self, _: Any) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED
