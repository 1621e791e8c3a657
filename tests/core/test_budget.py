"""The budget of upstream calls in virtual time: permits, refusals, trouble upstream, and the month."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from core.batches import Quote
from core.coordinator import Grant
from core.errors import CryptoPulseError, OverBudget, UpstreamFailed, UpstreamLimited
from core.flush_policy import Call
from core.price_desk import PriceDesk
from tests.core.asking import Asked, ask_at_once
from tests.core.model import START_MS, Fleet, ModelCoordinator, settings_for_tests
from tests.core.model_budget import ModelLedger

FEBRUARY_ENDS_MS = 1_772_323_200_000
FEBRUARY_ENDS_S = (FEBRUARY_ENDS_MS - START_MS) / 1000  # on the clock of a test
MARCH_ENDS_MS = 1_775_001_600_000

COINS = ("bitcoin", "ethereum", "solana", "tether", "cardano")


def fleet_of(nursery: trio.Nursery, **changes: object) -> Fleet:
    return Fleet(nursery, settings_for_tests(**{"throttle_global_limit": 1_000_000} | changes))


@pytest.fixture
async def fleet(nursery: trio.Nursery) -> Fleet:
    """Without a budget."""
    return fleet_of(nursery)


async def instances(fleet: Fleet, names: str) -> list[PriceDesk]:
    return [await fleet.start_instance(name) for name in names]


async def keep_asking(asked: Asked, desks: Sequence[PriceDesk], *, every_s: float, for_s: float) -> None:
    """Ask for five coins, on all instances, in turn; return when all are answered."""
    async with trio.open_nursery() as nursery:
        for number in range(round(for_s / every_s)):
            nursery.start_soon(asked.ask, desks[number % len(desks)], COINS[number % len(COINS)])
            await trio.sleep(every_s)


async def fill(asked: Asked, desk: PriceDesk, coin: str = "bitcoin") -> None:
    """Fill a coin's batch, so that it is to be flushed at once."""
    await ask_at_once(asked, *[(desk, coin)] * 3)


async def fail_once(fleet: Fleet, desk: PriceDesk, failure: CryptoPulseError) -> None:
    """Make one call that fails."""
    fleet.upstream.failure = failure
    await fill(Asked(), desk, "failing")
    fleet.upstream.failure = None


def limited(seconds: int | None) -> UpstreamLimited:
    return UpstreamLimited("slow down", retry_after_s=seconds)


def called_at(fleet: Fleet) -> list[float]:
    return [round(at, 3) for at, *_ in fleet.upstream.calls]


def times(asked: Asked) -> list[float]:
    return [round(at, 3) for at, _ in asked.answers]


def coins_called(fleet: Fleet) -> list[set[str]]:
    return [coins for _, coins, _ in fleet.upstream.calls]


def refusals(asked: Asked) -> list[tuple[float, int | None]]:
    """When, and for how long, requests were refused for lack of a permit."""
    return [(round(at, 3), error.retry_after_s) for at, error in asked.answers if isinstance(error, OverBudget)]


def have_kept(fleet: Fleet, calls: int) -> None:
    """Have Postgres know of so many calls of the month."""
    for instance in fleet.instances.values():
        ledger = instance.windows._rounds._ledger
        assert isinstance(ledger, ModelLedger)
        ledger.calls_in_postgres = calls


# The minute


@pytest.mark.parametrize("redis_latency_s", [0.0, 0.01])
async def test_calls_of_all_instances_are_an_interval_apart_and_each_carries_everything_that_waits(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked, redis_latency_s: float
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=30, batch_threshold=1)
    fleet.redis_latency_s = redis_latency_s
    desks = await instances(fleet, "abc")
    await keep_asking(asked, desks, every_s=0.151, for_s=60.4)  # never just when a call is made

    assert len(asked.quotes) == len(asked.answers) == 400
    gaps = [later - earlier for earlier, later in pairwise(at for at, *_ in fleet.upstream.calls)]
    assert min(gaps) >= 2.1 - 1e-6
    assert max(gaps) <= 2.1 + 5 * redis_latency_s + 1e-6, "a permit was left unused"
    for answered_at, quote in asked.answers:
        assert isinstance(quote, Quote)
        asked_at = answered_at - quote.batch_ms / 1000
        # Whoever came while the claim was on its way may be in it or not.
        first = [number for number, (at, *_) in enumerate(fleet.upstream.calls, 1) if at > asked_at]
        assert int(quote.price.price) in first[: 1 if redis_latency_s == 0 else 2]
    assert len(set(map(int, (quote.price.price for quote in asked.quotes)))) == len(fleet.upstream.calls)


async def test_an_empty_redis_starts_with_a_full_interval_to_wait(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=10, batch_threshold=1)
    await trio.sleep(1)
    desk, _ = await instances(fleet, "ab")
    await asked.ask(desk)

    assert called_at(fleet) == [7.3]
    assert times(asked) == [7.4]


async def test_an_instance_that_joins_a_fleet_does_not_put_its_next_call_off(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=10, batch_threshold=1)
    [desk] = await instances(fleet, "a")
    await trio.sleep(6)
    await fleet.start_instance("b")
    await asked.ask(desk)

    assert called_at(fleet) == [6.3]


async def test_past_its_window_a_batch_collects_until_the_permit(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=10)
    desk, other = await instances(fleet, "ab")
    async with trio.open_nursery() as asking:
        asking.start_soon(asked.ask, desk)
        await trio.sleep(5.5)
        asking.start_soon(asked.ask, other)
        asking.start_soon(asked.ask, other, "ethereum")

    assert called_at(fleet) == [6.3]
    assert times(asked) == [6.4] * 3
    assert {(quote.price.coin_id, quote.size, quote.trigger) for quote in asked.quotes} == {
        ("bitcoin", 2, "window"),
        ("ethereum", 1, "ride-along"),
    }


async def test_beyond_the_earliest_call_a_request_is_refused_at_once_uncharged_and_told_when_to_come_back(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=6, batch_threshold=1)  # the first call is at 10.5
    [desk] = await instances(fleet, "a")
    await trio.sleep(1)
    await asked.ask(desk)

    [(refused_at, retry_after_s)] = refusals(asked)
    assert (refused_at, retry_after_s) == (1.0, 4)
    assert fleet.redis.charges.get("user:a", []) == []
    assert fleet.redis.open == {}

    await trio.sleep(retry_after_s or 0)
    await asked.ask(desk)
    assert times(asked) == [1.0, 10.6]
    assert len(fleet.redis.charges["user:a"]) == len(asked.quotes) == 1


async def test_a_request_whose_deadline_is_just_after_the_earliest_call_is_admitted_and_answered(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=6, batch_threshold=1)
    [desk] = await instances(fleet, "a")
    await trio.sleep(2.46)
    await asked.ask(desk)
    await trio.sleep(0.19)
    await asked.ask(desk)

    assert refusals(asked) == [(2.46, 3)]
    assert called_at(fleet) == [10.5]
    assert times(asked) == [2.46, 10.6]


async def test_where_earlier_calls_are_full_of_others_a_request_is_told_of_the_first_with_room(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=10, batch_threshold=1, upstream_max_ids=2)
    desk, other = await instances(fleet, "ab")
    async with trio.open_nursery() as asking:
        asking.start_soon(asked.ask, desk, "bitcoin")
        asking.start_soon(asked.ask, other, "ethereum")
        await trio.sleep(1)
        await asked.ask(desk, "solana")  # whose call comes at 12.6
        asking.start_soon(asked.ask, desk, "ethereum")
        await trio.sleep(7)
        await asked.ask(other, "solana")

    assert refusals(asked) == [(1.0, 7)]
    assert coins_called(fleet) == [{"bitcoin", "ethereum"}, {"solana"}]
    assert called_at(fleet) == [6.3, 12.6]
    assert len(asked.quotes) == 4


@pytest.mark.parametrize("after_s", [1.0, 1.7, 2.4])
async def test_whoever_comes_again_when_told_gets_a_call_though_others_come_in_between(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked, after_s: float
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=6, batch_threshold=1)
    desk, other = await instances(fleet, "ab")
    async with trio.open_nursery() as others:

        async def ask_for_ever() -> None:
            while True:
                others.start_soon(Asked().ask, other, "ethereum")
                await trio.sleep(0.25)

        others.start_soon(ask_for_ever)
        await trio.sleep_until(10.5 + after_s)  # after the first call
        while not asked.quotes:
            assert trio.current_time() < 60, "it starves"
            await asked.ask(desk)
            if waits := refusals(asked)[len(asked.quotes) :]:
                await trio.sleep(waits[-1][1] or 0)
        others.cancel_scope.cancel()

    assert asked.errors == [OverBudget]


async def test_a_drain_waits_for_its_permit(autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=10)
    [desk] = await instances(fleet, "a")
    await trio.sleep(2)
    async with trio.open_nursery() as asking:
        asking.start_soon(asked.ask, desk)
        asking.start_soon(asked.ask, desk, "ethereum")
        await trio.sleep(1)
        desk.drain()
        await desk.wait_empty()
        assert trio.current_time() == pytest.approx(6.4)
        await fleet.instances["a"].windows.finish()
        assert trio.current_time() == pytest.approx(6.4)

    assert called_at(fleet) == [6.3]
    assert {quote.trigger for quote in asked.quotes} == {"drain"}


@pytest.mark.parametrize("late_s", [0.4, 0.6])
async def test_a_permit_that_took_too_long_to_arrive_makes_no_call_and_the_batch_goes_with_a_later_one(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked, late_s: float
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=30, upstream_calls_per_month=10, batch_window_ms=1000)
    desk, _ = await instances(fleet, "ab")
    await trio.sleep(3)
    async with trio.open_nursery() as asking:
        asking.start_soon(asked.ask, desk)
        await trio.sleep(0.9)
        fleet.redis_latency_s = late_s  # for the claim asked for at 4.0
        await trio.sleep(0.1 + 0.5 * late_s)
        fleet.redis_latency_s = 0.0

    claimed_at = 4.0 + late_s
    if late_s < 0.5:
        assert called_at(fleet) == [claimed_at]
        assert {quote.trigger for quote in asked.quotes} == {"window"}
    else:
        assert called_at(fleet) == [round(claimed_at + 2.1, 3)]
        assert {quote.trigger for quote in asked.quotes} == {"takeover"}
    assert len(asked.quotes) == 1
    assert fleet.redis.budget.calls == fleet.instances["a"].tally.totals.calls == 1


async def test_whoever_waits_for_a_batch_that_another_instance_claimed_is_not_refused(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=6)
    desk, other = await instances(fleet, "ab")
    fleet.upstream.latency_s = 6.0
    await trio.sleep(12)
    async with trio.open_nursery() as asking:
        asking.start_soon(asked.ask, other)
        await trio.sleep(0.5)
        fleet.instances["b"].deaf = True  # to the news that the batch is full
        asking.start_soon(asked.ask, desk)
        asking.start_soon(asked.ask, desk)
        await trio.sleep(0.5)
        fleet.instances["b"].deaf = False

    # When the window ends on "b", at 17, the next call is too late for it; but its own is under way.
    assert called_at(fleet) == [12.5]
    assert times(asked) == [18.5] * 3
    assert len(asked.quotes) == 3


async def test_the_last_call_of_a_budget_answers_its_requests_on_all_instances(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=1)
    desks = await instances(fleet, "abc")
    await ask_at_once(asked, *[(desk,) for desk in desks], (desks[1], "ethereum"))

    assert called_at(fleet) == [0.0]
    assert len(asked.quotes) == 4


# Trouble upstream


async def test_who_waits_is_refused_the_moment_the_next_call_moves_beyond_the_deadline(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.failure = limited(60)
    async with trio.open_nursery() as asking:
        asking.start_soon(fill, Asked(), desk)
        await trio.sleep(0.05)  # while the call is under way, so it does not ride
        asking.start_soon(asked.ask, other, "ethereum")
        asking.start_soon(asked.ask, desk, "bitcoin")

    assert refusals(asked) == [(0.1, 55)] * 2
    assert called_at(fleet) == [0.0]


async def test_of_one_batch_those_stay_whose_deadline_is_later_than_the_next_call(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.latency_s = 2.0
    async with trio.open_nursery() as asking:
        asking.start_soon(fail_once, fleet, desk, limited(7))
        await trio.sleep(0.5)
        asking.start_soon(asked.ask, other)
        await trio.sleep(1)
        asking.start_soon(asked.ask, other)
        await trio.sleep(4.5)
        fleet.upstream.latency_s = 0.1

    assert refusals(asked) == [(2.0, 2)]
    assert called_at(fleet) == [0.0, 9.0]
    assert [(quote.size, quote.trigger) for quote in asked.quotes] == [(2, "window")]
    assert times(asked) == [2.0, 9.1]


async def test_a_retry_after_silences_the_whole_fleet_and_then_lets_one_probe_out(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, batch_ride_along=False)
    desks = await instances(fleet, "abc")
    await fail_once(fleet, desks[0], limited(5))
    fleet.upstream.latency_s = 1.0
    await trio.sleep(0.9)
    async with trio.open_nursery() as asking:
        for desk, coin in zip(desks, COINS, strict=False):
            asking.start_soon(fill, asked, desk, coin)
        await trio.sleep(4.6)  # the probe left at 5.1
        assert called_at(fleet) == [0.0, 5.1]
        asking.start_soon(fill, asked, desks[1], "tether")
        await trio.sleep(0.45)
        assert called_at(fleet) == [0.0, 5.1]

    # It comes back at 6.1, which opens the gate at once for all.
    assert called_at(fleet) == [0.0, 5.1, 6.1, 6.1, 6.1]
    assert len(asked.quotes) == len(asked.answers) == 12
    assert fleet.redis.budget.trouble == 0


async def test_a_refusal_by_coingecko_sends_nobody_back_before_our_own_pace_lets_them_in(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=1, batch_threshold=1)  # one call in 63 s
    (desk,) = await instances(fleet, "a")
    await trio.sleep(60)
    fleet.upstream.failure = limited(7)
    await asked.ask(desk)
    fleet.upstream.failure = None
    [(refused_at, refused)] = asked.answers
    assert isinstance(refused, UpstreamLimited)
    assert (round(refused_at, 1), refused.retry_after_s) == (63.1, 58)
    assert refused.message == "CoinGecko takes no more calls for now. Try again in 58 s."

    await trio.sleep(refused.retry_after_s or 0)
    await asked.ask(desk)
    assert called_at(fleet) == [63.0, 126.0]
    assert len(asked.quotes) == 1


async def test_failure_in_a_row_doubles_the_pause_up_to_the_window(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, batch_threshold=1)
    desks = await instances(fleet, "ab")
    fleet.upstream.failure = UpstreamFailed("no")
    await keep_asking(asked, desks, every_s=0.25, for_s=20)

    # The first is forgiven; after the second 1 s, 2 s, 4 s, 5 s of pause, and the 0.1 s of each call.
    assert called_at(fleet)[:7] == [0.0, 0.25, 1.35, 3.45, 7.55, 12.65, 17.75]
    assert set(asked.errors) == {UpstreamFailed}


async def test_a_single_failure_slows_nobody(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    for _ in range(3):  # and none that is not the second in a row
        await fail_once(fleet, desk, UpstreamFailed("no"))
        await fill(asked, other)

    assert called_at(fleet) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert len(asked.quotes) == 9


async def test_after_two_failures_in_a_row_the_fleet_pauses(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    await fail_once(fleet, desk, UpstreamFailed("no"))
    await fail_once(fleet, other, UpstreamFailed("no"))
    await fill(asked, desk)

    assert called_at(fleet) == [0.0, 0.1, 1.2]
    assert times(asked) == [1.3] * 3


async def test_the_success_of_an_older_call_does_not_lift_a_retry_after(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.latency_s = 2.0
    async with trio.open_nursery() as asking:
        asking.start_soon(fill, asked, desk)
        await trio.sleep(0.5)
        fleet.upstream.latency_s = 0.1
        await fail_once(fleet, other, limited(6))
        await trio.sleep(1.9)
        await fill(asked, desk, "solana")

    assert called_at(fleet) == [0.0, 0.5, 6.6]
    assert times(asked) == [2.0] * 3 + [6.7] * 3


async def test_a_prober_that_dies_does_not_close_the_gate_for_ever(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = fleet_of(nursery)
    answers = {name: Asked() for name in "ab"}
    desks = {name: await fleet.start_instance(name) for name in "ab"}
    await fail_once(fleet, desks["a"], limited(2))
    fleet.upstream.latency_s = 1.0
    async with trio.open_nursery() as asking:
        for name, coin in (("a", "bitcoin"), ("b", "ethereum")):
            asking.start_soon(fill, answers[name], desks[name], coin)
        await trio.sleep(2.4)
        prober = "a" if fleet.instances["a"].tally.totals.calls == 2 else "b"
        fleet.kill(prober)
        await trio.sleep(6)
        asking.cancel_scope.cancel()

    # The upstream's 2.5 s and one more after the probe left, the next one does.
    assert called_at(fleet) == [0.0, 2.1, 5.6]
    survivor = answers["b" if prober == "a" else "a"]
    assert times(survivor) == [6.6] * 3
    assert {quote.trigger for quote in survivor.quotes} == {"takeover"}
    assert fleet.redis.budget.trouble == 0


async def test_a_pause_is_no_shorter_than_the_pace(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=20, batch_threshold=1)  # 3.15 s
    desks = await instances(fleet, "ab")
    fleet.upstream.failure = UpstreamFailed("no")
    await keep_asking(asked, desks, every_s=0.25, for_s=10)
    fleet.upstream.failure = None
    await keep_asking(asked, desks, every_s=0.25, for_s=10)

    gaps = [later - earlier for earlier, later in pairwise(at for at, *_ in fleet.upstream.calls)]
    assert min(gaps) >= 3.15 - 1e-6
    assert fleet.redis.budget.trouble == 0
    assert len(asked.quotes) > 20


async def test_that_a_call_is_put_off_refuses_nobody_whose_own_call_is_under_way(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery)
    desk, other, third = await instances(fleet, "abc")
    fleet.upstream.latency_s = 2.0
    async with trio.open_nursery() as asking:
        asking.start_soon(asked.ask, third, "ethereum")  # which rides
        await trio.sleep(0.5)
        for each in (desk, desk, other):
            asking.start_soon(asked.ask, each)
        await trio.sleep(1)
        fleet.upstream.latency_s = 0.1
        await fail_once(fleet, third, limited(60))

    assert called_at(fleet) == [0.5, 1.5]
    assert times(asked) == [2.5] * 4
    assert len(asked.quotes) == 4


async def test_an_instance_that_missed_that_the_gate_was_opened_learns_it_when_it_looks(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    await fail_once(fleet, desk, limited(5))
    async with trio.open_nursery() as asking:
        asking.start_soon(fill, asked, other)
        await trio.sleep(1)
        fleet.instances["b"].deaf = True
        fleet.redis.budget.next = 0
        fleet.redis.budget.tell()
        fleet.spread_news()
        await trio.sleep(1)
        fleet.instances["b"].deaf = False
        await fleet.instances["b"].windows.look()

    assert called_at(fleet) == [0.0, 2.1]
    assert len(asked.quotes) == 3


async def test_an_instance_that_missed_that_the_gate_was_opened_learns_it_when_redis_lets_a_request_in(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=1)
    desk, other = await instances(fleet, "ab")
    await fill(Asked(), desk)
    fleet.instances["b"].deaf = True
    fleet.redis.budget.correct(1, 0)  # CoinGecko counted none
    fleet.spread_news()
    fleet.instances["b"].deaf = False
    await fill(asked, other)

    assert called_at(fleet) == [0.0, 0.1]
    assert len(asked.quotes) == 3


async def test_what_was_asked_before_the_gate_was_opened_does_not_close_it_again(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = ModelCoordinator.claim

    async def answer_slowly(self: ModelCoordinator, call: Call) -> Grant:
        grant = await claim(self, call)
        await trio.sleep(0.1)
        return grant

    fleet = fleet_of(nursery)
    desk, other = await instances(fleet, "ab")
    fleet.instances["b"].deaf = True
    await fail_once(fleet, desk, limited(5))
    fleet.instances["b"].deaf = False
    monkeypatch.setattr(ModelCoordinator, "claim", answer_slowly)
    async with trio.open_nursery() as asking:
        asking.start_soon(fill, asked, other)  # who asks, for it does not know of the pause
        await trio.sleep(0.05)
        fleet.redis.budget.next = 0
        fleet.redis.budget.tell()
        fleet.spread_news()

    assert len(asked.quotes) == 3
    assert times(asked)[-1] < 1, "as if the gate were closed"


async def test_whom_the_news_of_a_pause_overtook_on_its_way_in_is_refused_before_its_deadline(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit = ModelCoordinator.admit

    async def admit_slowly(self: ModelCoordinator, *args: Any, **how: Any) -> Any:
        admissions = await admit(self, *args, **how)
        await trio.sleep(0.05)  # its answer is on the way
        return admissions

    fleet = fleet_of(nursery)
    desk, other = await instances(fleet, "ab")
    async with trio.open_nursery() as asking:
        asking.start_soon(fail_once, fleet, desk, limited(60))
        await trio.sleep(0.08)
        monkeypatch.setattr(ModelCoordinator, "admit", admit_slowly)
        asking.start_soon(asked.ask, other, "ethereum")

    assert asked.errors == [OverBudget]
    assert times(asked)[0] <= 5.2, "when its batch is ripe, at the latest"


# The month


async def test_without_a_limit_each_months_calls_are_counted_as_redis_alone_knows_them(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery)
    desk, other = await instances(fleet, "ab")
    have_kept(fleet, 7)
    for _ in range(2):
        await fill(asked, desk)
    assert fleet.redis.budget.calls == 2

    await trio.sleep_until(FEBRUARY_ENDS_S + 1)
    await fill(asked, other)
    assert (fleet.redis.budget.calls, fleet.redis.budget.until) == (1, MARCH_ENDS_MS)

    fleet.redis.forget()
    await fill(asked, desk, "ethereum")
    assert fleet.redis.budget.calls == 1
    assert len(asked.quotes) == 12


async def test_the_last_call_of_the_month_stops_all_until_it_ends_and_the_next_begins_by_itself(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=2, batch_threshold=1)
    desk, other = await instances(fleet, "ab")
    await asked.ask(desk)
    await trio.sleep_until(1)
    await asked.ask(other)
    await trio.sleep_until(2.5)
    await asked.ask(other)
    await asked.ask(desk)

    assert refusals(asked) == [(2.5, 72_292)] * 2  # of 72,297.5 s, 5.5 s of which it can wait
    assert fleet.redis.budget.until == FEBRUARY_ENDS_MS

    await trio.sleep(72_298)
    for each in (desk, other, desk):
        await asked.ask(each)
        await trio.sleep(1)
    assert called_at(fleet) == [0.0, 1.0, 72_300.5, 72_301.6]
    assert refusals(asked)[2:] == [(72_302.7, 31 * 86_400 - 8)]
    assert (fleet.redis.budget.calls, fleet.redis.budget.until) == (2, MARCH_ENDS_MS)


async def test_whoever_waits_when_the_month_has_no_calls_left_is_refused_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=2)
    desk, other = await instances(fleet, "ab")
    fleet.upstream.latency_s = 1.0
    async with trio.open_nursery() as asking:
        asking.start_soon(fill, Asked(), desk)
        await trio.sleep(0.25)
        asking.start_soon(asked.ask, other)
        await trio.sleep(0.25)
        asking.start_soon(fill, Asked(), desk, "ethereum")

    assert refusals(asked) == [(0.5, 72_294)]


async def test_a_request_that_can_wait_for_the_next_month_is_answered_when_it_begins(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=1)
    [desk] = await instances(fleet, "a")
    await fill(Asked(), desk)
    await trio.sleep_until(FEBRUARY_ENDS_S - 7)
    await asked.ask(desk)

    assert times(asked) == [FEBRUARY_ENDS_S + 0.1]
    assert fleet.redis.budget.calls == 1


@pytest.mark.parametrize(
    ("failure", "calls"),
    [
        (UpstreamFailed("no connection", billed=False), 0),
        (UpstreamFailed("too slow", billed=True), 1),
        (limited(None), 0),
        (limited(3), 0),
    ],
)
async def test_a_call_that_costs_nothing_is_given_back_to_the_month(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked, failure: CryptoPulseError, calls: int
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=3)
    [desk] = await instances(fleet, "a")
    await fail_once(fleet, desk, failure)
    assert fleet.redis.budget.calls == calls

    await fill(asked, desk)
    assert fleet.redis.budget.calls == calls + 1
    assert len(asked.quotes) == 3


@pytest.mark.parametrize("failure", [UpstreamFailed("no connection", billed=False), limited(None), limited(3)])
async def test_the_months_last_call_if_it_cost_nothing_is_made_again(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked, failure: CryptoPulseError
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=1)
    desk, other = await instances(fleet, "ab")
    await fail_once(fleet, desk, failure)
    async with trio.open_nursery() as asking:
        asking.start_soon(asked.ask, desk, "ethereum")  # which rides
        await trio.sleep(0.5)
        asking.start_soon(fill, asked, other)

    assert len(asked.quotes) == 4
    assert fleet.redis.budget.calls == 1


async def test_a_call_of_last_month_that_is_given_back_is_none_of_this_month(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=1)
    desk, other = await instances(fleet, "ab")
    fleet.upstream.latency_s = 1.0
    await trio.sleep_until(FEBRUARY_ENDS_S - 0.5)
    async with trio.open_nursery() as asking:
        asking.start_soon(fail_once, fleet, desk, UpstreamFailed("no connection", billed=False))
        await trio.sleep(0.6)
        fleet.upstream.failure = None  # of the calls that begin now
        asking.start_soon(fill, asked, other)
    await fill(asked, other, "ethereum")

    assert len(asked.quotes) == 3
    assert asked.errors == [OverBudget] * 3
    assert fleet.redis.budget.calls == 1


async def test_when_redis_comes_back_empty_the_months_count_is_restored(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=10)
    desk, other = await instances(fleet, "ab")
    await trio.sleep(1)
    have_kept(fleet, 7)
    await fill(asked, desk)
    assert fleet.redis.budget.calls == 1

    for instance in fleet.instances.values():
        instance.link.cut()
    fleet.redis.forget()
    for instance in fleet.instances.values():
        instance.link.mend()
    await ask_at_once(asked, *[(other,)] * 3, *[(desk, "ethereum")] * 3)
    assert fleet.redis.budget.calls == 8
    assert len(asked.quotes) == 9


async def test_a_count_that_redis_still_has_is_never_lowered(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_month=10)
    [desk] = await instances(fleet, "a")
    await trio.sleep(1)
    have_kept(fleet, 1)
    for _ in range(3):
        await fill(asked, desk)
    fleet.redis.budget.process += 1  # restarted, with its memory
    await fill(asked, desk)

    assert fleet.redis.budget.calls == 4
    assert len(asked.quotes) == 12


async def test_a_redis_that_was_restarted_lets_a_whole_interval_go_by(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = fleet_of(nursery, upstream_calls_per_minute=10, batch_threshold=1)
    [desk] = await instances(fleet, "a")
    await trio.sleep(20)
    fleet.redis.budget.process += 1
    await asked.ask(desk)

    assert called_at(fleet) == [26.3]
