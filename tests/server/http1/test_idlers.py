"""Who waits for a request, and how long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from server.http1.idlers import Idlers


class Somebody:
    def __init__(self) -> None:
        self.dismissed_at: float | None = None

    def dismiss(self) -> None:
        self.dismissed_at = trio.current_time()


@asynccontextmanager
async def watched() -> AsyncIterator[Idlers]:
    idlers = Idlers(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idlers.watch)
        yield idlers
        nursery.cancel_scope.cancel()


async def test_everybody_has_the_same_time(autojump_clock: MockClock) -> None:
    first, second = Somebody(), Somebody()
    async with watched() as idlers:
        await trio.sleep(3)
        idlers.join(first)
        await trio.sleep(4)
        idlers.join(second)
        await trio.sleep(20)
    assert (first.dismissed_at, second.dismissed_at) == (13, 17)


async def test_who_leaves_is_not_dismissed_and_who_comes_back_has_all_the_time(autojump_clock: MockClock) -> None:
    gone, back = Somebody(), Somebody()
    async with watched() as idlers:
        idlers.join(gone)
        idlers.join(back)
        await trio.sleep(9)
        idlers.leave(gone)
        idlers.leave(back)
        idlers.join(back)
        await trio.sleep(20)
    assert (gone.dismissed_at, back.dismissed_at) == (None, 19)


async def test_at_the_end_nobody_has_time(autojump_clock: MockClock) -> None:
    somebody = Somebody()
    async with watched() as idlers:
        idlers.join(somebody)
        await trio.sleep(1)
        idlers.dismiss_all()
    assert somebody.dismissed_at == 1
