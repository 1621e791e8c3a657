"""How one task wakes another."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from core.bell import Bell


async def test_a_bell_is_for_one_and_forgets() -> None:
    bell = Bell()
    bell.ring()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bell.wait)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await bell.wait()
        bell.ring()
    with trio.move_on_after(0) as scope:
        await bell.wait()
    assert scope.cancelled_caught
    bell.ring()
