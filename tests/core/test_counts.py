"""What is counted of flushes and calls, over the instances that made them; in virtual time."""

import pytest
import trio
from trio.testing import MockClock

from core.counts import Counts, Histogram
from core.errors import UpstreamFailed, UpstreamLimited
from tests.core.model import Fleet
from tests.core.test_flush_report import ask_all
from tests.core.test_watch import ask


@pytest.fixture
async def fleet(nursery: trio.Nursery) -> Fleet:
    fleet = Fleet(nursery)
    for name in "ab":
        await fleet.start_instance(name)
    return fleet


def counts_of(fleet: Fleet, name: str = "a") -> Counts:
    return fleet.instances[name].tally.counts


def test_a_value_on_a_bound_is_below_it_and_one_beyond_all_is_counted_too() -> None:
    histogram = Histogram((1, 2))
    for each in (0.5, 1, 1.5, 7):
        histogram.note(each)
    assert (histogram.places, histogram.total) == ([2, 1, 1], 10)


async def test_a_flush_is_one_call_for_its_coins_and_settles_its_batches(
    autojump_clock: MockClock, fleet: Fleet
) -> None:
    await ask_all(fleet, "bitcoin", "ethereum")
    counts = counts_of(fleet)
    assert (counts.calls["prices", "answered"], counts.calls.total(), counts.coins_a_call.total) == (1, 1, 2)
    assert (counts.batches["window"], counts.batches.total()) == (2, 2)
    assert (counts.flushes["answered"], counts.flushes.total()) == (1, 1)
    assert (counts.takeovers, counts.fenced) == (0, 0)
    assert sum(counts.waits.places) == 2
    assert counts.waits.total == pytest.approx(10.2)


@pytest.mark.parametrize(("failure", "outcome"), [(UpstreamFailed("no"), "failed"), (UpstreamLimited("no"), "limited")])
async def test_a_call_that_failed_is_counted_as_that(
    autojump_clock: MockClock, fleet: Fleet, failure: UpstreamFailed | UpstreamLimited, outcome: str
) -> None:
    fleet.upstream.failure = failure
    await ask_all(fleet, "bitcoin")
    counts = counts_of(fleet)
    assert (counts.calls["prices", outcome], counts.calls.total(), counts.flushes["failed"]) == (1, 1, 1)


async def test_a_takeover_is_counted_where_the_batch_went(autojump_clock: MockClock, fleet: Fleet) -> None:
    fleet.upstream.latency_s = 0.5
    counts = {name: counts_of(fleet, name) for name in "ab"}
    async with trio.open_nursery() as nursery:
        for instance in fleet.instances.values():
            nursery.start_soon(ask, instance.desk)
        await trio.sleep(5.3)
        (flusher,) = [name for name, each in fleet.instances.items() if any(w.view.flushing for w in each.windows)]
        fleet.kill(flusher)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    lost, other = counts.pop(flusher), counts.popitem()[1]
    assert (lost.takeovers, lost.batches.total()) == (0, 0)
    assert (other.takeovers, other.batches["takeover"]) == (1, 1)


async def test_a_result_that_redis_refused_is_counted_and_settles_nothing(
    autojump_clock: MockClock, fleet: Fleet
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_all, fleet, "bitcoin")
        await trio.sleep(5.05)
        for batch in fleet.redis.batches.values():
            batch.fence += 1
        await trio.sleep(0.2)
        counts = counts_of(fleet)
        assert (counts.fenced, counts.flushes["fenced"], counts.batches.total()) == (1, 1, 0)
        assert counts.calls["prices", "answered"] == 1
        nursery.cancel_scope.cancel()


async def test_a_call_that_could_not_begin_in_time_is_none(autojump_clock: MockClock, fleet: Fleet) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_all, fleet, "bitcoin")
        await trio.sleep(4.5)
        fleet.redis_latency_s = 0.6
        await trio.sleep(2.5)
        fleet.redis_latency_s = 0
    counts = counts_of(fleet)
    assert counts.flushes["lapsed"] >= 1
    assert counts.calls.total() == sum(counts.call_durations.places) == len(fleet.upstream.calls) == 1
