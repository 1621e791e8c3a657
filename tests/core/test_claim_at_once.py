"""A batch that an admission fills exactly, and joins no other, is claimed in the same step."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import redis
import trio
from trio.testing import MockClock

from core import keys
from core.admissions import Ask
from core.batches import Wanted
from core.coordinator import Coordinator, Grant
from core.freshness import FETCH
from core.price_desk import PriceDesk
from core.redis_link import RedisLink
from core.standings import Claimed
from tests.core.asking import Asked, ask_at_once
from tests.core.model import Fleet, ModelCoordinator, settings_for_tests


@pytest.fixture
def client(redis_url: str) -> Any:  # redis-py's types cover its asynchronous half too
    return redis.Redis.from_url(redis_url, decode_responses=True)


async def granted_to(coordinator: Coordinator, *coins: str, may_claim: bool = True) -> Grant | None:
    """What is claimed by an admission of so many requests for a coin each."""
    asks = [Ask("user:ann", [Wanted(coin, ("usd",))], FETCH) for coin in coins]
    _, grant = await coordinator.admit(asks, may_claim=may_claim)
    return grant


def claimed_by(grant: Grant | None) -> Sequence[tuple[str, str, int]]:
    assert grant is not None
    claims = [standing for standing in grant.standings if isinstance(standing, Claimed)]
    assert len(claims) == len(grant.standings)
    return [(claim.coin_id, claim.trigger, claim.size) for claim in claims]


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_a_batch_that_is_exactly_full_is_claimed(coordinator: Coordinator, client: Any, before: int) -> None:
    for _ in range(before):
        assert await granted_to(coordinator, "bitcoin") is None
    grant = await granted_to(coordinator, *["bitcoin"] * (3 - before))
    assert claimed_by(grant) == [("bitcoin", "threshold", 3)]
    assert client.hget(keys.BUDGET, "calls") == "1"
    assert await granted_to(coordinator, "bitcoin") is None  # which opens the next


async def test_all_else_that_is_pending_rides_along(coordinator: Coordinator, client: Any) -> None:
    await granted_to(coordinator, "ethereum")
    await granted_to(coordinator, "ethereum", "tea")
    with client.pubsub(ignore_subscribe_messages=True) as feed:
        feed.subscribe(keys.FEED)
        feed.get_message(timeout=5)
        grant = await granted_to(coordinator, *["bitcoin"] * 3)
        told = msgspec.json.decode(feed.get_message(timeout=5)["data"])
    assert claimed_by(grant) == [
        ("bitcoin", "threshold", 3), ("ethereum", "ride-along", 2), ("tea", "ride-along", 1),
    ]  # fmt: skip
    assert (told["type"], len(told["batch_ids"])) == ("claimed", 2)


@pytest.mark.parametrize(("changes", "riders"), [({"batch_ride_along": False}, 0), ({"upstream_max_ids": 2}, 1)])
async def test_no_more_ride_along_than_there_is_room_for(
    link: RedisLink, coordinator: Coordinator, changes: dict[str, Any], riders: int
) -> None:
    small = Coordinator(link, settings_for_tests(**changes))
    await granted_to(small, "ethereum", "tea")
    assert len(claimed_by(await granted_to(small, *["bitcoin"] * 3))) == 1 + riders


async def test_the_characters_of_a_call_are_counted_from_its_first_coin_on(coordinator: Coordinator) -> None:
    long = [letter * 1650 for letter in "abc"]
    await granted_to(coordinator, *long[1:])
    assert len(claimed_by(await granted_to(coordinator, *long[:1] * 3))) == 3
    long = [letter * 1700 for letter in "def"]
    await granted_to(coordinator, *long[1:])
    assert len(claimed_by(await granted_to(coordinator, *long[:1] * 3))) == 2


@pytest.mark.parametrize("coins", [["bitcoin"] * 2, ["bitcoin"] * 4, ["bitcoin"] * 3 + ["tea"]])
async def test_where_fewer_or_more_came_nothing_is_claimed(coordinator: Coordinator, coins: list[str]) -> None:
    assert await granted_to(coordinator, *coins) is None


async def test_a_full_batch_that_one_more_joins_is_not_claimed(coordinator: Coordinator) -> None:
    await granted_to(coordinator, *["bitcoin"] * 3, may_claim=False)
    assert await granted_to(coordinator, "bitcoin") is None


async def test_who_may_not_claim_does_not(coordinator: Coordinator, client: Any) -> None:
    assert await granted_to(coordinator, *["bitcoin"] * 3, may_claim=False) is None
    assert client.hget(keys.BUDGET, "calls") == "0"


async def test_while_the_coins_last_call_is_under_way_the_next_batch_is_not_claimed(
    coordinator: Coordinator, client: Any
) -> None:
    assert await granted_to(coordinator, *["bitcoin"] * 3)
    assert await granted_to(coordinator, *["bitcoin"] * 3) is None
    assert client.hget(keys.BUDGET, "calls") == "1"


async def test_without_a_permit_nothing_is_claimed(link: RedisLink, client: Any) -> None:
    paced = Coordinator(link, settings_for_tests(upstream_calls_per_minute=10))
    assert await granted_to(paced, *["bitcoin"] * 3) is None  # the budget is not reckoned
    await paced.restore(9_000_000_000_000, 0)
    client.hset(keys.BUDGET, "next", 0)
    assert await granted_to(paced, *["tea"] * 3)
    assert await granted_to(paced, *["ethereum"] * 3) is None
    assert client.hget(keys.BUDGET, "calls") == "1"


async def test_three_at_once_wait_for_one_step_of_redis_before_their_call_and_nobody_asks_for_another(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ModelCoordinator, "claim")
    monkeypatch.delattr(Coordinator, "claim")
    fleet.redis_latency_s = 0.01
    await ask_at_once(asked, *[(desk,)] * 3)
    assert [at for at, *_ in fleet.upstream.calls] == [pytest.approx(0.01)]
    assert {(quote.size, quote.trigger) for quote in asked.quotes} == {(3, "threshold")}
    assert fleet.instances["a"].windows.budget_view().month_calls == 1


async def test_an_instance_that_has_not_reckoned_the_budget_yet_claims_nothing_with_an_admission(
    autojump_clock: MockClock, fleet: Fleet, asked: Asked
) -> None:
    fleet.redis_latency_s = 0.1
    desk = await fleet.start_instance("a")
    await ask_at_once(asked, *[(desk,)] * 3)
    assert [at for at, *_ in fleet.upstream.calls] == [
        pytest.approx(0.3)
    ]  # after reading it, restoring it, and a claim


async def test_what_was_claimed_with_an_admission_is_flushed_for_others_though_who_asked_left(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked, nursery: trio.Nursery
) -> None:
    fleet.redis_latency_s = 0.5
    nursery.start_soon(asked.ask, other)
    await trio.sleep(1)
    with trio.move_on_after(0.2):
        await ask_at_once(Asked(), *[(desk,)] * 2)
    await trio.sleep(1)
    assert [quote.size for quote in asked.quotes] == [3]
    assert fleet.instances["a"].tally.totals.calls == 1


async def test_what_is_claimed_when_the_last_windows_are_gone_is_left_to_others(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    fleet.redis_latency_s = 0.5
    with trio.move_on_after(0.2):
        await ask_at_once(asked, *[(desk,)] * 3)
    desk.drain()
    await desk.wait_empty()
    await fleet.instances["a"].windows.finish()
    await trio.sleep(1)
    assert fleet.redis.claimed
    assert fleet.upstream.calls == []
