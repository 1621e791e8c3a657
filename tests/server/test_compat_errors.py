"""What goes wrong below `/api/v3`: in CoinGecko's forms, whatever it is."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio
from quart_trio import QuartTrio
from structlog.testing import capture_logs

from core.errors import (
    CryptoPulseError,
    NotAtHand,
    OutboxFull,
    OverBudget,
    RedisUnavailable,
    ResultTimeout,
    ShuttingDown,
    UnknownCoin,
    UpstreamFailed,
    UpstreamLimited,
)
from core.limits import Charge, OverLimit
from server.app import create_app
from tests.server.fakes import World, http_client, make_settings

PRICE = "/api/v3/simple/price?ids=a,b,c&vs_currencies=usd"
METHODS = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]


def assert_is_flat(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]


def assert_is_status(answer: httpx.Response, status: int, code: int) -> None:
    assert answer.status_code == status
    assert list(answer.json()) == ["status"]
    told: dict[str, Any] = answer.json()["status"]
    assert list(told) == ["timestamp", "error_code", "error_message"]
    assert told["error_code"] == code
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", told["timestamp"])
    assert abs(datetime.now(UTC) - datetime.fromisoformat(told["timestamp"])) < timedelta(seconds=60)
    assert told["error_message"]


async def test_without_a_key_it_is_coingeckos_10002(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v3/ping")
    assert_is_status(answer, 401, 10002)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "x-cg-demo-api-key" in answer.json()["status"]["error_message"]


@pytest.mark.parametrize(
    "path", ["simple/price", "simple/supported_vs_currencies", "coins/list?status=inactive", "ping"]
)
async def test_every_path_wants_a_key_before_it_judges_the_query(
    world: World, client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(f"/api/v3/{path}", headers={"x-cg-demo-api-key": "CG-abc"})
    assert_is_status(answer, 401, 10002)
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert (world.desk.admitted, world.coordinator.charged) == ([], [])


async def test_a_caller_over_its_limit_is_told_when_to_come_back_but_never_to_sleep_long(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    for reset_s, told in [(7, "7"), (60, "60"), (3000, "60"), (0, "1")]:
        refusal = OverLimit(Charge("user:ada", limit=20, remaining=0, reset_s=reset_s))
        world.desk.refusal = world.coordinator.refusal = refusal
        for path in (PRICE, "/api/v3/ping"):
            answer = await client.get(path, headers=bearer)
            assert_is_status(answer, 429, 429)
            assert answer.headers["Retry-After"] == told
            assert answer.headers["X-RateLimit-Remaining"] == "0"


@pytest.mark.parametrize(
    ("refusal", "retry_after"), [(RedisUnavailable(), "1"), (OutboxFull(), "60"), (ShuttingDown(), "1")]
)
async def test_what_is_away_is_503_with_a_wait(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], refusal: CryptoPulseError, retry_after: str
) -> None:
    world.desk.refusal = refusal
    answer = await client.get(PRICE, headers=bearer)
    assert_is_flat(answer, 503)
    assert answer.headers["Retry-After"] == retry_after


@pytest.mark.parametrize(
    ("errors", "status", "retry_after"),
    [
        ([UpstreamFailed("x")], 502, None),
        ([ResultTimeout("x")], 504, None),
        ([NotAtHand("x")], 504, None),
        ([ResultTimeout("x"), UpstreamFailed("x")], 502, None),
        ([UpstreamFailed("x"), RedisUnavailable()], 503, "1"),
        ([ResultTimeout("x"), UpstreamLimited("x"), UpstreamFailed("x")], 429, "1"),
        ([RedisUnavailable(), UpstreamLimited("x", retry_after_s=119)], 429, "60"),
        ([UpstreamLimited("x", retry_after_s=7), OverBudget("x", retry_after_s=17)], 429, "17"),
        ([UnknownCoin("x"), ResultTimeout("x")], 504, None),
    ],
)
async def test_one_coin_that_failed_fails_the_call_by_the_error_that_matters_most(
    world: World,
    client: httpx.AsyncClient,
    bearer: dict[str, str],
    errors: list[Exception],
    status: int,
    retry_after: str | None,
) -> None:
    world.desk.answers = dict(zip("abc", errors, strict=False))
    answer = await client.get(PRICE, headers=bearer)
    assert answer.status_code == status
    assert list(answer.json()) == (["status"] if status == 429 else ["error"])
    assert answer.headers.get("Retry-After") == retry_after
    assert answer.headers["X-RateLimit-Remaining"] == "19"


async def test_what_the_callers_limit_could_never_pay_for_is_400(bearer: dict[str, str]) -> None:
    world = World(make_settings(throttle_global_limit=2))
    ids = ",".join(f"coin-{number}" for number in range(101))
    async with http_client(create_app(world.services())) as client:
        assert_is_flat(await client.get(f"/api/v3/simple/price?ids={ids}&vs_currencies=usd", headers=bearer), 400)


@pytest.mark.parametrize(
    "path", ["/api/v3", "/api/v3/", "/api/v3/coins/markets", "/api/v3/ping/", "/api/v3//ping", "/api/v3/%ff"]
)
async def test_an_unknown_path_is_404_for_every_method(client: httpx.AsyncClient, path: str) -> None:
    for method in ["GET", *METHODS]:
        assert_is_flat(await client.request(method, path), 404)


async def test_whoever_asks_for_an_unknown_path_is_told_the_known_ones(
    app: QuartTrio, client: httpx.AsyncClient
) -> None:
    told = (await client.get("/api/v3/coins/markets")).json()["error"]
    assert told.startswith("This path of CoinGecko's is not served here. Served are /")
    known = {rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/v3")}
    assert {f"/api/v3{path}" for path in re.findall(r"/[a-z_/]+", told)} == known


@pytest.mark.parametrize("method", METHODS)
async def test_a_wrong_method_is_405_and_names_the_right_ones(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/api/v3/ping")
    assert_is_flat(answer, 405)
    assert answer.headers["Allow"] == "GET, HEAD"


async def test_head_is_answered_as_get_is(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    assert (await client.head("/api/v3/ping", headers=bearer)).status_code == 200
    assert (await client.head("/api/v3/ping")).status_code == 401


async def test_what_nobody_foresaw_is_500_and_only_the_log_knows_why(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answer = RuntimeError("the key is 'hunter2' at redis://internal")
    with capture_logs():
        answer = await client.get(PRICE, headers=bearer)
    assert_is_flat(answer, 500)
    assert "hunter2" not in answer.text


async def test_what_breaks_around_the_routes_has_the_form_of_its_path(
    app: QuartTrio, client: httpx.AsyncClient
) -> None:
    async def broken(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("no context")

    app.handle_request = broken  # type: ignore[method-assign,assignment] # the whole inside of Quart fails
    with capture_logs():
        assert_is_flat(await client.get("/api/v3/ping"), 500)
