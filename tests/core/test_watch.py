"""What monitors are told, and when, in virtual time."""

import itertools

import pytest
import trio
from trio.testing import MockClock

from core import keys
from core.batches import Wanted
from core.errors import CryptoPulseError
from core.events import (
    MOST_CALLERS,
    MOST_EVENTS,
    VERSION,
    Draining,
    Event,
    Limited,
    NextCall,
    Snapshot,
    Started,
    Stopped,
    decode_message,
)
from core.price_desk import PriceDesk
from core.watch import Broadcast
from tests.core.model import Fleet, Instance, settings_for_tests


@pytest.fixture
def instance(fleet: Fleet, desk: PriceDesk) -> Instance:
    return fleet.instances["a"]


@pytest.fixture
def broadcast(instance: Instance) -> Broadcast:
    return instance.broadcast


async def ask(desk: PriceDesk, coin_id: str = "bitcoin", caller: str = "user:a") -> None:
    try:
        with desk.ask([Wanted(coin_id, ("usd",))], caller=caller) as request:
            await request.over()
            request.admitted()
    except CryptoPulseError:
        pass


def snapshots(fleet: Fleet) -> list[Snapshot]:
    return [message.snapshot for message in fleet.messages if message.snapshot]


def limited(caller: str) -> Limited:
    return Limited(at_ms=0, caller=caller, limit=20, reset_s=60)


async def test_while_nobody_watches_nothing_is_told(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, broadcast: Broadcast
) -> None:
    broadcast.tell_started()
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(ask, desk, f"coin-{number}")
    desk.drain()
    await broadcast.say_goodbye(fleet.instances["a"].snapshots)
    assert fleet.published == []


async def test_a_monitor_hears_at_once_and_then_four_times_a_second(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    await trio.sleep(10)
    fleet.watch()
    await trio.sleep(1)
    assert [at for at, *_ in fleet.published] == [10.0, 10.25, 10.5, 10.75]


async def test_it_is_told_for_three_seconds_after_its_last_word(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    fleet.watch()
    await trio.sleep(1)
    fleet.watch()
    await trio.sleep(10)
    assert fleet.published[-1][0] == 4.0
    fleet.watch()
    await trio.sleep(0.1)
    assert fleet.published[-1][0] == 11.0


async def test_whatever_the_traffic_an_instance_says_four_messages_a_second_at_most(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = Fleet(nursery, settings_for_tests(throttle_global_limit=50))
    desks = [await fleet.start_instance(name) for name in "ab"]
    async with trio.open_nursery() as asking:
        for _ in range(3):
            asking.start_soon(fleet.keep_watching)  # three monitors
        for number in range(2000):
            asking.start_soon(ask, desks[number % 2], f"coin-{number % 700}", f"user:{number % 30}")
            if number % 100 == 0:
                fleet.watch(b"snapshot")
                await trio.sleep(0.1)
        await trio.sleep(10)
        asking.cancel_scope.cancel()
    for name in "ab":
        times = [at for at, _, said in fleet.published if decode_message(said).instance == name]
        assert len(times) > 40
        assert all(later - at >= 1.0 - 1e-9 for at, later in zip(times, times[4:], strict=False))
    assert max(len(said) for *_, said in fleet.published) < 300_000


async def test_messages_are_numbered_one_by_one_and_say_who_speaks(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    fleet.watch()
    await trio.sleep(5)
    fleet.watch()
    await trio.sleep(1)
    assert [message.number for message in fleet.messages] == list(range(1, len(fleet.messages) + 1))
    assert {(message.version, message.instance) for message in fleet.messages} == {(VERSION, "a")}
    assert {channel for _, channel, _ in fleet.published} == {keys.EVENTS}


async def test_a_number_is_missing_where_redis_did_not_take_a_message(
    autojump_clock: MockClock, fleet: Fleet, instance: Instance
) -> None:
    fleet.watch()
    await trio.sleep(0.1)
    instance.link.cut()
    await trio.sleep(0.5)
    instance.link.mend()
    await trio.sleep(0.3)
    assert [message.number for message in fleet.messages] == [1, 4]


async def test_coins_are_in_every_fourth_message(autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk) -> None:
    fleet.watch()
    await trio.sleep(2)
    assert [snapshot.coins is not None for snapshot in snapshots(fleet)] == [True, False, False, False] * 2


async def test_coins_are_in_the_next_message_when_a_monitor_asks(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    fleet.watch()
    await trio.sleep(0.4)
    fleet.watch(b"snapshot")
    fleet.watch(b"watch")
    await trio.sleep(0.6)
    assert [snapshot.coins is not None for snapshot in snapshots(fleet)] == [True, False, True, False]


@pytest.mark.parametrize("word", [b"watch", b"", b"\xff\xfe", b"snapshots please"])
async def test_any_other_word_is_one_that_watches(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, word: bytes
) -> None:
    fleet.watch(b"watch")
    await trio.sleep(0.1)
    fleet.watch(word)
    await trio.sleep(0.2)
    assert [snapshot.coins is not None for snapshot in snapshots(fleet)] == [True, False]


@pytest.mark.parametrize(("heard_after_s", "told"), [(0.0, 1), (2.9, 1), (3.1, 0)])
async def test_a_monitor_that_watches_already_hears_that_an_instance_started(
    autojump_clock: MockClock, fleet: Fleet, broadcast: Broadcast, heard_after_s: float, told: int
) -> None:
    broadcast.tell_started()
    await trio.sleep(heard_after_s)
    fleet.watch()
    await trio.sleep(0.1)
    assert len(fleet.told(Started)) == told


async def test_it_hears_nothing_else_that_happened_before_it_was_heard(
    autojump_clock: MockClock, fleet: Fleet, broadcast: Broadcast
) -> None:
    broadcast.tell_started()
    broadcast.tell(Draining(1))
    await trio.sleep(0.1)
    fleet.watch()
    await trio.sleep(0.1)
    assert [type(event) for event in fleet.messages[0].events] == [Started]


async def test_a_drain_is_told_and_shown(autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk) -> None:
    fleet.watch()
    await trio.sleep(0.1)
    desk.drain()
    await trio.sleep(0.2)
    assert len(fleet.told(Draining)) == 1
    assert [snapshot.draining for snapshot in snapshots(fleet)] == [False, True]


async def test_the_last_word_is_that_it_stopped_with_how_it_stood(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, instance: Instance, broadcast: Broadcast
) -> None:
    await ask(desk)
    fleet.watch()
    await trio.sleep(0.1)
    desk.drain()
    await broadcast.say_goodbye(instance.snapshots)
    fleet.watch()
    await trio.sleep(5)
    last = fleet.messages[-1]
    assert isinstance(last.events[-1], Stopped)
    assert last.snapshot is not None
    assert (last.snapshot.answered, last.snapshot.draining) == (1, True)


async def test_the_last_word_comes_after_a_message_that_was_on_its_way(
    autojump_clock: MockClock, fleet: Fleet, instance: Instance, broadcast: Broadcast
) -> None:
    fleet.redis_latency_s = 0.1
    fleet.watch(b"snapshot")
    await trio.sleep(0.05)  # the outbox is being asked
    await broadcast.say_goodbye(instance.snapshots)
    await trio.sleep(5)
    assert isinstance(fleet.messages[-1].events[-1], Stopped)
    assert len(fleet.messages) == 1


async def test_a_caller_over_its_limit_is_one_event_a_tick_with_how_often(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    fleet.watch()
    await trio.sleep(0.1)
    with trio.move_on_after(0.05):
        async with trio.open_nursery() as nursery:
            for number in range(45):
                nursery.start_soon(ask, desk, f"coin-{number}", "user:a" if number % 2 else "user:b")
    await trio.sleep(0.3)
    await ask(desk)
    await trio.sleep(0.3)
    told = [(event.caller, event.limit, event.times) for event in fleet.told(Limited)]
    assert sorted(told[:2]) == [("user:a", 20, 2), ("user:b", 20, 3)]
    assert told[2:] == [("user:a", 20, 1)]


async def test_of_a_storm_of_events_the_latest_are_told_and_the_others_counted(
    autojump_clock: MockClock, fleet: Fleet, broadcast: Broadcast
) -> None:
    fleet.watch()
    await trio.sleep(0.1)
    for number in range(MOST_EVENTS + 10):
        broadcast.tell(limited(f"user:{number}"))
    broadcast.tell(limited(f"user:{MOST_EVENTS}"))
    await trio.sleep(0.5)
    _, storm, calm = fleet.messages
    callers = [event.caller for event in storm.events if isinstance(event, Limited)]
    assert (len(callers), callers[0], callers[-1]) == (MOST_EVENTS, "user:10", f"user:{MOST_EVENTS}")
    assert (storm.missed, calm.missed, calm.events) == (10, 0, [])


async def test_events_are_told_in_the_order_in_which_they_happened(
    autojump_clock: MockClock, fleet: Fleet, broadcast: Broadcast
) -> None:
    fleet.watch()
    await trio.sleep(0.1)
    happened: list[Event] = [NextCall(1, 10), limited("user:a"), NextCall(2, 20), Draining(3)]
    for event in happened:
        broadcast.tell(event)
    await trio.sleep(0.2)
    assert fleet.messages[-1].events == happened


async def test_what_happened_while_nobody_watched_is_not_told_later(
    autojump_clock: MockClock, fleet: Fleet, broadcast: Broadcast
) -> None:
    fleet.watch()
    await trio.sleep(3.1)
    for number in range(MOST_EVENTS + 1):
        broadcast.tell(NextCall(number, 0))  # after the last message that this watch brought
    await trio.sleep(1)
    broadcast.tell(Draining(2))
    fleet.watch()
    await trio.sleep(1)
    assert {(len(message.events), message.missed) for message in fleet.messages} == {(0, 0)}


async def test_the_lag_is_how_late_the_instance_woke(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    fleet = Fleet(nursery)
    await fleet.start_instance("a")
    fleet.watch()
    await trio.testing.wait_all_tasks_blocked()
    for step_s in (0.25, 0.75, 0.25):
        mock_clock.jump(step_s)
        await trio.testing.wait_all_tasks_blocked()
    assert [snapshot.process.lag_ms for snapshot in snapshots(fleet)] == [0, 0, 500, 0]


async def test_the_depth_of_the_outbox_is_asked_once_a_second(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, instance: Instance
) -> None:
    asked = itertools.count()
    fleet.watch()
    await ask(desk)
    await trio.sleep(1)
    fleet.watch()
    outbox_depth = instance.snapshots._coordinator.outbox_depth

    async def count() -> int:
        next(asked)
        return await outbox_depth()

    instance.snapshots._coordinator.outbox_depth = count  # type: ignore[method-assign] # to count
    await trio.sleep(2)
    assert next(asked) == 2
    assert snapshots(fleet)[-1].process.outbox == 1


async def test_callers_are_the_latest_charged(autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(MOST_CALLERS + 5):
            nursery.start_soon(ask, desk, "bitcoin", f"user:{number:02}")
    fleet.watch()
    await trio.sleep(0.1)
    assert len(snapshots(fleet)[-1].callers) == MOST_CALLERS
