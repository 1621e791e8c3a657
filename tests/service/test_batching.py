"""Requests share upstream calls: over HTTP, on real parts."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import httpx
import pytest
import redis
import trio

from core import keys
from simulator import Simulator, failures
from tests.conftest import Sql
from tests.service.conftest import ClientFor, StartInstance
from tests.waiting import until

QUICK = {"batch_window_ms": 200}
NEVER_FULL = {"batch_threshold": 1000, "batch_window_ms": 300}


async def get_all(requests: Sequence[tuple[httpx.AsyncClient, str]]) -> list[httpx.Response]:
    """Send these requests at once; the answers in the same order."""
    answers: dict[int, httpx.Response] = {}

    async def get(number: int, client: httpx.AsyncClient, path: str) -> None:
        answers[number] = await client.get(path)

    async with trio.open_nursery() as nursery:
        for number, (client, path) in enumerate(requests):
            nursery.start_soon(get, number, client, path)
    return [answers[number] for number in range(len(requests))]


def exact(response: httpx.Response) -> Any:
    return json.loads(response.text, parse_float=Decimal, parse_int=Decimal)


async def kept_prices(sql: Sql, database_url: str, count: int) -> list[tuple[Any, ...]]:
    """What Postgres has, once it has as many prices as are due."""

    def rows() -> list[Any]:
        return sql(database_url, "SELECT coin_id, vs_currency, price, batch_id FROM prices ORDER BY 1, 2")

    await until(lambda: len(rows()) >= count)
    return [tuple(row) for row in rows()]


async def test_three_requests_over_two_instances_are_one_batch_one_call_and_one_kept_price(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator, sql: Sql, database_url: str
) -> None:
    ann, bob = [await client_for(await start_instance(), user) for user in ("ann", "bob")]

    answers = await get_all([(ann, "/v1/price/bitcoin"), (ann, "/v1/price/bitcoin"), (bob, "/v1/price/bitcoin")])

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.text for answer in answers}) == 1
    assert {answer.headers["X-Batch-Trigger"] for answer in answers} == {"threshold"}
    assert {answer.headers["X-Batch-Size"] for answer in answers} == {"3"}
    (batch_id,) = {answer.headers["X-Batch-Id"] for answer in answers}
    assert [(call.ids, call.vs_currencies) for call in upstream.calls] == [(("bitcoin",), ("usd",))]

    body = exact(answers[0])
    kept = await kept_prices(sql, database_url, 1)
    assert [(coin, currency, price, batch.hex) for coin, currency, price, batch in kept] == [
        ("bitcoin", "usd", body["price"], batch_id)
    ]
    history = exact(await bob.get("/v1/price/bitcoin/history"))
    assert history["items"] == [{"price": body["price"], "fetchedAt": body["fetchedAt"]}]
    assert (history["totalItems"], history["totalPages"]) == (1, 1)


async def test_a_lone_request_is_answered_after_its_window(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    ann = await client_for(await start_instance(**QUICK))

    answer = await ann.get("/v1/price/ethereum")

    assert answer.status_code == 200
    assert set(answer.json()) == {"coinId", "vsCurrency", "price", "fetchedAt"}
    assert (answer.headers["X-Batch-Size"], answer.headers["X-Batch-Trigger"]) == ("1", "window")
    assert len(upstream.calls) == 1


async def test_a_window_is_shared_by_requests_on_both_instances(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    ann, bob = [await client_for(await start_instance(**NEVER_FULL), user) for user in ("ann", "bob")]

    answers = await get_all([(client, "/v1/price/bitcoin") for client in (ann, bob) * 5])

    assert len({answer.text for answer in answers}) == 1
    assert {answer.headers["X-Batch-Trigger"] for answer in answers} == {"window"}
    assert len(upstream.calls) == 1


async def test_three_hundred_requests_at_once_need_a_hundred_calls_at_most(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    url = await start_instance()
    clients = [await client_for(url, f"user-{number}") for number in range(15)]

    answers = await get_all([(client, "/v1/price/bitcoin") for client in clients * 20])

    assert {answer.status_code for answer in answers} == {200}
    assert len(upstream.calls) <= 100


async def test_currencies_of_one_coin_ride_on_one_call_and_each_is_kept(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator, sql: Sql, database_url: str
) -> None:
    ann = await client_for(await start_instance())
    eur = "/v1/price/bitcoin?vsCurrency=eur"

    answers = await get_all([(ann, "/v1/price/bitcoin"), (ann, eur), (ann, "/v1/price/bitcoin")])

    assert [answer.json()["vsCurrency"] for answer in answers] == ["usd", "eur", "usd"]
    assert [call.vs_currencies for call in upstream.calls] == [("eur", "usd")]
    kept = await kept_prices(sql, database_url, 2)
    assert [currency for _, currency, *_ in kept] == ["eur", "usd"]
    assert exact(await ann.get("/v1/price/bitcoin/history?vsCurrency=eur"))["totalItems"] == 1


@pytest.mark.parametrize("text", ["1e-12", "12345678.123456789", "0.1", "1.177e-05", "76975", "0.30000000000000004"])
async def test_a_price_survives_the_whole_way_exactly(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator, sql: Sql, database_url: str, text: str
) -> None:
    upstream.config.prices["bitcoin"] = {"usd": text}
    ann = await client_for(await start_instance(**QUICK))

    answer = await ann.get("/v1/price/bitcoin")

    assert exact(answer)["price"] == Decimal(text)
    ((_, _, price, _),) = await kept_prices(sql, database_url, 1)
    assert price == Decimal(text)
    assert exact(await ann.get("/v1/price/bitcoin/history"))["items"][0]["price"] == Decimal(text)


async def test_a_client_that_disconnects_leaves_the_others_unharmed(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    url = await start_instance(**NEVER_FULL)
    ann, leaver = await client_for(url), await client_for(url, "leaver")

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.1):
            nursery.start_soon(ann.get, "/v1/price/bitcoin")
            await leaver.get("/v1/price/bitcoin")
        await leaver.aclose()
        answer = await ann.get("/v1/price/bitcoin")

    assert answer.status_code == 200
    assert answer.headers["X-Batch-Size"] == "3"
    assert len(upstream.calls) == 1


async def test_a_failing_upstream_is_told_to_every_waiter_on_every_instance(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    upstream.config.failures = [failures.ServerError(status=500)]
    ann, bob = [await client_for(await start_instance(), user) for user in ("ann", "bob")]

    answers = await get_all([(client, "/v1/price/bitcoin") for client in (ann, bob, bob)])

    assert [answer.status_code for answer in answers] == [502] * 3
    assert {answer.json()["error"] for answer in answers} == {"Bad Gateway"}
    assert len(upstream.calls) == 1


async def test_the_limit_is_exact_over_instances(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    ann, same_ann = [await client_for(await start_instance(**QUICK), "ann") for _ in range(2)]

    answers = await get_all([(client, "/v1/price/bitcoin") for client in (ann, same_ann) * 20])

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (20, 20)
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["X-RateLimit-Remaining"] == "0"


async def test_what_postgres_has_leaves_the_outbox(
    start_instance: StartInstance, client_for: ClientFor, redis_url: str, sql: Sql, database_url: str
) -> None:
    ann = await client_for(await start_instance(**QUICK))
    await ann.get("/v1/price/bitcoin")
    await kept_prices(sql, database_url, 1)

    with redis.Redis.from_url(redis_url) as client:
        await until(lambda: client.xlen(keys.OUTBOX) == 0)


def set_back(redis_url: str, batch_id: str, coin_id: str) -> None:
    """Have Redis be as it was before it knew of the batch's claim, as after a failover to a replica that lagged."""
    with redis.Redis.from_url(redis_url) as client:
        batch = f"{keys.PREFIX}:batch:{batch_id}"
        client.hset(batch, mapping={"state": "open", "fence": 0, "lease": 0, "size": 0})
        client.hdel(batch, "result", "claimed")
        client.set(f"{keys.PREFIX}:open:{coin_id}", batch_id)
        client.zadd(keys.PENDING, {f"{batch_id}:{coin_id}": 1})
        own = client.client_id()
        for each in client.client_list():
            if int(each["id"]) != own:
                client.client_kill_filter(_id=each["id"])


@pytest.mark.parametrize("currency", ["usd", "eur"])
async def test_a_batch_that_redis_opens_again_is_fetched_again_and_answers_with_its_new_result(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator, redis_url: str, currency: str
) -> None:
    ann = await client_for(await start_instance(**QUICK))
    first = await ann.get("/v1/price/bitcoin")
    set_back(redis_url, first.headers["X-Batch-Id"], "bitcoin")
    await trio.sleep(1)  # the instance connects anew

    second = await ann.get(f"/v1/price/bitcoin?vsCurrency={currency}")
    assert second.status_code == 200
    assert second.headers["X-Batch-Id"] == first.headers["X-Batch-Id"]
    assert second.json()["fetchedAt"] > first.json()["fetchedAt"]
    assert len(upstream.calls) == 2
