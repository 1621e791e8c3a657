"""Which batches go with which upstream call, in virtual time: riders, room, leases, and who is answered when."""

from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from core.batches import Wanted
from core.coingecko import Fetched
from core.errors import UnknownCoin
from core.price_desk import PriceDesk
from tests.core.asking import Asked, ask_at_once
from tests.core.model import Fleet, ModelCoordinator, ModelUpstream, settings_for_tests


class PricedByName(ModelUpstream):
    """An upstream whose price of a coin is the length of its id."""

    async def fetch(
        self, coin_ids: Collection[str], vs_currencies: Collection[str], *, start_by: float = float("inf")
    ) -> Fetched:
        fetched = await super().fetch(coin_ids, vs_currencies, start_by=start_by)
        prices = {coin: dict.fromkeys(of_coin, Decimal(len(coin))) for coin, of_coin in fetched.prices.items()}
        return replace(fetched, prices=prices)


def triggers(asked: Asked) -> dict[str, str]:
    return {quote.price.coin_id: quote.trigger for quote in asked.quotes}


def calls(fleet: Fleet) -> list[tuple[Any, set[str]]]:
    return [(pytest.approx(at), coins) for at, coins, _ in fleet.upstream.calls]


async def test_when_one_batch_is_due_every_other_open_one_rides_along(
    autojump_clock: MockClock, fleet: Fleet, asked: Asked
) -> None:
    fleet.upstream = PricedByName()
    desk = await fleet.start_instance("a")
    async with trio.open_nursery() as nursery:
        for coin in ("bitcoin", "ethereum", "solana"):
            nursery.start_soon(asked.ask, desk, coin)
            await trio.sleep(1)

    assert calls(fleet) == [(5.0, {"bitcoin", "ethereum", "solana"})]
    assert asked.times == [5.1] * 3
    assert triggers(asked) == {"bitcoin": "window", "ethereum": "ride-along", "solana": "ride-along"}
    assert {(quote.price.coin_id, int(quote.price.price)) for quote in asked.quotes} == {
        ("bitcoin", 7),
        ("ethereum", 8),
        ("solana", 6),
    }
    assert len({quote.price.batch_id for quote in asked.quotes}) == 3


async def test_a_batch_that_is_full_takes_the_others_along_at_once(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk, "ethereum")
        await trio.sleep(1)
        await ask_at_once(asked, (desk,), (desk,), (desk,))

    assert calls(fleet) == [(1.0, {"bitcoin", "ethereum"})]
    assert asked.times == [1.1] * 4
    assert triggers(asked) == {"bitcoin": "threshold", "ethereum": "ride-along"}
    assert {(quote.price.coin_id, quote.size) for quote in asked.quotes} == {("bitcoin", 3), ("ethereum", 1)}


async def test_the_threshold_counts_a_coins_requests_on_all_instances_and_no_others(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        for each, coin in ((desk, "bitcoin"), (other, "bitcoin"), (other, "ethereum"), (desk, "solana")):
            nursery.start_soon(asked.ask, each, coin)
        await trio.sleep(1)
        assert fleet.upstream.calls == []
        nursery.start_soon(asked.ask, other)

    assert calls(fleet) == [(1.0, {"bitcoin", "ethereum", "solana"})]
    assert triggers(asked) == {"bitcoin": "threshold", "ethereum": "ride-along", "solana": "ride-along"}


async def test_batches_of_other_instances_ride_too_and_are_answered_at_that_moment(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    others = [await fleet.start_instance(name) for name in "bc"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(1)
        nursery.start_soon(asked.ask, others[0], "ethereum")
        nursery.start_soon(asked.ask, others[1], "solana")

    assert calls(fleet) == [(5.0, {"bitcoin", "ethereum", "solana"})]
    assert asked.times == [5.1] * 3
    assert triggers(asked) == {"bitcoin": "window", "ethereum": "ride-along", "solana": "ride-along"}
    assert [fleet.instances[name].tally.totals.calls for name in "abc"] == [1, 0, 0]


async def test_without_ride_along_each_coin_has_a_call_of_its_own_at_its_own_time(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = Fleet(nursery, settings_for_tests(batch_ride_along=False))
    desk, other = await fleet.start_instance("a"), await fleet.start_instance("b")
    async with trio.open_nursery() as asking:
        asking.start_soon(asked.ask, desk)
        await trio.sleep(1)
        asking.start_soon(asked.ask, desk, "ethereum")
        asking.start_soon(asked.ask, other, "tether")
        await trio.sleep(1)
        for _ in range(3):
            asking.start_soon(asked.ask, other, "solana")

    at_six = sorted(fleet.upstream.calls[2:], key=lambda call: sorted(call[1]))
    assert calls(fleet)[:2] == [(2.0, {"solana"}), (5.0, {"bitcoin"})]
    assert at_six == [(6.0, {"ethereum"}, {"usd"}), (6.0, {"tether"}, {"usd"})]
    assert asked.times == [2.1] * 3 + [5.1, 6.1, 6.1]
    assert triggers(asked) == {"bitcoin": "window", "ethereum": "window", "tether": "window", "solana": "threshold"}


async def test_a_coin_that_is_missing_in_the_answer_is_unknown_and_harms_nobody(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk
) -> None:
    fleet.upstream.unknown = {"nocoin"}
    known, unknown = Asked(), Asked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(unknown.ask, desk, "nocoin")
        nursery.start_soon(known.ask, desk, "bitcoin")
        nursery.start_soon(known.ask, desk, "ethereum")

    assert calls(fleet) == [(5.0, {"nocoin", "bitcoin", "ethereum"})]
    assert (unknown.times, unknown.errors) == ([5.1], [UnknownCoin])
    assert known.times == [5.1, 5.1]
    assert sorted(price.coin_id for price in fleet.redis.outbox) == ["bitcoin", "ethereum"]


async def test_a_call_asks_for_all_currencies_that_anybody_wants_and_each_gets_its_own(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    await ask_at_once(asked, (desk, "bitcoin", "usd"), (desk, "ethereum", "eur"), (other, "bitcoin", "jpy"))

    assert fleet.upstream.calls == [(5.0, {"bitcoin", "ethereum"}, {"usd", "eur", "jpy"})]
    pairs = [("bitcoin", "jpy"), ("bitcoin", "usd"), ("ethereum", "eur")]
    assert sorted((quote.price.coin_id, quote.price.vs_currency) for quote in asked.quotes) == pairs
    assert sorted((price.coin_id, price.vs_currency) for price in fleet.redis.outbox) == pairs


async def test_what_finds_no_room_in_a_call_goes_with_the_next_the_earliest_deadlines_first(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = Fleet(nursery, settings_for_tests(upstream_max_ids=2))
    desk, other = await fleet.start_instance("a"), await fleet.start_instance("b")
    async with trio.open_nursery() as asking:
        for each, coin in ((desk, "e"), (other, "d"), (desk, "c"), (other, "b"), (desk, "a")):
            asking.start_soon(asked.ask, each, coin)
            await trio.sleep(0.5)

    assert calls(fleet) == [(5.0, {"e", "d"}), (6.0, {"c", "b"}), (7.0, {"a"})]
    assert triggers(asked) == {"e": "window", "d": "ride-along", "c": "window", "b": "ride-along", "a": "window"}


async def test_more_ripe_coins_than_fit_into_one_call_make_several_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = Fleet(nursery, settings_for_tests(upstream_max_ids=2))
    desk = await fleet.start_instance("a")
    await ask_at_once(asked, *[(desk, coin) for coin in "abcde"])

    assert [at for at, _ in calls(fleet)] == [5.0] * 3
    assert sorted(len(coins) for _, coins in calls(fleet)) == [1, 2, 2]
    assert set[str]().union(*(coins for _, coins in calls(fleet))) == set("abcde")
    assert asked.times == [5.1] * 5


@pytest.mark.parametrize("name", ["a", "b"])
async def test_a_coin_whose_call_is_under_way_does_not_ride_and_its_next_batch_follows_when_that_call_ends(
    autojump_clock: MockClock, fleet: Fleet, asked: Asked, name: str
) -> None:
    desks = {each: await fleet.start_instance(each) for each in "ab"}
    fleet.upstream.latency_s = 1.0
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(asked.ask, desks["a"])
        await trio.sleep(0.2)
        for _ in range(3):
            nursery.start_soon(asked.ask, desks["a"])
            nursery.start_soon(asked.ask, desks[name], "ethereum")

    assert calls(fleet) == [(0.0, {"bitcoin"}), (0.2, {"ethereum"}), (1.0, {"bitcoin"})]
    assert asked.times == [1.0] * 3 + [1.2] * 3 + [2.0] * 3
    assert {quote.trigger for quote in asked.quotes} == {"threshold"}


async def test_the_next_batch_of_a_coin_under_way_rides_once_that_call_has_ended(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(asked.ask, desk)
        await trio.sleep(0.05)
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(0.95)
        for _ in range(3):
            nursery.start_soon(asked.ask, other, "ethereum")

    assert calls(fleet) == [(0.0, {"bitcoin"}), (1.0, {"bitcoin", "ethereum"})]
    assert [quote.trigger for quote in asked.quotes].count("ride-along") == 1


async def test_a_batch_that_nobody_waits_for_any_more_rides_but_never_causes_a_call(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    with trio.move_on_after(1):
        await Asked().ask(desk, "bitcoin")
    with trio.move_on_after(1):
        await Asked().ask(other, "solana")
    await asked.ask(desk, "ethereum")

    assert calls(fleet) == [(7.0, {"bitcoin", "ethereum", "solana"})]
    assert asked.times == [7.1]
    assert {price.coin_id for price in fleet.redis.outbox} == {"bitcoin", "ethereum", "solana"}


async def test_where_room_is_little_a_batch_that_nobody_waits_for_gets_no_call_of_its_own(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = Fleet(nursery, settings_for_tests(upstream_max_ids=1))
    desk = await fleet.start_instance("a")
    with trio.move_on_after(1):
        await Asked().ask(desk, "bitcoin")
    await asked.ask(desk, "ethereum")

    assert calls(fleet) == [(6.0, {"ethereum"})]


async def lose_a_flusher_with_riders(fleet: Fleet, asked: Asked, survivors: str) -> None:
    """At 1.0 s "a" claims a full batch and three riders that others wait for; it dies at 1.2 s, its lease at 2.5 s."""
    desks = {name: await fleet.start_instance(name) for name in "abc"}
    fleet.upstream.latency_s = 1.0
    async with trio.open_nursery() as nursery:
        for name, coin in zip(survivors, ("ethereum", "solana", "tether"), strict=True):
            nursery.start_soon(asked.ask, desks[name], coin)
        await trio.sleep(1)
        with trio.move_on_after(0.2):
            await ask_at_once(Asked(), *[(desks["a"],)] * 3)
        fleet.kill("a")


async def test_riders_of_a_flusher_that_died_are_taken_over_by_one_call_when_its_lease_ends(
    autojump_clock: MockClock, fleet: Fleet, asked: Asked
) -> None:
    await lose_a_flusher_with_riders(fleet, asked, survivors="bbb")

    riders = {"ethereum", "solana", "tether"}
    assert calls(fleet) == [(at, {"bitcoin"} | riders) for at in (1.0, 2.5)]
    assert asked.times == [3.5] * 3
    assert triggers(asked) == dict.fromkeys(riders, "takeover")


async def test_riders_whom_several_instances_wait_for_are_taken_over_by_one_call_too(
    autojump_clock: MockClock, fleet: Fleet, asked: Asked
) -> None:
    await lose_a_flusher_with_riders(fleet, asked, survivors="bcb")

    riders = {"ethereum", "solana", "tether"}
    assert calls(fleet) == [(at, {"bitcoin"} | riders) for at in (1.0, 2.5)]
    assert asked.times == [3.5] * 3


async def test_a_thousand_batches_ripe_at_once_cost_a_few_steps_of_redis_not_one_each(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Counter[str]()

    def count(name: str) -> None:
        step = getattr(ModelCoordinator, name)

        async def counted(*args: Any, **named: Any) -> Any:
            steps[name] += 1
            return await step(*args, **named)

        monkeypatch.setattr(ModelCoordinator, name, counted)

    for name in ("charge", "admit", "outlook", "claim", "renew", "release", "complete", "permit", "restore", "look"):
        count(name)
    coins = [f"coin-{number}" for number in range(1000)]
    with desk.ask([Wanted(coin, ("usd",)) for coin in coins], caller="user:a") as request:
        await request.over()
        quotes = [waiter.quote("usd") for waiter in request.admitted()]

    assert [quote.price.coin_id for quote in quotes] == coins
    assert trio.current_time() == pytest.approx(5.1)
    assert [len(asked_for) for _, asked_for in calls(fleet)] == [500, 500]
    assert steps == {"admit": 1, "claim": 2, "complete": 2}
