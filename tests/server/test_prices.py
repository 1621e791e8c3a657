"""`GET /v1/price/{coinId}`."""

from http import HTTPStatus

import httpx
import pytest

from core.batches import Wanted
from core.errors import (
    NotAtHand,
    OutboxFull,
    OverBudget,
    RedisUnavailable,
    ResultTimeout,
    ShuttingDown,
    UnknownCoin,
    UnlistedCurrency,
    UpstreamFailed,
    UpstreamLimited,
)
from core.freshness import FETCH, Freshness
from core.limits import Charge, OverLimit
from server.app import create_app
from tests.server.fakes import BATCH_ID, CHARGE, FETCHED_AT, Request, World, http_client, make_quote, make_settings

LISTED = "Use a lower-case code such as 'usd' or 'eur'; GET /api/v3/simple/supported_vs_currencies lists them."


async def test_a_price_is_spelled_as_the_contract_says(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    answer = await client.get("/v1/price/bitcoin", headers=bearer)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    expected = f'{{"coinId":"bitcoin","vsCurrency":"usd","price":67210.45,"fetchedAt":"{FETCHED_AT}"}}'
    assert answer.text == expected


@pytest.mark.parametrize("text", ["0.1", "1E-12", "67210.45", "1.10", "123456789012345678.000000001", "0"])
async def test_a_price_comes_out_digit_by_digit(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], text: str
) -> None:
    world.desk.answer = make_quote(text)
    answer = await client.get("/v1/price/bitcoin", headers=bearer)
    assert f'"price":{text},' in answer.text


async def test_a_price_tells_how_it_came_about(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    headers = (await client.get("/v1/price/bitcoin", headers=bearer)).headers
    assert headers["X-Batch-Id"] == BATCH_ID
    assert headers["X-Batch-Size"] == "3"
    assert headers["X-Batch-Trigger"] == "threshold"
    assert headers["Server-Timing"] == "batch;dur=1234.6, upstream;dur=101.2"


async def test_a_price_tells_what_is_left_of_the_limit(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    headers = (await client.get("/v1/price/bitcoin", headers=bearer)).headers
    assert headers["X-RateLimit-Limit"] == "20"
    assert headers["X-RateLimit-Remaining"] == "19"
    assert headers["X-RateLimit-Reset"] == "42"


async def test_the_user_of_the_token_is_charged(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    await client.get("/v1/price/bitcoin?vsCurrency=eur", headers=bearer)
    assert world.desk.admitted == [Request([Wanted("bitcoin", ("eur",))], "user:ada", FETCH)]


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (UnknownCoin("CoinGecko knows no such coin."), 404, None),
        (UnlistedCurrency("CoinGecko lists no such price."), 404, None),
        (UpstreamLimited("CoinGecko is busy.", retry_after_s=17), 429, "17"),
        (UpstreamLimited("CoinGecko is busy."), 429, "1"),
        (UpstreamFailed("CoinGecko failed."), 502, None),
        (RedisUnavailable(), 503, "1"),
        (ResultTimeout("No price arrived in time."), 504, None),
    ],
)
async def test_a_batch_without_a_price_is_answered_by_its_status_and_what_is_left(
    world: World,
    client: httpx.AsyncClient,
    bearer: dict[str, str],
    error: Exception,
    status: int,
    retry_after: str | None,
) -> None:
    world.desk.answer = error
    answer = await client.get("/v1/price/bitcoin", headers=bearer)
    assert answer.status_code == status
    assert answer.json() == {"statusCode": status, "message": str(error), "error": HTTPStatus(status).phrase}
    assert answer.headers.get("Retry-After") == retry_after
    assert answer.headers["X-RateLimit-Remaining"] == "19"


@pytest.mark.parametrize(
    ("refusal", "retry_after"),
    [(RedisUnavailable(), "1"), (OutboxFull(), "60"), (ShuttingDown(), "1")],
)
async def test_a_request_that_cannot_be_admitted_is_told_when_to_come_back(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], refusal: RedisUnavailable, retry_after: str
) -> None:
    world.desk.refusal = refusal
    answer = await client.get("/v1/price/bitcoin", headers=bearer)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == retry_after
    assert "X-RateLimit-Limit" not in answer.headers


async def test_a_caller_over_its_limit_is_told_its_limit(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.refusal = OverLimit(Charge("user:ada", limit=20, remaining=0, reset_s=33))
    answer = await client.get("/v1/price/bitcoin", headers=bearer)
    assert answer.status_code == 429
    assert answer.json()["error"] == "Too Many Requests"
    assert answer.headers["Retry-After"] == "33"
    assert answer.headers["X-RateLimit-Limit"] == "20"
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert answer.headers["X-RateLimit-Reset"] == "33"


async def test_an_error_in_a_group_is_told_as_itself(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answer = ExceptionGroup("", [ValueError("noise"), ExceptionGroup("", [UnknownCoin("No such coin.")])])
    answer = await client.get("/v1/price/bitcoin", headers=bearer)
    assert (answer.status_code, answer.json()["message"]) == (404, "No such coin.")


@pytest.mark.parametrize(
    "coin_id",
    [
        *"Bitcoin bit_coin bitcoin,ethereum bit%20coin b%00 bitcoin%0d%0aX:1 %ff %E2%82%BF %F0%9F%92%A9".split(),
        *"%E2%80%AEabc %2e%2e ..%2f..%2fetc bitcoin%2Fhistory %252F".split(),
        "a" * 129,
        "b" * 9000,
    ],
)
async def test_what_is_no_coin_id_is_refused_before_anything_is_asked(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], coin_id: str
) -> None:
    for path in (f"/v1/price/{coin_id}", f"/v1/price/{coin_id}/history"):
        answer = await client.get(path, headers=bearer)
        assert (answer.status_code, answer.json()["error"]) == (400, "Bad Request"), path
        assert "a-z, 0-9" in answer.json()["message"]
    assert (world.desk.admitted, world.coordinator.charged) == ([], [])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (f"vsCurrency={'x' * 99}", f"vsCurrency: '{'x' * 40}' is not supported. {LISTED}"),
        ("vsCurrency=USD", f"vsCurrency: 'USD' is not supported. {LISTED}"),
        ("vsCurrency=", f"vsCurrency: '' is not supported. {LISTED}"),
        ("vsCurrency=usd&vsCurrency=usd", "vsCurrency: give it once."),
        ("vs_currency=usd", "Unknown query parameter 'vs_currency'; the only one is vsCurrency."),
        ("limit=3", "Unknown query parameter 'limit'; the only one is vsCurrency."),
        ("x" * 99 + "=1", f"Unknown query parameter '{'x' * 40}'; the only one is vsCurrency."),
        ("=", "Unknown query parameter ''; the only one is vsCurrency."),
    ],
)
async def test_a_wrong_query_is_refused_in_one_sentence_before_anything_is_charged(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, message: str
) -> None:
    answer = await client.get(f"/v1/price/bitcoin?{query}", headers=bearer)
    assert answer.status_code == 400
    assert answer.json() == {"statusCode": 400, "message": message, "error": "Bad Request"}
    assert world.desk.admitted == []


@pytest.mark.parametrize(
    ("header", "freshness"),
    [
        (["max-age=30"], Freshness(max_age_s=30)),
        (["max-age=30", "stale-if-error=600"], Freshness(max_age_s=30, stale_if_error_s=600)),
        (["only-if-cached, max-age=5"], Freshness(max_age_s=5, only_if_cached=True)),
        (["no-cache"], Freshness(max_age_s=0)),
        (["max-age=nonsense"], FETCH),
        ([], FETCH),
    ],
)
async def test_how_old_a_price_may_be_is_up_to_the_client(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], header: list[str], freshness: Freshness
) -> None:
    headers = [*bearer.items(), *(("Cache-Control", value) for value in header)]
    await client.get("/v1/price/bitcoin", headers=headers)
    assert [request.freshness for request in world.desk.admitted] == [freshness]


async def test_a_price_that_was_at_hand_says_so_and_how_old_it_is(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answer = make_quote(trigger="fresh", age_s=12)
    headers = (await client.get("/v1/price/bitcoin", headers=bearer)).headers
    assert (headers["X-Batch-Trigger"], headers["Age"]) == ("fresh", "12")


async def test_an_answer_may_be_kept_only_if_the_operator_honours_coingeckos_cache_life(bearer: dict[str, str]) -> None:
    for honours, told in [(True, "private, max-age=30"), (False, "private, no-cache")]:
        world = World(make_settings(upstream_honour_cache=honours))
        world.desk.answer = make_quote(age_s=12, fresh_for_s=18)
        async with http_client(create_app(world.services())) as client:
            headers = (await client.get("/v1/price/bitcoin", headers=bearer)).headers
        assert (headers["Age"], headers["Cache-Control"]) == ("12", told)


async def test_where_nothing_is_at_hand_and_no_fetch_allowed_it_is_504(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answer = NotAtHand("No price is at hand.")
    answer = await client.get("/v1/price/bitcoin", headers=bearer | {"Cache-Control": "only-if-cached"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (504, "no-store")


async def test_a_request_that_no_call_can_carry_in_time_tells_when_one_can_and_what_is_left(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answer = OverBudget("No call may be made in time.", retry_after_s=90)
    answer = await client.get("/v1/price/bitcoin", headers=bearer)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "90")
    assert answer.headers["X-RateLimit-Remaining"] == str(CHARGE.remaining)


async def test_the_token_is_asked_for_before_the_input_is_judged(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/price/NOT_A_COIN?nonsense=1")
    assert answer.status_code == 401
