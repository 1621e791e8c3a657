"""How an instance describes itself, in virtual time."""

import trio
from trio.testing import MockClock

from core.batches import Wanted
from core.events import HISTOGRAM_MS, MOST_BATCHES, BatchView, Bucket, Snapshot
from core.freshness import Freshness
from core.price_desk import PriceDesk
from tests.core.model import START_MS, Fleet, settings_for_tests
from tests.core.test_watch import ask


async def snapshot_of(fleet: Fleet, name: str = "a", *, whole: bool = True) -> Snapshot:
    return await fleet.instances[name].snapshots.snapshot(0, whole=whole)


async def batches_of(fleet: Fleet, name: str = "a") -> list[BatchView]:
    return (await snapshot_of(fleet, name)).batches


async def test_a_batch_tells_how_long_its_oldest_request_waits_and_when_it_is_due(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = Fleet(nursery, settings_for_tests(batch_threshold=4))
    desk, other = await fleet.start_instance("a"), await fleet.start_instance("b")
    async with trio.open_nursery() as asking:
        for each in (other, desk, desk):
            asking.start_soon(ask, each)
            await trio.sleep(1)
        assert await batches_of(fleet) == [
            BatchView("batch-001", "bitcoin", "open", size=3, waiting=2, oldest_ms=2000, flush_in_ms=2000)
        ]
        asking.cancel_scope.cancel()


async def test_one_that_its_oldest_request_left_is_as_old_as_the_next(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            nursery.start_soon(trio.sleep, 0.5)
            async with trio.open_nursery() as leaving:
                leaving.start_soon(ask, desk)
                await trio.sleep(0.5)
                nursery.start_soon(ask, desk)
        await trio.sleep(1)
        assert [view.oldest_ms for view in await batches_of(fleet)] == [1500]
        nursery.cancel_scope.cancel()


async def test_for_lack_of_a_permit_a_batch_is_overdue(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    fleet = Fleet(nursery, settings_for_tests(upstream_calls_per_minute=10))
    desk = await fleet.start_instance("a")
    async with trio.open_nursery() as asking:
        asking.start_soon(ask, desk)
        await trio.sleep(5.4)
        (view,) = await batches_of(fleet)
        assert (view.state, view.flush_in_ms) == ("open", -400)
        asking.cancel_scope.cancel()


async def test_anothers_lease_is_told_as_far_as_it_is_known_and_ones_own_is_not(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk
) -> None:
    fleet.upstream.latency_s = 1.0
    async with trio.open_nursery() as nursery:
        for each in (desk, other):
            nursery.start_soon(ask, each)
        await trio.sleep(1)
        for each in (desk, other):
            nursery.start_soon(ask, each, "rides-along")
        await trio.sleep(4.2)
        views = [view for name in "ab" for view in await batches_of(fleet, name)]
        assert [view.state for view in views] == ["claimed"] * 4
        assert sorted((view.flushing, view.held_for_ms) for view in views) == [(False, 1300)] * 2 + [(True, 0)] * 2


async def test_of_many_batches_the_earliest_due_are_told_and_all_are_counted(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = Fleet(nursery, settings_for_tests(throttle_global_limit=1000))
    desk = await fleet.start_instance("a")
    async with trio.open_nursery() as asking:
        for number in range(MOST_BATCHES + 2):
            asking.start_soon(ask, desk, f"coin-{number}")
            await trio.sleep(0.001)
        snapshot = await snapshot_of(fleet)
        assert [view.coin_id for view in snapshot.batches] == [f"coin-{number}" for number in range(MOST_BATCHES)]
        assert snapshot.batches_in_all == snapshot.process.waiting == MOST_BATCHES + 2
        asking.cancel_scope.cancel()


async def test_what_was_done_is_in_the_totals_the_buckets_and_the_histograms(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    async with trio.open_nursery() as nursery:
        for coin_id in ("bitcoin", "bitcoin", "ethereum"):
            nursery.start_soon(ask, desk, coin_id)
        with trio.move_on_after(1):
            await ask(desk, "solana")
    snapshot = await snapshot_of(fleet)
    assert (snapshot.requests, snapshot.answered, snapshot.failed, snapshot.calls) == (4, 3, 1, 1)
    assert snapshot.buckets[-2:] == [Bucket(4, 0, 1, 0), Bucket(0, 3, 0, 1)]
    assert snapshot.waits[HISTOGRAM_MS.index(5500)] == sum(snapshot.waits) == 3
    assert snapshot.upstream[HISTOGRAM_MS.index(100)] == sum(snapshot.upstream) == 1
    assert snapshot.budget.minute_calls == 1


async def test_the_months_calls_are_those_that_redis_counted_with_the_flush_that_was_just_made(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = Fleet(nursery, settings_for_tests(upstream_calls_per_month=100))
    desk, other = await fleet.start_instance("a"), await fleet.start_instance("b")
    for each, name, calls in ((desk, "a", 1), (desk, "a", 2), (other, "b", 3)):
        await ask(each)
        assert (await snapshot_of(fleet, name)).budget.month_calls == fleet.redis.budget.calls == calls

    await fleet.start_instance("c")
    await trio.sleep(0.1)  # for its first round
    assert (await snapshot_of(fleet, "c")).budget.month_calls == 3


async def test_a_request_that_was_answered_by_a_price_at_hand_waited_for_nothing(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    await ask(desk)
    with desk.ask([Wanted("bitcoin", ("usd",))], caller="user:a", freshness=Freshness(max_age_s=60)) as request:
        await request.over()
        await trio.sleep(1)  # the answer is on its way
    assert (await snapshot_of(fleet)).waits[0] == 1


async def test_every_batch_is_counted_by_the_one_instance_that_opened_it(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk
) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(ask, (desk, other)[number % 2], f"coin-{number % 7}", f"user:{number}")
            await trio.sleep(0.01)  # or else one instance admits all of its own before the other does
    opened = [(await snapshot_of(fleet, name)).opened for name in "ab"]
    assert sum(opened) == len(fleet.redis.batches)
    assert min(opened) > 0


async def test_coins_tell_their_requests_and_the_prices_that_any_instance_fetched(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk
) -> None:
    await ask(desk)
    for _ in range(2):
        await ask(other)
    (coin,) = (await snapshot_of(fleet)).coins or []
    assert (coin.coin_id, sum(coin.requests)) == ("bitcoin", 1)
    assert (coin.vs_currency, coin.price, coin.before) == ("usd", "3", "2")
    assert coin.fetched_at_ms == START_MS + 15_200


async def test_coins_are_left_out_unless_all_is_wanted_and_counted_always(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    await ask(desk)
    snapshot = await snapshot_of(fleet, whole=False)
    assert (snapshot.coins, snapshot.coins_in_all) == (None, 1)


async def test_without_redis_the_depth_of_the_outbox_is_not_known(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    await ask(desk)
    assert (await snapshot_of(fleet)).process.outbox == 1
    fleet.instances["a"].link.cut()
    assert (await snapshot_of(fleet, whole=False)).process.outbox == 1
    assert (await snapshot_of(fleet)).process.outbox is None


async def test_settings_are_told_as_this_instance_has_them(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    fleet = Fleet(nursery, settings_for_tests(batch_threshold=7, batch_window_ms=1234, batch_ride_along=False))
    await fleet.start_instance("a")
    snapshot = await snapshot_of(fleet)
    assert (snapshot.threshold, snapshot.window_ms, snapshot.ride_along) == (7, 1234, False)
