"""What monitors and the log are told of flushes, in virtual time."""

from collections.abc import AsyncIterator, Sequence

import pytest
import structlog
import trio
from trio.testing import MockClock

from core.errors import UpstreamFailed, UpstreamLimited
from core.events import MOST_BATCHES, Claimed, Flushed, FlushedBatch
from core.flush_report import MOST_NAMED, FlushReport
from core.standings import Claimed as Claim
from tests.core.model import START_MS, Fleet
from tests.core.test_watch import ask


@pytest.fixture
async def fleet(nursery: trio.Nursery) -> AsyncIterator[Fleet]:
    fleet = Fleet(nursery)
    for name in "ab":
        await fleet.start_instance(name)
    async with trio.open_nursery() as watching:
        watching.start_soon(fleet.keep_watching)
        yield fleet
        watching.cancel_scope.cancel()


async def ask_all(fleet: Fleet, *coin_ids: str) -> None:
    async with trio.open_nursery() as nursery:
        for coin_id in coin_ids:
            nursery.start_soon(ask, fleet.instances["a"].desk, coin_id)
    await trio.sleep(0.5)


def claims_of(count: int) -> Sequence[Claim]:
    of_one = frozenset({"usd"})
    return [Claim(f"b{n}", f"coin-{n}", "ride-along", 1, 2, of_one, START_MS, START_MS) for n in range(count)]


async def test_a_flush_is_told_when_it_is_claimed_and_when_it_is_over(autojump_clock: MockClock, fleet: Fleet) -> None:
    fleet.redis_latency_s = 0.1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_all, fleet, "bitcoin", "bitcoin")
        await trio.sleep(2)
        nursery.start_soon(ask_all, fleet, "ethereum")
    (claimed,), (flushed,) = fleet.told(Claimed), fleet.told(Flushed)
    assert claimed.flush_id == flushed.flush_id == START_MS + 5100  # due 5 s after it was asked, claimed
    assert (claimed.trigger, claimed.coins, claimed.batches) == ("window", ["bitcoin", "ethereum"], 2)
    assert flushed.batches == [
        FlushedBatch("bitcoin", "window", size=2, open_ms=5000),
        FlushedBatch("ethereum", "ride-along", size=1, open_ms=3000),
    ]
    assert (flushed.trigger, flushed.requests, flushed.outcome, flushed.reason) == ("window", 3, "answered", "")
    assert (flushed.claim_ms, flushed.upstream_ms, flushed.publish_ms) == (100, 100, 100)


async def test_a_takeover_is_claimed_with_that_trigger(autojump_clock: MockClock, fleet: Fleet) -> None:
    fleet.upstream.latency_s = 0.5
    async with trio.open_nursery() as nursery:
        for instance in fleet.instances.values():
            nursery.start_soon(ask, instance.desk)
        await trio.sleep(5.3)
        (flusher,) = [name for name, each in fleet.instances.items() if any(w.view.flushing for w in each.windows)]
        fleet.kill(flusher)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert [event.trigger for event in fleet.told(Claimed)] == ["window", "takeover"]
    taken_over = fleet.told(Flushed)[-1]
    assert (taken_over.trigger, taken_over.outcome) == ("takeover", "answered")
    assert [(batch.trigger, batch.open_ms) for batch in taken_over.batches] == [("takeover", 6500)]


@pytest.mark.parametrize(
    ("failure", "kind"), [(UpstreamFailed("no"), "upstream_failed"), (UpstreamLimited("no"), "upstream_limited")]
)
async def test_a_flush_that_failed_says_why(
    autojump_clock: MockClock, fleet: Fleet, failure: UpstreamFailed | UpstreamLimited, kind: str
) -> None:
    fleet.upstream.failure = failure
    await ask_all(fleet, "bitcoin")
    (flushed,) = fleet.told(Flushed)
    assert (flushed.outcome, flushed.reason) == ("failed", kind)
    assert [batch.failure for batch in flushed.batches] == [kind]


async def test_one_unknown_coin_fails_its_batch_and_not_the_flush(autojump_clock: MockClock, fleet: Fleet) -> None:
    fleet.upstream.unknown = {"nocoin"}
    await ask_all(fleet, "bitcoin", "nocoin")
    (flushed,) = fleet.told(Flushed)
    assert (flushed.outcome, flushed.reason) == ("answered", "unknown_coin")
    failures = {batch.coin_id: batch.failure for batch in flushed.batches}
    assert failures == {"bitcoin": None, "nocoin": "unknown_coin"}


async def test_a_flush_that_another_instance_took_over_is_fenced(autojump_clock: MockClock, fleet: Fleet) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_all, fleet, "bitcoin")
        await trio.sleep(5.05)
        for batch in fleet.redis.batches.values():
            batch.fence += 1
    flushed = fleet.told(Flushed)[0]
    assert (flushed.outcome, flushed.upstream_ms) == ("fenced", 100)


async def test_a_permit_that_lapsed_is_told_and_its_call_is_not_counted(
    autojump_clock: MockClock, fleet: Fleet
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_all, fleet, "bitcoin")
        await trio.sleep(4.5)
        fleet.redis_latency_s = 0.6
        await trio.sleep(2.5)
        fleet.redis_latency_s = 0
    outcomes = [flushed.outcome for flushed in fleet.told(Flushed)]
    assert outcomes[0] == "lapsed"
    assert outcomes[-1] == "answered"
    snapshot = await fleet.instances["a"].snapshots.snapshot(0, whole=False)
    assert snapshot.calls == snapshot.budget.minute_calls == sum(snapshot.upstream) == len(fleet.upstream.calls) == 1


async def test_the_log_says_what_monitors_are_told(autojump_clock: MockClock, fleet: Fleet) -> None:
    fleet.upstream.unknown = {"nocoin"}
    with structlog.testing.capture_logs() as logs:
        await ask_all(fleet, "bitcoin", "nocoin")
    (line,) = [log for log in logs if log["event"] == "flush"]
    (flushed,) = fleet.told(Flushed)
    assert {name: line[name] for name in ("trigger", "requests", "outcome", "reason", "upstream_ms")} == {
        "trigger": flushed.trigger,
        "requests": flushed.requests,
        "outcome": flushed.outcome,
        "reason": flushed.reason,
        "upstream_ms": flushed.upstream_ms,
    }
    assert (sorted(line["coins"]), line["of"]) == (["bitcoin", "nocoin"], 2)


def test_however_many_batches_a_flush_holds_so_many_are_told() -> None:
    report = FlushReport(claims_of(MOST_BATCHES + 10), claim_ms=1)
    assert len(report.flushed(5000).batches) == MOST_BATCHES
    assert report.flushed(5000).requests == 2 * (MOST_BATCHES + 10)
    assert (len(report.claimed().coins), report.claimed().batches) == (MOST_NAMED, MOST_BATCHES + 10)


def test_a_batch_that_another_instance_opened_with_a_longer_window_was_open_for_no_less_than_nothing() -> None:
    (claim,) = claims_of(1)
    report = FlushReport([claim], claim_ms=1)
    assert [report.flushed(window_ms).batches[0].open_ms for window_ms in (5000, 0, -1000)] == [5000, 0, 0]
