"""How late the event loop wakes, in virtual time."""

import trio
import trio.testing
from trio.testing import MockClock

from core.lag import Lag


async def test_an_event_loop_that_was_kept_busy_is_seen_to_wake_late(mock_clock: MockClock) -> None:
    lag = Lag()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.5)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1.5)  # a second later than it should have woken
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (sum(lag.seen.places), lag.seen.total) == (2, 1.0)
