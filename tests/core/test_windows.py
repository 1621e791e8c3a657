"""What windows make of what they hear, where the order in which it comes matters."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from core.admissions import Joined
from core.batches import Result
from core.errors import TooBusy
from core.flush_policy import View
from core.standings import Held
from core.waiters import Waiter
from core.window import Window
from core.windows import Windows
from tests.core.model import START_MS, Fleet, Instance

BATCH = "b"


@pytest.fixture
async def instance(nursery: trio.Nursery, autojump_clock: MockClock) -> Instance:
    fleet = Fleet(nursery)
    await fleet.start_instance("a")
    await wait_all_tasks_blocked()
    return fleet.instances["a"]


@pytest.fixture
def windows(instance: Instance) -> Windows:
    return instance.windows


def waiter_for(patience_s: float) -> Waiter:
    return Waiter("bitcoin", trio.current_time() + patience_s, lambda: None, BATCH)


def admitted(*, at_ms: int = START_MS, size: int = 1) -> Joined:
    return Joined(BATCH, size, 5000, at_ms, {})


def fetched(*, at_ms: int) -> Result:
    return Result(
        batch_id=BATCH,
        coin_id="bitcoin",
        trigger="window",
        size=1,
        fetched_at_ms=at_ms,
        upstream_ms=1.0,
        prices={"usd": Decimal(1)},
    )


@contextmanager
def joined(windows: Windows, waiter: Waiter, admission: Joined) -> Iterator[None]:
    windows.join(waiter, "bitcoin", admission, trio.current_time())
    yield
    windows.leave(waiter)


async def break_redis(instance: Instance) -> None:
    instance.link.cut()
    await wait_all_tasks_blocked()
    instance.link.mend()
    await wait_all_tasks_blocked()


async def test_whoever_joins_a_batch_just_after_all_in_it_were_refused_is_answered(windows: Windows) -> None:
    early, later = waiter_for(1), waiter_for(8)
    with joined(windows, early, admitted()):
        windows.refuse(trio.current_time() + 2)
        with joined(windows, later, admitted(size=2)):
            await wait_all_tasks_blocked()
            assert not early.is_answered
            assert len(list(windows)) == 1
            windows.hear_results([fetched(at_ms=START_MS)])
            assert later.is_answered
    assert list(windows) == []


@pytest.mark.parametrize(("fetched_after_ms", "answered"), [(0, True), (1, True), (-1, False)])
async def test_a_result_that_overtook_the_admission_answers_it_unless_it_is_older(
    windows: Windows, fetched_after_ms: int, answered: bool
) -> None:
    """Of a Redis that was set back, an answered batch is open again."""
    windows.hear_results([fetched(at_ms=START_MS + fetched_after_ms)])
    waiter = waiter_for(8)
    with joined(windows, waiter, admitted(at_ms=START_MS)):
        await wait_all_tasks_blocked()
        assert waiter.is_answered == answered


async def test_what_was_heard_of_a_batch_is_void_once_redis_was_away(instance: Instance, windows: Windows) -> None:
    windows.hear_results([fetched(at_ms=START_MS)])
    await break_redis(instance)
    waiter = waiter_for(8)
    with joined(windows, waiter, admitted(at_ms=START_MS)):
        assert not waiter.is_answered


async def test_that_a_batch_was_full_is_void_once_redis_was_away(instance: Instance, windows: Windows) -> None:
    windows.hear_full(BATCH, 3)
    await break_redis(instance)
    with joined(windows, waiter_for(8), admitted()):
        assert [view.size for view in windows.views()] == [1]


async def test_that_a_batch_is_ripe_is_said_when_it_fills_up_and_not_again_for_each_that_joins_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """While no call may be made a batch grows on, and each time that it is said costs a round."""
    said: list[int] = []  # and how large it was then
    window = Window(View(BATCH, "bitcoin", due_at=5, size=1), 3, lambda: said.append(window.view.size))
    for size in range(1, 7):
        window.join(waiter_for(8), size)
        if size == 1:
            nursery.start_soon(window.run)
        await wait_all_tasks_blocked()
    assert (said, window.view.size) == ([3], 6)

    window.open(6)
    await wait_all_tasks_blocked()
    window.release()
    await wait_all_tasks_blocked()
    assert said == [3, 6, 6]


async def test_that_a_batch_is_held_by_who_flushes_it_here_makes_nobody_wait_for_the_lease(windows: Windows) -> None:
    with joined(windows, waiter_for(8), admitted()):
        (window,) = windows
        window.set_flushing(flushing=True)
        windows.note(Held(BATCH, lease_ms=1500, itself=True))
        assert window.view.held_until < trio.current_time()
        window.set_flushing(flushing=False)
        windows.note(Held(BATCH, lease_ms=1500, itself=True))
        assert window.view.held_until > trio.current_time()


async def test_a_batch_that_is_being_flushed_is_not_said_to_be_ripe_when_it_fills_up() -> None:
    said: list[str] = []
    window = Window(View(BATCH, "bitcoin", due_at=5, size=1, flushing=True), 3, lambda: said.append("ripe"))
    window.join(waiter_for(8), 3)
    assert said == []


@pytest.mark.parametrize(
    "end",
    [
        lambda window, waiter: window.leave(waiter),
        lambda window, _: window.settle(fetched(at_ms=START_MS)),
        lambda window, _: window.refuse(float("inf"), TooBusy()),
    ],
    ids=["left", "answered", "refused"],
)
async def test_a_windows_task_ends_with_its_last_waiter(
    autojump_clock: MockClock, end: Callable[[Window, Waiter], None]
) -> None:
    window = Window(View(BATCH, "bitcoin", due_at=5, size=1), 3, lambda: None)
    waiter = waiter_for(8)
    window.join(waiter, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(window.run)
        await trio.sleep(1)
        end(window, waiter)
    assert trio.current_time() == pytest.approx(1)
