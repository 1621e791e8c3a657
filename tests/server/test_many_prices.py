"""`GET /v1/prices`: many coins by one request."""

from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from core.batches import Quote, Wanted
from core.errors import (
    OverBudget,
    RedisUnavailable,
    ResultTimeout,
    UnknownCoin,
    UnlistedCurrency,
    UpstreamFailed,
    UpstreamLimited,
)
from core.freshness import FETCH, Freshness
from core.limits import Charge, OverLimit
from core.prices import bad_currency
from server.app import create_app
from tests.server.fakes import BATCH_ID, FETCHED_AT, Request, World, http_client, make_quote, make_settings

MANY = [f"coin-{number}" for number in range(250)]
UNLISTED = UnlistedCurrency("CoinGecko lists no price of 'bitcoin' in 'xau'.")
UNKNOWN = UnknownCoin("CoinGecko knows no coin 'nocoin'. GET /api/v3/coins/list names all ids.")


async def test_prices_are_spelled_as_the_contract_says(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answers = {"bitcoin": make_quote("1.10"), "nocoin": UNKNOWN}
    answer = await client.get("/v1/prices?ids=bitcoin,nocoin", headers=bearer)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.text == (
        f'{{"prices":[{{"coinId":"bitcoin","vsCurrency":"usd","price":1.10,"fetchedAt":"{FETCHED_AT}"}}],'
        f'"errors":[{{"coinId":"nocoin","statusCode":404,"message":"{UNKNOWN.message}"}}]}}'
    )


async def test_all_coins_are_admitted_at_once(world: World, client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    headers = bearer | {"Cache-Control": "max-age=30"}
    await client.get("/v1/prices?ids=bitcoin,ethereum&vsCurrencies=usd,eur", headers=headers)
    wanted = [Wanted("bitcoin", ("usd", "eur")), Wanted("ethereum", ("usd", "eur"))]
    assert world.desk.admitted == [Request(wanted, "user:ada", Freshness(max_age_s=30))]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("ids=b,a", [Wanted("b", ("usd",)), Wanted("a", ("usd",))]),
        ("ids=b%2Ca", [Wanted("b", ("usd",)), Wanted("a", ("usd",))]),
        ("ids=+b+,+a%20,,", [Wanted("b", ("usd",)), Wanted("a", ("usd",))]),
        ("ids=b,a,b", [Wanted("b", ("usd",)), Wanted("a", ("usd",))]),
        ("ids=a&vsCurrencies=eur,+usd,,eur", [Wanted("a", ("eur", "usd"))]),
        (f"ids={','.join([*MANY, *MANY])}", [Wanted(coin_id, ("usd",)) for coin_id in MANY]),
    ],
)
async def test_lists_are_read_with_tolerance_and_in_order(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, wanted: list[Wanted]
) -> None:
    assert (await client.get(f"/v1/prices?{query}", headers=bearer)).status_code == 200
    assert world.desk.admitted == [Request(wanted, "user:ada", FETCH)]


async def test_prices_come_in_the_order_of_coins_and_then_of_currencies(
    client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    answer = await client.get("/v1/prices?ids=b,a&vsCurrencies=usd,eur", headers=bearer)
    order = [(price["coinId"], price["vsCurrency"]) for price in answer.json()["prices"]]
    assert order == [("b", "usd"), ("b", "eur"), ("a", "usd"), ("a", "eur")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "ids: coin ids with commas between, at least one and at most 250."),
        ("ids=", "ids: coin ids with commas between, at least one and at most 250."),
        ("ids=,+,", "ids: coin ids with commas between, at least one and at most 250."),
        ("ids=a&ids=b", "ids: give it once."),
        (f"ids={','.join([*MANY, 'one-more'])}", "ids: 251 given; send at most 250 at once."),
        (
            f"ids=a,B{'x' * 60},C",
            f"ids: 'B{'x' * 39}' is not a coin id. A coin id is 1 to 128 of a-z, 0-9 and '-', for example 'bitcoin'.",
        ),
        ("ids=a&vsCurrencies=", "vsCurrencies: currencies with commas between, such as 'usd,eur'."),
        (
            "ids=a&vsCurrencies=usd,USD,xxx",
            bad_currency("USD", "vsCurrencies").message,
        ),
        (
            "ids=a&vsCurrency=usd",
            "Unknown query parameter 'vsCurrency'; known are ids, vsCurrencies. Did you mean 'vsCurrencies'?",
        ),
        ("ids=a&token=x", "Unknown query parameter 'token'; known are ids, vsCurrencies."),
    ],
)
async def test_a_wrong_query_is_refused_in_one_sentence_before_anything_is_charged(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, message: str
) -> None:
    answer = await client.get(f"/v1/prices?{query}", headers=bearer)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert world.desk.admitted == []


async def test_a_coin_that_failed_is_told_once_whatever_the_currencies(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answers = {"a": ResultTimeout("No price arrived in time.")}
    body = (await client.get("/v1/prices?ids=a,b&vsCurrencies=usd,eur", headers=bearer)).json()
    assert body["errors"] == [{"coinId": "a", "statusCode": 504, "message": "No price arrived in time."}]
    assert [price["coinId"] for price in body["prices"]] == ["b", "b"]


async def test_a_currency_that_is_not_listed_is_told_by_name_beside_the_prices_that_are(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answers = {"bitcoin/xau": UNLISTED}
    body = (await client.get("/v1/prices?ids=bitcoin&vsCurrencies=xau,usd", headers=bearer)).json()
    assert body["errors"] == [{"coinId": "bitcoin", "statusCode": 404, "message": UNLISTED.message}]
    assert [price["vsCurrency"] for price in body["prices"]] == ["usd"]


async def test_it_is_an_answer_even_if_every_coin_failed(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answer = UpstreamFailed("CoinGecko failed.")
    answer = await client.get("/v1/prices?ids=a,b", headers=bearer)
    assert (answer.status_code, answer.json()["prices"]) == (200, [])
    assert [error["coinId"] for error in answer.json()["errors"]] == ["a", "b"]
    assert "Age" not in answer.headers


async def test_prices_tell_what_is_left_of_the_limit_but_of_no_batch(
    client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    headers = (await client.get("/v1/prices?ids=a,b", headers=bearer)).headers
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("20", "19")
    assert not [name for name in headers if name.startswith(("x-batch", "server-timing"))]


@pytest.mark.parametrize(
    ("others", "cache_control"),
    [
        (make_quote(age_s=5, fresh_for_s=10), "private, max-age=50"),
        (make_quote(age_s=5, fresh_for_s=0), "private, no-cache"),
        (UNKNOWN, "private, no-cache"),
    ],
)
async def test_an_answer_is_as_old_as_its_oldest_price_and_kept_only_while_it_is_whole_and_fresh(
    bearer: dict[str, str], others: Quote | Exception, cache_control: str
) -> None:
    world = World(make_settings(upstream_honour_cache=True))
    world.desk.answers = {"a": make_quote(age_s=40, fresh_for_s=20), "b": others}
    async with http_client(create_app(world.services())) as client:
        headers = (await client.get("/v1/prices?ids=a,b", headers=bearer)).headers
    assert (headers["Age"], headers["Cache-Control"]) == ("40", cache_control)


@pytest.mark.parametrize(
    ("errors", "retry_after"),
    [
        ([UpstreamLimited("", retry_after_s=17), OverBudget("", retry_after_s=90), RedisUnavailable()], "90"),
        ([UpstreamLimited("")], "1"),
        ([UNKNOWN, UpstreamFailed("", retry_after_s=5)], None),
    ],
)
async def test_an_answer_says_when_all_that_is_missing_for_now_may_be_there(
    world: World,
    client: httpx.AsyncClient,
    bearer: dict[str, str],
    errors: list[Exception],
    retry_after: str | None,
) -> None:
    world.desk.answers = {f"coin-{number}": error for number, error in enumerate(errors)}
    answer = await client.get(f"/v1/prices?ids=bitcoin,{','.join(world.desk.answers)}", headers=bearer)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (200, retry_after)


@pytest.mark.parametrize(
    ("refusal", "status"),
    [(RedisUnavailable(), 503), (OverLimit(Charge("user:ada", limit=20, remaining=2, reset_s=33)), 429)],
)
async def test_what_admits_no_coin_at_all_is_an_error(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], refusal: RedisUnavailable, status: int
) -> None:
    world.desk.refusal = refusal
    answer = await client.get("/v1/prices?ids=a,b", headers=bearer)
    assert (answer.status_code, answer.json()["statusCode"]) == (status, status)


async def test_what_the_callers_limit_could_never_pay_for_is_refused_with_what_it_could(bearer: dict[str, str]) -> None:
    world = World(make_settings(throttle_global_limit=2))
    async with http_client(create_app(world.services())) as client:
        answer = await client.get(f"/v1/prices?ids={','.join(MANY[:101])}", headers=bearer)
        assert (await client.get(f"/v1/prices?ids={','.join(MANY[:100])}", headers=bearer)).status_code == 200
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "101 coins count as 3 requests, and your limit is 2. Ask for at most 100 coins at once.",
    )
    assert len(world.desk.admitted) == 1


@pytest.mark.parametrize(
    ("batch_ids", "noted"),
    [({}, BATCH_ID), ({"a": None, "b": None}, None), ({"a": "0" * 32}, None)],
)
async def test_the_log_names_a_batch_if_there_is_only_one(
    world: World,
    client: httpx.AsyncClient,
    bearer: dict[str, str],
    log_lines: list[MutableMapping[str, Any]],
    batch_ids: dict[str, str | None],
    noted: str | None,
) -> None:
    world.desk.batch_ids = batch_ids
    await client.get("/v1/prices?ids=a,b", headers=bearer)
    assert (log_lines[0]["caller"], log_lines[0].get("batch_id")) == ("user:ada", noted)


async def test_whoever_leaves_gives_every_wait_up(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    await client.get("/v1/prices?ids=a,b,c", headers=bearer)
    assert world.desk.waiting == []
