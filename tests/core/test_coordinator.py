"""The scripts on a real Valkey."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
import redis
import trio

from core import keys
from core.admissions import Admissions, Ask, Joined, Unknown
from core.batches import Failure, Result, Trigger, Wanted, unknown_coin
from core.coordinator import Coordinator
from core.errors import OutboxFull
from core.flush_policy import View
from core.freshness import FETCH, Freshness
from core.limits import OverLimit
from core.permits import Called
from core.redis_link import RedisLink, RedisRefused
from core.standings import Claimed, Gone, Held, Open, Settled, Standing
from tests.core.asking import admitted, call_of
from tests.core.model import settings_for_tests


def result_of(claim: Claimed, **prices: str) -> Result:
    return Result(
        batch_id=claim.batch_id,
        coin_id=claim.coin_id,
        trigger=claim.trigger,
        size=claim.size,
        fetched_at_ms=claim.claimed_at_ms,
        upstream_ms=1.5,
        prices={code: Decimal(text) for code, text in prices.items()},
        failure=None if prices else Failure("upstream_failed", "it failed"),
    )


async def admit(coordinator: Coordinator, coin_id: str = "bitcoin", currency: str = "usd") -> Joined:
    admissions = await admitted(coordinator, coin_id, currency=currency)
    (joined,) = admissions.of_coins
    assert isinstance(joined, Joined)
    return joined


async def admit_together(coordinator: Coordinator, *currencies: str) -> list[Joined]:
    asks = [Ask(f"user:{code}", [Wanted("bitcoin", (code,))], FETCH) for code in currencies]
    answers, _none = await coordinator.admit(asks)
    admitted = [answer for answer in answers if isinstance(answer, Admissions)]
    return [admission for answer in admitted for admission in answer.of_coins if isinstance(admission, Joined)]


async def remaining_after(coordinator: Coordinator, coin_id: str) -> int:
    return (await admitted(coordinator, coin_id)).charge.remaining


async def claim_all(coordinator: Coordinator, *batch_ids: str, trigger: Trigger = "window") -> list[Standing]:
    views = [View(batch_id, "bitcoin", due_at=0) for batch_id in batch_ids]
    return (await coordinator.claim(call_of(*((view, trigger) for view in views)))).standings


async def claim(coordinator: Coordinator, batch_id: str, coin_id: str = "bitcoin") -> Claimed:
    grant = await coordinator.claim(call_of((View(batch_id, coin_id, due_at=0), "window")))
    (claimed,) = grant.standings
    assert isinstance(claimed, Claimed)
    return claimed


async def complete(coordinator: Coordinator, claimed: Claimed, result: Result) -> set[str]:
    failure = result.failure and result.failure.kind
    outcomes = {"upstream_failed": "failed", "upstream_limited": "limited"}
    called = Called(outcomes.get(failure or "", "answered"))  # type: ignore[arg-type] # literals
    return await coordinator.complete(called, [(claimed, result)])


@pytest.fixture
def client(redis_url: str) -> Any:  # redis-py's types cover its asynchronous half too
    return redis.Redis.from_url(redis_url, decode_responses=True)


async def test_the_first_request_opens_a_batch_and_the_next_join_it(coordinator: Coordinator) -> None:
    first = await admit(coordinator)
    second = await admit(coordinator)
    other = await admit(coordinator, "ethereum")

    assert (first.size, second.size, other.size) == (1, 2, 1)
    assert first.batch_id == second.batch_id != other.batch_id
    assert 0 < second.due_in_ms <= first.due_in_ms <= 5000
    assert await remaining_after(coordinator, "bitcoin") == 16


async def test_requests_of_one_call_join_one_batch_and_that_it_is_full_is_told_once(
    coordinator: Coordinator, client: Any
) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as feed:
        feed.subscribe(keys.FEED)
        feed.get_message(timeout=5)
        joined = [await admit_together(coordinator, "usd", "eur") for _ in range(3)]
        client.publish(keys.FEED, "the end")
        told = [feed.get_message(timeout=5)["data"] for _ in range(2)]
    batch_id = joined[0][0].batch_id
    claimed = await claim(coordinator, batch_id)

    assert [each.size for pair in joined for each in pair] == [1, 2, 3, 4, 5, 6]
    assert (claimed.size, claimed.vs_currencies) == (6, frozenset({"usd", "eur"}))
    assert msgspec.json.decode(told[0]) == {"type": "full", "batch_id": batch_id, "size": 4}
    assert told[1] == "the end"


async def test_a_batch_that_was_opened_full_is_told_to_nobody(coordinator: Coordinator, client: Any) -> None:
    """Nobody else can wait for it."""
    with client.pubsub(ignore_subscribe_messages=True) as feed:
        feed.subscribe(keys.FEED)
        feed.get_message(timeout=5)
        joined = [*await admit_together(coordinator, "usd", "eur", "gbp"), await admit(coordinator)]
        client.publish(keys.FEED, "the end")
        told = feed.get_message(timeout=5)["data"]
    assert [each.size for each in joined] == [1, 2, 3, 4]
    assert told == "the end"


async def test_a_claim_tells_all_that_the_flush_needs(coordinator: Coordinator) -> None:
    admission = await admit(coordinator)
    await admit(coordinator, currency="eur")
    await admit(coordinator, currency="usd")

    claimed = await claim(coordinator, admission.batch_id)

    assert (claimed.coin_id, claimed.trigger, claimed.fence, claimed.size) == ("bitcoin", "window", 1, 3)
    assert claimed.vs_currencies == {"usd", "eur"}


async def test_a_claimed_batch_admits_nobody_and_is_held_against_others(coordinator: Coordinator) -> None:
    first = await admit(coordinator)
    await claim(coordinator, first.batch_id)
    second = await admit(coordinator)

    held, held_back = await claim_all(coordinator, first.batch_id, second.batch_id)

    assert second.batch_id != first.batch_id
    assert isinstance(held, Held)
    assert isinstance(held_back, Held)
    assert (held.itself, held_back.itself) == (True, False)
    assert 0 < held.lease_ms <= 1500


async def test_completion_keeps_the_result_frees_the_coin_and_fills_the_outbox(
    coordinator: Coordinator, client: Any
) -> None:
    first = await admit(coordinator)
    claimed = await claim(coordinator, first.batch_id)
    second = await admit(coordinator)
    result = result_of(claimed, usd="1E-12", eur="12345678.123456789")

    assert await complete(coordinator, claimed, result) == {first.batch_id}

    assert await coordinator.look([first.batch_id, second.batch_id]) == [
        Settled(first.batch_id, result),
        Open(second.batch_id, 1),
    ]
    assert [fields for _, fields in client.xrange(keys.OUTBOX)] == [
        {
            "batch": first.batch_id,
            "coin": "bitcoin",
            "currency": currency,
            "price": price,
            "at": str(claimed.claimed_at_ms),
        }
        for currency, price in (("usd", "0.000000000001"), ("eur", "12345678.123456789"))
    ]
    assert isinstance((await claim_all(coordinator, second.batch_id))[0], Claimed)


async def test_a_completion_that_comes_twice_counts_once(coordinator: Coordinator, client: Any) -> None:
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    result = result_of(claimed, usd="1")

    for _ in range(2):
        assert await complete(coordinator, claimed, result) == {claimed.batch_id}
    assert client.xlen(keys.OUTBOX) == 1


async def test_a_failure_reaches_the_looker_and_not_the_outbox(coordinator: Coordinator, client: Any) -> None:
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    failed = result_of(claimed)
    await complete(coordinator, claimed, failed)

    assert await coordinator.look([claimed.batch_id]) == [Settled(claimed.batch_id, failed)]
    assert client.xlen(keys.OUTBOX) == 0


async def test_when_the_lease_ends_another_takes_over_and_the_late_result_is_refused(
    coordinator: Coordinator, client: Any
) -> None:
    late = await claim(coordinator, (await admit(coordinator)).batch_id)
    client.hset(f"{keys.PREFIX}:batch:{late.batch_id}", "lease", "0")

    (taken,) = await claim_all(coordinator, late.batch_id)

    assert isinstance(taken, Claimed)
    assert (taken.fence, taken.trigger) == (late.fence + 1, "takeover")
    assert await coordinator.renew([late]) == 0
    assert await complete(coordinator, late, result_of(late, usd="1")) == set()
    assert await complete(coordinator, taken, result_of(taken, usd="2")) == {late.batch_id}


async def test_a_claim_tells_when_the_batch_was_due_also_when_it_is_taken_over(
    coordinator: Coordinator, client: Any
) -> None:
    joined = await admit(coordinator)
    name = f"{keys.PREFIX}:batch:{joined.batch_id}"
    claimed = await claim(coordinator, joined.batch_id)
    assert claimed.due_at_ms == int(client.hget(name, "due"))
    assert 0 < claimed.due_at_ms - claimed.claimed_at_ms <= 5000

    client.hset(name, "lease", "0")
    assert (await claim(coordinator, joined.batch_id)).due_at_ms == claimed.due_at_ms


async def test_the_depth_of_the_outbox_is_what_postgres_does_not_have(coordinator: Coordinator) -> None:
    assert await coordinator.outbox_depth() == 0
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    await complete(coordinator, claimed, result_of(claimed, usd="1", eur="2"))
    assert await coordinator.outbox_depth() == 2


async def test_claiming_the_next_batch_takes_an_abandoned_one_over_too(coordinator: Coordinator, client: Any) -> None:
    abandoned = await claim(coordinator, (await admit(coordinator)).batch_id)
    client.hset(f"{keys.PREFIX}:batch:{abandoned.batch_id}", "lease", "0")
    after = await admit(coordinator)

    standings = await claim_all(coordinator, after.batch_id, trigger="threshold")

    assert [(each.batch_id, each.trigger) for each in standings if isinstance(each, Claimed)] == [
        (after.batch_id, "threshold"),
        (abandoned.batch_id, "takeover"),
    ]


async def test_renewal_lengthens_the_lease(coordinator: Coordinator, client: Any) -> None:
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    name = f"{keys.PREFIX}:batch:{claimed.batch_id}"
    client.hset(name, "lease", "1")

    assert await coordinator.renew([claimed]) == 1
    assert int(client.hget(name, "lease")) > claimed.claimed_at_ms


async def test_a_batch_that_redis_does_not_know_is_gone(coordinator: Coordinator) -> None:
    assert await coordinator.look(["nobody"]) == await claim_all(coordinator, "nobody") == [Gone("nobody")]


async def test_nothing_in_redis_stays_for_ever_but_the_budget_and_the_outbox(
    coordinator: Coordinator, client: Any
) -> None:
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    await admit(coordinator)
    await coordinator.charge("login:127.0.0.1", 5)
    assert [name for name in client.scan_iter() if client.ttl(name) < 0] == [keys.BUDGET]

    await complete(coordinator, claimed, result_of(claimed, usd="1"))
    assert sorted(name for name in client.scan_iter() if client.ttl(name) < 0) == [keys.BUDGET, keys.OUTBOX]


async def test_a_full_outbox_refuses_without_charging(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.coordinator.OUTBOX_BOUND", 1)
    coordinator = Coordinator(link, settings_for_tests())
    await link.call("XADD", keys.OUTBOX, "*", "a", "b")

    with pytest.raises(OutboxFull):
        await admit(coordinator)
    assert (await coordinator.charge("user:ann", 20)).remaining == 19


async def test_exactly_the_limit_is_granted_of_many_at_once(coordinator: Coordinator) -> None:
    refused: list[OverLimit] = []
    granted: list[int] = []

    async def ask() -> None:
        try:
            granted.append(await remaining_after(coordinator, "bitcoin"))
        except OverLimit as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(ask)

    assert sorted(granted) == list(range(20))
    assert len(refused) == 180
    assert {(error.charge.remaining, error.retry_after_s) for error in refused} == {(0, 60)}


async def test_what_left_the_window_may_be_used_again(link: RedisLink) -> None:
    coordinator = Coordinator(link, settings_for_tests(throttle_ttl_ms=1))
    for _ in range(3):
        assert (await coordinator.charge("user:ann", 1)).remaining == 0
        await link.call("BLPOP", "nothing", "0.01")  # Redis' own clock passes the window


async def test_callers_do_not_share_a_limit(coordinator: Coordinator) -> None:
    await coordinator.charge("user:ann", 1)
    await coordinator.charge("user:bob", 1)
    with pytest.raises(OverLimit):
        await coordinator.charge("user:ann", 1)


async def test_the_log_of_a_caller_stays_small_whatever_its_limit(link: RedisLink, client: Any) -> None:
    coordinator = Coordinator(link, settings_for_tests(throttle_ttl_ms=300))
    async with trio.open_nursery() as nursery:
        for _ in range(5_000):
            nursery.start_soon(coordinator.charge, "user:ann", 100_000_000)

    assert client.strlen(keys.limit_of("user:ann")) < 1500


async def test_a_large_limit_is_exact_at_a_burst_too(coordinator: Coordinator) -> None:
    granted: list[int] = []

    async def ask() -> None:
        try:
            granted.append((await coordinator.charge("user:ann", 1000)).remaining)
        except OverLimit:
            return

    async with trio.open_nursery() as nursery:
        for _ in range(1500):
            nursery.start_soon(ask)

    assert sorted(granted) == list(range(1000))


async def test_a_redis_out_of_memory_refuses_a_claim_and_leaves_the_batch_open(
    coordinator: Coordinator, client: Any
) -> None:
    admission = await admit(coordinator)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisRefused):
            await claim_all(coordinator, admission.batch_id)
    finally:
        client.config_set("maxmemory", 0)

    assert await coordinator.look([admission.batch_id]) == [Open(admission.batch_id, 1)]


async def test_a_claim_that_redis_lost_does_not_pass_for_the_one_after_it(
    coordinator: Coordinator, client: Any
) -> None:
    admission = await admit(coordinator)
    raw: Any = redis.Redis.from_url(f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}")
    name = f"{keys.PREFIX}:batch:{admission.batch_id}"
    before = raw.dump(name)
    lost = await claim(coordinator, admission.batch_id)
    raw.restore(name, 0, before, replace=True)
    raw.delete(f"{keys.PREFIX}:claimed:bitcoin")
    raw.close()
    client.blpop("nothing", 0.01)  # a millisecond or more goes by

    again = await claim(coordinator, admission.batch_id)

    assert again.fence == lost.fence
    assert await complete(coordinator, lost, result_of(lost, usd="1")) == set()
    assert await coordinator.renew([lost]) == 0
    assert await complete(coordinator, again, result_of(again, usd="2")) == {admission.batch_id}


async def test_a_result_that_cannot_be_read_is_gone(coordinator: Coordinator, client: Any) -> None:
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    client.hset(f"{keys.PREFIX}:batch:{claimed.batch_id}", "result", '{"trigger":"of another version"}')

    assert await coordinator.look([claimed.batch_id]) == [Gone(claimed.batch_id)]


async def test_a_coin_that_coingecko_did_not_know_gets_no_batch_for_ten_minutes(
    coordinator: Coordinator, client: Any
) -> None:
    claimed = await claim(coordinator, (await admit(coordinator, "nocoin")).batch_id, "nocoin")
    unknown = msgspec.structs.replace(result_of(claimed), failure=unknown_coin("nocoin"))
    await complete(coordinator, claimed, unknown)

    refused = await admitted(coordinator, "nocoin")

    assert refused.of_coins == [Unknown()]
    assert refused.charge.remaining == 18
    assert 590 < client.ttl(f"{keys.PREFIX}:unknown:nocoin") <= 600
    assert (await admit(coordinator)).size == 1


async def test_a_failure_of_the_upstream_does_not_make_a_coin_unknown(coordinator: Coordinator) -> None:
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    await complete(coordinator, claimed, result_of(claimed))
    assert (await admit(coordinator)).size == 1


async def test_one_odd_answer_does_not_make_a_coin_unknown_that_had_a_price(coordinator: Coordinator) -> None:
    for odd in (False, True):
        claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
        result = msgspec.structs.replace(result_of(claimed), failure=unknown_coin("bitcoin"))
        await complete(coordinator, claimed, result if odd else result_of(claimed, usd="1"))
    assert (await admit(coordinator)).size == 1


async def test_a_coin_with_a_price_is_no_longer_unknown(coordinator: Coordinator) -> None:
    first = await claim(coordinator, (await admit(coordinator)).batch_id)
    second = await admit(coordinator)  # before the first came back
    await complete(coordinator, first, msgspec.structs.replace(result_of(first), failure=unknown_coin("bitcoin")))
    claimed = await claim(coordinator, second.batch_id)
    await complete(coordinator, claimed, result_of(claimed, usd="1"))

    assert (await admit(coordinator)).size == 1


@pytest.mark.parametrize("failure", [Failure("upstream_failed", "no"), unknown_coin("bitcoin")], ids=lambda it: it.kind)
async def test_a_failure_does_not_prolong_how_long_the_latest_prices_are_kept(
    coordinator: Coordinator, client: Any, failure: Failure
) -> None:
    latest = f"{keys.PREFIX}:latest:bitcoin"
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    await complete(coordinator, claimed, result_of(claimed, usd="1"))
    assert 86_390 < client.ttl(latest) <= 86_400

    client.expire(latest, 50)
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    await complete(coordinator, claimed, msgspec.structs.replace(result_of(claimed), failure=failure))
    assert client.ttl(latest) <= 50


@pytest.mark.parametrize(
    "freshness", [Freshness(max_age_s=1_000_000), Freshness(stale_if_error_s=1_000_000)], ids=["max-age", "stale"]
)
async def test_a_price_of_more_than_a_day_ago_answers_nobody(
    coordinator: Coordinator, client: Any, freshness: Freshness
) -> None:
    claimed = await claim(coordinator, (await admit(coordinator)).batch_id)
    day_ago = msgspec.structs.replace(claimed, claimed_at_ms=claimed.claimed_at_ms - 86_401_000)
    client.hset(f"{keys.PREFIX}:batch:{claimed.batch_id}", "claimed", day_ago.claimed_at_ms)
    assert await complete(coordinator, day_ago, result_of(day_ago, usd="1")) == {claimed.batch_id}

    [joined] = (await admitted(coordinator, "bitcoin", freshness=freshness)).of_coins
    assert isinstance(joined, Joined)
    assert joined.at_hand == {}
