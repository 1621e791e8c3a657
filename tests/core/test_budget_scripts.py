"""The budget's scripts, and what a request is charged, on a real Valkey: what the model of them cannot show."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import redis
import trio

from core import keys
from core.admissions import Joined, Refused
from core.batches import Trigger
from core.coordinator import LEASE_MS, Coordinator, Grant
from core.flush_policy import Call, View
from core.limits import OverLimit
from core.month import month_ends_ms
from core.permits import Called
from core.redis_link import RedisLink, RedisRefused
from core.standings import Claimed, Gone, Held, Open
from tests.core.asking import admitted, call_of
from tests.core.model import settings_for_tests
from tests.core.test_coordinator import admit, claim, result_of

INTERVAL_MS = 6300  # of ten calls a minute
UNTIL_MS = month_ends_ms(4_000_000_000_000)  # of a month that is not over while this is in use
LONG_AGO_MS = month_ends_ms(0)


@pytest.fixture
def client(redis_url: str) -> Any:  # redis-py's types cover its asynchronous half too
    return redis.Redis.from_url(redis_url, decode_responses=True)


@pytest.fixture
def paced(link: RedisLink) -> Coordinator:
    """One whose calls are limited by the minute and by the month."""
    return limited_to(link, upstream_calls_per_minute=10, upstream_calls_per_month=100)


def limited_to(link: RedisLink, **changes: object) -> Coordinator:
    return Coordinator(link, settings_for_tests(**{"throttle_global_limit": 1000} | changes))


def budget(client: Any) -> dict[str, str]:
    known: dict[str, str] = client.hgetall(keys.BUDGET)
    return known


def pass_the_interval(client: Any) -> None:
    client.hset(keys.BUDGET, "next", 0)


def restart(client: Any) -> None:
    """Have the budget be that of another Redis process, as after a restart with the memory kept."""
    client.hset(keys.BUDGET, "run", "of-another-process")


async def ready(coordinator: Coordinator, client: Any, calls: int = 0) -> None:
    await coordinator.restore(UNTIL_MS, calls)
    pass_the_interval(client)


async def try_claim(coordinator: Coordinator, *batches: Joined, trigger: Trigger = "window") -> Grant:
    return await coordinator.claim(
        call_of(*((View(batch.batch_id, "bitcoin", due_at=0), trigger) for batch in batches))
    )


async def admit_many(coordinator: Coordinator, coins: Sequence[str]) -> list[View]:
    admissions = await admitted(coordinator, *coins)
    joined = [each for each in admissions.of_coins if isinstance(each, Joined)]
    return [View(each.batch_id, coin, due_at=0) for each, coin in zip(joined, coins, strict=True)]


def listen(client: Any) -> Any:
    """What the feed tells from now on, to be read by `heard`."""
    feed = client.pubsub(ignore_subscribe_messages=True)
    feed.subscribe(keys.FEED)
    feed.get_message(timeout=1)
    return feed


def heard(feed: Any) -> list[str]:
    """The kinds of the messages since the last time."""
    kinds = []
    while message := feed.get_message(timeout=0.05):
        kinds.append(json.loads(message["data"])["type"])
    return kinds


async def call_in_ms(coordinator: Coordinator) -> int:
    """In how many ms the next call may be made."""
    wait_ms = (await coordinator.outlook()).call_in_ms
    assert isinstance(wait_ms, int)
    return wait_ms


async def waits_for_the_month(coordinator: Coordinator) -> bool:
    """Whether the next call may be made when the month ends, and no sooner."""
    outlook = await coordinator.outlook()
    return outlook.call_in_ms == UNTIL_MS - outlook.now_ms


# A budget that is not to be relied on


async def test_a_redis_that_was_restarted_makes_no_call_before_the_budget_is_restored(
    paced: Coordinator, client: Any
) -> None:
    await ready(paced, client, calls=7)
    batch = await admit(paced)
    restart(client)

    assert (await paced.outlook()).call_in_ms == "lost"
    grant = await try_claim(paced, batch)
    assert (grant.call_in_ms, grant.standings) == ("lost", [Open(batch.batch_id, 1)])
    assert (await paced.permit()).wait_ms == "lost"
    assert budget(client)["calls"] == "7"

    assert await paced.restore(UNTIL_MS, 3) == 7
    wait_ms = (await paced.outlook()).call_in_ms
    assert isinstance(wait_ms, int)
    assert INTERVAL_MS - 1000 < wait_ms <= INTERVAL_MS
    assert budget(client)["calls"] == "7", "what Redis still knows is not lowered"


async def test_an_empty_redis_is_lost_too_and_takes_the_count_from_elsewhere(paced: Coordinator, client: Any) -> None:
    assert (await paced.outlook()).call_in_ms == "lost"
    assert await paced.restore(UNTIL_MS, 42) == 42
    assert budget(client)["calls"] == "42"


async def test_without_a_budget_a_restart_of_redis_stops_nobody(coordinator: Coordinator, client: Any) -> None:
    await coordinator.restore(UNTIL_MS, 0)
    restart(client)
    batch = await admit(coordinator)
    assert (await coordinator.outlook()).call_in_ms == 0
    assert isinstance((await try_claim(coordinator, batch)).standings[0], Claimed)


async def test_a_restart_does_not_shorten_a_longer_pause(paced: Coordinator, client: Any) -> None:
    await ready(paced, client)
    now_ms = (await paced.outlook()).now_ms
    client.hset(keys.BUDGET, "next", now_ms + 60_000)
    restart(client)
    await paced.restore(UNTIL_MS, 0)
    assert int(budget(client)["next"]) == now_ms + 60_000


async def test_where_a_new_month_began_the_budget_is_restored_first(paced: Coordinator, client: Any) -> None:
    await ready(paced, client, calls=99)
    client.hset(keys.BUDGET, "until", LONG_AGO_MS)
    batch = await admit(paced)

    assert (await paced.outlook()).call_in_ms == "new month"
    grant = await try_claim(paced, batch)
    assert (grant.call_in_ms, grant.standings) == ("new month", [Open(batch.batch_id, 1)])
    assert (await paced.permit()).wait_ms == "new month"

    await paced.restore(UNTIL_MS, 0)
    assert budget(client)["calls"] == "0"
    assert (await paced.outlook()).call_in_ms == 0, "a new month is no reason to wait"


async def test_two_instances_that_restore_at_once_count_nothing_twice(paced: Coordinator, client: Any) -> None:
    await paced.restore(UNTIL_MS, 5)
    pass_the_interval(client)
    await paced.permit()
    await paced.restore(UNTIL_MS, 5)
    assert budget(client)["calls"] == "6"


@pytest.mark.parametrize(("before", "after", "stops"), [(5, 10, False), (10, 5, True)])
async def test_a_limit_of_the_month_that_was_changed_is_reckoned_with_when_the_budget_is_restored(
    link: RedisLink,
    client: Any,
    before: int,
    after: int,
    stops: bool,
) -> None:
    old, new = (limited_to(link, upstream_calls_per_month=limit) for limit in (before, after))
    await old.restore(UNTIL_MS, 5)
    assert await waits_for_the_month(old) == (before == 5)

    feed = listen(client)
    await new.restore(UNTIL_MS, 0)
    assert await waits_for_the_month(new) == stops
    wait_ms = await call_in_ms(new)
    assert (wait_ms > 0) == stops
    assert budget(client)["calls"] == "5"
    assert heard(feed) == ["next_call"]
    assert (await new.permit()).wait_ms == pytest.approx(wait_ms, abs=1000)


# Permits


async def test_a_claim_takes_one_permit_and_the_next_one_comes_an_interval_later(
    paced: Coordinator, client: Any
) -> None:
    await ready(paced, client)
    views = await admit_many(paced, ["bitcoin", "ethereum"])
    first = await paced.claim(call_of((views[0], "window")))
    second = await paced.claim(call_of((views[1], "window")))

    assert first.call_in_ms == 0
    assert isinstance(second.call_in_ms, int)
    assert INTERVAL_MS - 1000 < second.call_in_ms <= INTERVAL_MS
    assert second.standings == [Open(views[1].batch_id, 1)]
    assert budget(client) | {"run": "", "until": "", "since": ""} == {
        "run": "",
        "until": "",
        "since": "",
        "calls": "1",
        "next": str(first.now_ms + INTERVAL_MS),
    }


async def test_a_claim_of_which_nothing_is_free_takes_no_permit_and_tells_when_the_next_call_may_be_made(
    paced: Coordinator, client: Any
) -> None:
    await ready(paced, client)
    views = await admit_many(paced, ["bitcoin", "ethereum"])
    await paced.claim(call_of((views[0], "window")))
    for _ in range(2):
        grant = await paced.claim(
            call_of((views[0], "window"), (View("nobody", "tether", due_at=0), "threshold"), coins_left=9)
        )
        held, lost = grant.standings
        assert isinstance(held, Held)
        assert lost == Gone("nobody")
        assert isinstance(grant.call_in_ms, int)
        assert (grant.call_in_ms > 0) == (int(budget(client)["next"]) > 0)
        pass_the_interval(client)
    assert (budget(client)["calls"], budget(client)["next"]) == ("1", "0")


@pytest.mark.parametrize(
    ("trigger", "due_in_ms", "told"),
    [("window", 5000, True), ("window", -1, False), ("threshold", 5000, False), ("drain", 5000, True)],
)
async def test_a_claim_is_told_where_those_who_wait_elsewhere_could_not_expect_it(
    paced: Coordinator, client: Any, trigger: Trigger, due_in_ms: int, told: bool
) -> None:
    await ready(paced, client)
    batch = await admit(paced)
    client.hset(f"{keys.PREFIX}:batch:{batch.batch_id}", "due", batch.admitted_at_ms + due_in_ms)
    feed = listen(client)
    await try_claim(paced, batch, trigger=trigger)
    assert heard(feed) == ["claimed"] * told


async def ride(coordinator: Coordinator, client: Any, coins_left: int) -> list[str]:
    """Claim the batch of a coin that nobody else asks for, and return what rides along."""
    [view] = await admit_many(coordinator, [f"own-{budget(client)['calls']}"])
    pass_the_interval(client)
    grant = await coordinator.claim(call_of((view, "window"), coins_left=coins_left))
    first, *riders = [each for each in grant.standings if isinstance(each, Claimed)]
    assert first.batch_id == view.batch_id
    return [f"{each.trigger} {each.coin_id}" for each in riders]


async def test_what_others_have_open_rides_along_as_far_as_there_is_room_the_earliest_due_first(
    paced: Coordinator, client: Any
) -> None:
    await ready(paced, client)
    for place, view in enumerate(await admit_many(paced, ["late", "early", "later"])):
        client.zadd(keys.PENDING, {f"{view.batch_id}:{view.coin_id}": [2, 1, 3][place]})

    assert await ride(paced, client, 2) == ["ride-along early", "ride-along late"]
    assert await ride(paced, client, 0) == []
    assert await ride(paced, client, 2) == ["ride-along later"]


async def test_a_rider_with_too_long_a_name_is_left_out(paced: Coordinator, client: Any) -> None:
    await ready(paced, client)
    views = await admit_many(paced, ["ripe", "long", "tea"])
    grant = await paced.claim(Call(2, characters_left=4, batches=[(views[0], "window")]))

    assert [each.coin_id for each in grant.standings if isinstance(each, Claimed)] == ["ripe", "tea"]


async def test_what_a_dead_flusher_left_rides_before_what_is_open(paced: Coordinator, client: Any) -> None:
    await ready(paced, client)
    abandoned = await claim(paced, (await admit(paced)).batch_id)
    client.hset(f"{keys.PREFIX}:batch:{abandoned.batch_id}", "lease", 0)
    client.zadd(keys.UNDER_WAY, {f"{abandoned.batch_id}:bitcoin": abandoned.claimed_at_ms - LEASE_MS})
    await admit_many(paced, ["ethereum"])

    assert await ride(paced, client, 1) == ["takeover bitcoin"]


async def test_a_batch_whose_coin_is_under_way_does_not_ride_until_that_call_ends(
    paced: Coordinator, client: Any
) -> None:
    await ready(paced, client)
    claimed = await claim(paced, (await admit(paced)).batch_id)
    await admit(paced)
    assert await ride(paced, client, 2) == []
    await paced.complete(Called("answered"), [(claimed, result_of(claimed, usd="1"))])
    assert await ride(paced, client, 2) == ["ride-along bitcoin"]


async def test_of_two_claims_at_once_one_gets_the_permit(
    redis_url: str, paced: Coordinator, client: Any, nursery: trio.Nursery
) -> None:
    other_link = RedisLink(redis_url)
    await nursery.start(other_link.run)
    other = limited_to(other_link, upstream_calls_per_minute=10, upstream_calls_per_month=100)
    await ready(paced, client)
    views = await admit_many(paced, [f"coin-{number}" for number in range(20)])
    grants: list[Grant] = []

    async def try_each(coordinator: Coordinator, view: View) -> None:
        grants.append(await coordinator.claim(call_of((view, "window"))))

    async with trio.open_nursery() as claiming:
        for number, view in enumerate(views):
            claiming.start_soon(try_each, (paced, other)[number % 2], view)

    standings = [grant.standings[0] for grant in grants]
    assert sum(isinstance(standing, Claimed) for standing in standings) == 1
    assert sum(isinstance(standing, Open) for standing in standings) == 19
    assert budget(client)["calls"] == "1"


async def test_five_hundred_batches_are_claimed_and_settled_as_one(paced: Coordinator, client: Any) -> None:
    await ready(paced, client)
    views = await admit_many(paced, [f"coin-{number}" for number in range(500)])
    known: list[tuple[View, Trigger]] = [(view, "threshold") for view in views[1:250]]
    grant = await paced.claim(call_of((views[0], "window"), *known, coins_left=250))
    claims = [standing for standing in grant.standings if isinstance(standing, Claimed)]

    assert [(each.batch_id, each.coin_id) for each in claims[:250]] == [
        (view.batch_id, view.coin_id) for view in views[:250]
    ]
    assert {each.batch_id for each in claims} == {view.batch_id for view in views}
    assert await ride(paced, client, 500) == []
    assert budget(client)["calls"] == "2"
    assert await paced.renew(claims) == 500
    accepted = await paced.complete(Called("answered"), [(each, result_of(each, usd="1")) for each in claims])
    assert accepted == {view.batch_id for view in views}
    assert client.xlen(keys.OUTBOX) == 500


async def test_five_hundred_batches_whose_flusher_died_are_taken_over_with_the_five_hundred_after_them(
    paced: Coordinator, client: Any
) -> None:
    await ready(paced, client)
    coins = [f"coin-{number}" for number in range(500)]
    lost = await paced.claim(call_of(*((view, "window") for view in await admit_many(paced, coins))))
    for standing in lost.standings:
        client.hset(f"{keys.PREFIX}:batch:{standing.batch_id}", "lease", 0)
    pass_the_interval(client)
    after = await paced.claim(call_of(*((view, "window") for view in await admit_many(paced, coins))))

    triggers = [standing.trigger for standing in after.standings if isinstance(standing, Claimed)]
    assert triggers == ["window"] * 500 + ["takeover"] * 500
    assert budget(client)["calls"] == "2"


async def test_a_redis_out_of_memory_refuses_a_claim_and_takes_no_permit(paced: Coordinator, client: Any) -> None:
    await ready(paced, client)
    batch = await admit(paced)
    before = budget(client)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisRefused):
            await try_claim(paced, batch)
        with pytest.raises(RedisRefused):
            await paced.permit("key", 1000)
    finally:
        client.config_set("maxmemory", 0)

    assert budget(client) == before
    assert await paced.look([batch.batch_id]) == [Open(batch.batch_id, 1)]
    assert isinstance((await try_claim(paced, batch)).standings[0], Claimed)


async def test_claims_that_are_given_back_cost_the_month_nothing_and_may_be_claimed_at_once(
    paced: Coordinator, client: Any
) -> None:
    await ready(paced, client, calls=4)
    batch = await admit(paced)
    claimed = await claim(paced, batch.batch_id)
    assert budget(client)["calls"] == "5"
    await paced.release([claimed])
    assert budget(client)["calls"] == "4"

    pass_the_interval(client)
    [again] = (await try_claim(paced, batch)).standings
    assert isinstance(again, Claimed)
    assert (again.trigger, again.fence) == ("takeover", 2)
    await paced.release([claimed])  # it is another's by now
    assert budget(client)["calls"] == "5"
    [held] = await paced.look([batch.batch_id])
    assert isinstance(held, Held)
    assert held.lease_ms > 0


async def test_of_one_name_a_permit_is_granted_once_in_its_time(paced: Coordinator, client: Any) -> None:
    await ready(paced, client)
    first = await paced.permit("list", 60_000)
    pass_the_interval(client)
    again = await paced.permit("list", 60_000)
    other = await paced.permit("key", 60_000)

    assert (first.wait_ms, first.calls) == (0, 0)
    assert isinstance(again.wait_ms, int)
    assert 59_000 < again.wait_ms <= 60_000
    assert (other.wait_ms, other.calls) == (0, 1)
    assert budget(client)["calls"] == "2"

    pass_the_interval(client)
    client.pexpire(keys.once("list"), 1)
    client.blpop("nothing", 0.01)  # Redis' own clock passes its time
    assert (await paced.permit("list", 60_000)).wait_ms == 0


async def test_a_permit_that_is_not_granted_leaves_its_name_free(paced: Coordinator, client: Any) -> None:
    await paced.restore(UNTIL_MS, 0)
    assert (await paced.permit("list", 60_000)).wait_ms != 0
    pass_the_interval(client)
    assert (await paced.permit("list", 60_000)).wait_ms == 0


# The month's count


async def test_without_a_limit_the_month_is_counted_too(link: RedisLink, client: Any) -> None:
    coordinator = limited_to(link)
    assert (await coordinator.outlook()).call_in_ms == "new month", "of which Redis knows nothing yet"
    await coordinator.restore(UNTIL_MS, 0)
    claims = [await claim(coordinator, (await admit(coordinator, coin)).batch_id, coin) for coin in ("bitcoin", "tron")]
    await coordinator.permit()
    assert (await coordinator.outlook()).calls == 3

    await coordinator.release([claims[0]])
    await coordinator.complete(Called("failed", billed=False), [(claims[1], result_of(claims[1]))])
    assert (await coordinator.outlook()).calls == 1
    client.hset(keys.BUDGET, "until", LONG_AGO_MS)
    assert (await coordinator.permit()).wait_ms == "new month"


async def test_a_limit_that_is_set_in_the_midst_of_a_month_knows_of_the_calls_before(
    link: RedisLink, client: Any
) -> None:
    free, limited = limited_to(link), limited_to(link, upstream_calls_per_month=1)
    await ready(free, client)
    await free.permit()
    await limited.restore(UNTIL_MS, 0)
    assert await waits_for_the_month(limited)


async def test_a_correction_keeps_the_calls_made_since_coingecko_was_asked(paced: Coordinator, client: Any) -> None:
    await ready(paced, client, calls=10)
    asked = await paced.permit()
    for _ in range(2):
        pass_the_interval(client)
        await paced.permit()
    await paced.correct(asked.calls, 40)
    assert budget(client)["calls"] == "43"


async def test_a_correction_that_finds_the_month_used_up_stops_all_and_tells(paced: Coordinator, client: Any) -> None:
    await ready(paced, client, calls=10)
    feed = listen(client)
    await paced.permit()
    await paced.correct(11, 100)
    assert await waits_for_the_month(paced)
    assert heard(feed) == ["next_call"]

    await paced.correct(100, 99)
    assert 0 < await call_in_ms(paced) <= INTERVAL_MS, "the pace holds"


async def test_a_correction_of_a_budget_that_was_lost_meanwhile_does_nothing(paced: Coordinator, client: Any) -> None:
    await paced.correct(10, 100)
    assert budget(client) == {}


@pytest.mark.parametrize("how", ["released", "failed"])
async def test_that_the_months_last_call_was_given_back_is_told(link: RedisLink, client: Any, how: str) -> None:
    paced = limited_to(link, upstream_calls_per_month=1)
    await ready(paced, client)
    claimed = await claim(paced, (await admit(paced)).batch_id)
    assert await waits_for_the_month(paced)
    feed = listen(client)
    if how == "released":
        await paced.release([claimed])
    else:
        await paced.complete(Called("failed", billed=False), [(claimed, result_of(claimed))])

    assert (await paced.outlook()).call_in_ms == 0
    assert "next_call" in heard(feed)


async def test_a_raised_limit_counts_also_where_redis_was_restarted_too(link: RedisLink, client: Any) -> None:
    paced = limited_to(link, upstream_calls_per_month=1)
    await ready(paced, client)
    await claim(paced, (await admit(paced)).batch_id)
    client.hset(keys.BUDGET, "run", "another")

    raised = limited_to(link, upstream_calls_per_month=2)
    await raised.restore(UNTIL_MS, 1)

    assert (await raised.outlook()).call_in_ms == 0


async def test_what_the_upstream_said_to_one_who_lost_the_lease_is_heard_and_nothing_is_given_back(
    link: RedisLink, client: Any
) -> None:
    paced = limited_to(link, upstream_calls_per_month=10)
    await ready(paced, client)
    late = await claim(paced, (await admit(paced)).batch_id)
    client.hset(f"{keys.PREFIX}:batch:{late.batch_id}", "lease", "0")
    await claim(paced, late.batch_id)

    for _ in range(2):
        assert await paced.complete(Called("limited", wait_s=60, billed=False), [(late, result_of(late))]) == set()

    outlook = await paced.outlook()
    assert isinstance(outlook.call_in_ms, int)
    assert outlook.call_in_ms > 59_000
    assert outlook.calls == 2


# Calls that overlap


async def claim_of(coordinator: Coordinator, client: Any, coin: str) -> Claimed:
    """A claim as soon as the pace allows it."""
    pass_the_interval(client)
    [view] = await admit_many(coordinator, [coin])
    [claimed] = (await coordinator.claim(call_of((view, "window")))).standings
    assert isinstance(claimed, Claimed)
    return claimed


@pytest.mark.parametrize("how", ["released", "failed"])
async def test_a_call_that_is_given_back_after_the_months_last_leaves_that_ones_pace(
    link: RedisLink, client: Any, how: str
) -> None:
    paced = limited_to(link, upstream_calls_per_minute=10, upstream_calls_per_month=2)
    await ready(paced, client)
    first = await claim_of(paced, client, "bitcoin")
    last = await claim_of(paced, client, "ethereum")
    assert await waits_for_the_month(paced)
    if how == "released":
        await paced.release([first])
    else:
        await paced.complete(Called("failed", billed=False), [(first, result_of(first))])

    outlook = await paced.outlook()
    assert outlook.call_in_ms == last.claimed_at_ms + INTERVAL_MS - outlook.now_ms


async def test_a_call_that_is_given_back_to_a_used_up_month_leaves_a_retry_after(link: RedisLink, client: Any) -> None:
    paced = limited_to(link, upstream_calls_per_month=2)
    await ready(paced, client)
    limited, failed = [await claim_of(paced, client, coin) for coin in ("bitcoin", "ethereum")]
    await paced.complete(Called("limited", wait_s=60, billed=True), [(limited, result_of(limited))])
    await paced.complete(Called("failed", billed=False), [(failed, result_of(failed))])

    assert 55_000 < await call_in_ms(paced) <= 60_000


async def test_that_a_probe_is_back_lifts_no_retry_after_that_came_since(link: RedisLink, client: Any) -> None:
    coordinator = limited_to(link)
    await ready(coordinator, client)
    first, second, late = [await claim_of(coordinator, client, coin) for coin in ("bitcoin", "ethereum", "solana")]
    for claimed in (first, second):
        await coordinator.complete(Called("failed"), [(claimed, result_of(claimed))])
    probe = await claim_of(coordinator, client, "tron")
    await coordinator.complete(Called("limited", wait_s=60), [(late, result_of(late))])
    await coordinator.complete(Called("answered"), [(probe, result_of(probe, usd="1"))])

    assert 55_000 < await call_in_ms(coordinator) <= 60_000


# What stays in Redis


async def test_of_the_budget_and_the_batches_nothing_stays_but_the_budget_and_the_outbox(
    paced: Coordinator, client: Any
) -> None:
    await ready(paced, client)
    views = await admit_many(paced, ["bitcoin", "ethereum", "nocoin", "solana"])
    grant = await paced.claim(call_of(*((view, "window") for view in views[:3])))
    claims = [standing for standing in grant.standings if isinstance(standing, Claimed)]
    await paced.permit("key", 1000)
    pass_the_interval(client)
    await paced.permit("key", 1000)
    assert [name for name in client.scan_iter() if client.ttl(name) < 0] == [keys.BUDGET]

    await paced.complete(Called("answered"), [(each, result_of(each, usd="1")) for each in claims[:2]])
    await paced.release(claims[2:])
    await paced.correct(1, 1)
    lasting = [name for name in client.scan_iter() if client.ttl(name) < 0]
    assert sorted(lasting) == [keys.BUDGET, keys.OUTBOX]
    assert keys.PENDING in client.scan_iter()


async def test_a_batch_that_everybody_left_counts_no_longer_once_it_is_forgotten(link: RedisLink, client: Any) -> None:
    """Else those who come after it would be told of permits that it never takes."""
    paced = limited_to(link, upstream_calls_per_minute=10, batch_ride_along=False)
    await ready(paced, client)
    for view in await admit_many(paced, ["bitcoin", "ethereum", "solana"]):
        client.delete(f"{keys.PREFIX}:batch:{view.batch_id}", f"{keys.PREFIX}:open:{view.coin_id}")
        client.zadd(keys.PENDING, {f"{view.batch_id}:{view.coin_id}": 1})  # as if due long ago

    admissions = await admitted(paced, "tether")
    assert not isinstance(admissions.of_coins[0], Refused)


# What a request is charged


def charged(client: Any, *charges: tuple[int, int], window_ms: int = 60_000) -> None:
    """Write the log of what a caller was charged: how many ms ago, and how many units."""
    log = ",".join(f"now - {ago_ms * 1000}, {units}" for ago_ms, units in charges)
    client.eval(
        "local time = redis.call('TIME')\n"
        "local now = time[1] * 1000000 + time[2]\n"
        f"redis.call('SET', KEYS[1], cmsgpack.pack({{ {log} }}), 'PX', {window_ms})",
        1,
        keys.limit_of("user:ann"),
    )


async def refused(coordinator: Coordinator, coins: int) -> tuple[int, int]:
    """What is left, and in how many seconds to come again."""
    with pytest.raises(OverLimit) as refusal:
        await admit_many(coordinator, [f"coin-{number}" for number in range(coins)])
    return refusal.value.charge.remaining, refusal.value.charge.reset_s


async def test_a_request_for_many_coins_costs_its_units_or_nothing(link: RedisLink) -> None:
    coordinator = limited_to(link, throttle_global_limit=5)
    for _ in range(2):
        await admit_many(coordinator, [f"coin-{number}" for number in range(51)])
    assert await refused(coordinator, 51) == (1, 60)
    await admit_many(coordinator, ["bitcoin"])
    assert await refused(coordinator, 1) == (0, 60)


@pytest.mark.parametrize(("coins", "reset_s"), [(1, 10), (50, 10), (51, 40), (101, 40), (151, 55)])
async def test_who_is_refused_is_told_when_there_will_be_enough_for_all_its_units(
    link: RedisLink, client: Any, coins: int, reset_s: int
) -> None:
    coordinator = limited_to(link, throttle_global_limit=4)
    charged(client, (50_000, 1), (20_000, 2), (5_000, 1))
    assert await refused(coordinator, coins) == (0, reset_s)


async def test_a_large_limit_is_kept_in_grains_that_never_end_too_soon(link: RedisLink, client: Any) -> None:
    coordinator = limited_to(link, throttle_global_limit=100, throttle_ttl_ms=640_000)  # grains of 10 s
    for _ in range(33):
        await admit_many(coordinator, [f"coin-{number}" for number in range(101)])
    left, reset_s = await refused(coordinator, 51)

    assert left == 1
    assert 640 <= reset_s <= 650, "each is held against the caller as if made when its grain ends"
    assert client.strlen(keys.limit_of("user:ann")) < 50
    await admit_many(coordinator, ["bitcoin"])
    assert (await refused(coordinator, 1))[0] == 0


@pytest.mark.parametrize(("coins", "reset_s"), [(1, 14), (51, 44), (101, 44), (151, 59)])
async def test_of_a_large_limit_too_the_time_told_is_when_all_units_are_there(
    link: RedisLink, client: Any, coins: int, reset_s: int
) -> None:
    coordinator = limited_to(link, throttle_global_limit=100, throttle_ttl_ms=64_000)
    charged(client, (50_000, 1), (20_000, 2), (5_000, 97), window_ms=64_000)
    assert await refused(coordinator, coins) == (0, reset_s)
