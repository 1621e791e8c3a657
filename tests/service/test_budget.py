"""The upstream budget, over HTTP, on real parts: what the simulator got is what counts."""

from itertools import pairwise
from typing import Any

import httpx
import pytest
import redis
import trio

from core import keys
from simulator import Simulator, failures
from tests.conftest import Sql
from tests.service.conftest import ClientFor, StartInstance
from tests.service.test_batching import get_all
from tests.waiting import until

AT_ONCE = {"batch_threshold": 1, "throttle_global_limit": 1000}
# A call each 1.05 s.
ONE_A_SECOND = AT_ONCE | {"upstream_calls_per_minute": 60}
COINS = ["bitcoin", "ethereum", "solana", "dogecoin", "cardano", "tron"]


def counted(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as client:
        return int(client.hget(keys.BUDGET, "calls") or 0)


def monotonic_times(upstream: Simulator) -> list[float]:
    return [call.monotonic for call in upstream.calls]


async def test_instances_share_a_budget_and_each_call_carries_all_that_waits(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    ann, bob = [await client_for(await start_instance(**ONE_A_SECOND), user) for user in ("ann", "bob")]

    first = await get_all([(ann, "/v1/price/bitcoin")])  # an empty Redis waits a whole interval
    rest = await get_all([(client, f"/v1/price/{coin}") for coin in COINS for client in (ann, bob)])

    assert [answer.status_code for answer in first + rest] == [200] * 13
    assert [set(call.ids) for call in upstream.calls] == [{"bitcoin"}, set(COINS)]
    assert all(after - before > 0.5 for before, after in pairwise(monotonic_times(upstream)))


async def test_a_retry_after_silences_all_instances_and_those_who_can_wait_are_answered_after_it(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    ann, bob = [await client_for(await start_instance(**AT_ONCE), user) for user in ("ann", "bob")]
    upstream.config.failures = [failures.TooManyRequests(retry_after="2", calls=1)]

    limited = await ann.get("/v1/price/bitcoin")
    answers = await get_all([(client, f"/v1/price/{coin}") for coin in COINS for client in (ann, bob)])

    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "2")
    assert [answer.status_code for answer in answers] == [200] * 12
    before, after = monotonic_times(upstream)[:2]
    assert after - before >= 2


async def test_a_request_that_no_call_can_carry_in_time_is_refused_at_once_and_told_when_one_can(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    ann = await client_for(await start_instance(**AT_ONCE))
    upstream.config.failures = [failures.TooManyRequests(retry_after="60", calls=1)]
    await ann.get("/v1/price/bitcoin")

    refused = await ann.get("/v1/price/ethereum")

    assert refused.status_code == 429
    assert 52 <= int(refused.headers["Retry-After"]) <= 55
    assert refused.headers["X-RateLimit-Remaining"] == "999"
    assert len(upstream.calls) == 1


@pytest.fixture
async def used_up(start_instance: StartInstance, client_for: ClientFor, upstream: Simulator) -> httpx.AsyncClient:
    """A client of an instance that has just made the two calls that it may make in a month."""
    upstream.config.credits_per_month = 2
    client = await client_for(await start_instance(**AT_ONCE, upstream_calls_per_month=2))
    for coin in ("bitcoin", "ethereum"):
        assert (await client.get(f"/v1/price/{coin}")).status_code == 200
    return client


async def test_a_month_that_is_used_up_answers_only_what_freshness_allows(
    used_up: httpx.AsyncClient, upstream: Simulator, redis_url: str
) -> None:
    refused = await used_up.get("/v1/price/bitcoin")
    young = await used_up.get("/v1/price/bitcoin", headers={"Cache-Control": "max-age=600"})
    stale = await used_up.get("/v1/price/ethereum", headers={"Cache-Control": "stale-if-error=600"})
    none = await used_up.get("/v1/price/solana", headers={"Cache-Control": "max-age=600"})

    assert [answer.status_code for answer in (refused, young, stale, none)] == [429, 200, 200, 429]
    assert int(refused.headers["Retry-After"]) > 60
    assert {answer.headers["X-Batch-Trigger"] for answer in (young, stale)} == {"fresh"}
    assert upstream.credits_used == counted(redis_url) == len(upstream.calls) == 2


async def test_a_count_that_redis_lost_comes_back_from_postgres(
    used_up: httpx.AsyncClient,
    start_instance: StartInstance,
    client_for: ClientFor,
    redis_url: str,
    database_url: str,
    sql: Sql,
) -> None:
    await until(lambda: [row["calls"] for row in sql(database_url, "SELECT calls FROM upstream_calls")] == [2])
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()

    after = await client_for(await start_instance(**AT_ONCE, upstream_calls_per_month=2))
    await until(lambda: counted(redis_url) == 2)

    assert (await after.get("/v1/price/solana")).status_code == 429


async def test_a_call_that_cost_no_credit_is_not_counted(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator, redis_url: str
) -> None:
    ann = await client_for(await start_instance(**AT_ONCE, upstream_calls_per_month=1))
    upstream.config.failures = [failures.ServerError(status=503, calls=1)]

    answers = [await ann.get("/v1/price/bitcoin") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [502, 200]
    assert upstream.credits_used == counted(redis_url) == 1


async def test_the_list_of_coins_takes_its_place_in_the_budget(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator, redis_url: str
) -> None:
    ann, bob = [
        await client_for(await start_instance(**ONE_A_SECOND, upstream_calls_per_month=100), user)
        for user in ("ann", "bob")
    ]

    lists = await get_all([(client, "/api/v3/coins/list") for client in (ann, bob)])
    price = await ann.get("/v1/price/bitcoin")

    ids: list[Any] = [entry["id"] for entry in lists[0].json()]
    assert "bitcoin" in ids
    assert lists[0].content == lists[1].content
    assert price.status_code == 200
    assert counted(redis_url) == upstream.credits_used == len(upstream.calls)
    assert all(after - before > 0.5 for before, after in pairwise(monotonic_times(upstream)))


async def test_a_fleet_that_starts_together_restores_the_budget_without_harm(
    start_instance: StartInstance, client_for: ClientFor, redis_url: str, upstream: Simulator
) -> None:
    urls: list[str] = []

    async def start() -> None:
        urls.append(await start_instance(**AT_ONCE, upstream_calls_per_month=100))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(start)
    clients = [await client_for(url) for url in urls]
    answers = await get_all([(client, "/v1/price/bitcoin") for client in clients])

    assert [answer.status_code for answer in answers] == [200] * 4
    assert counted(redis_url) == upstream.credits_used
