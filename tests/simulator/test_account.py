"""Credits: what costs one, and what happens without."""

import httpx
import pytest

from simulator import Simulator
from simulator.failures import (
    AnyFailure,
    Body,
    Gzip,
    Hang,
    Html,
    InvalidJson,
    Redirect,
    Reset,
    ServerError,
    TooManyRequests,
    Truncated,
)
from simulator.messages import Answer, Request

PRICE = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd"
KEY = "/api/v3/key"
PRO_KEY = {"x-cg-pro-api-key": "s3cret"}


def ask(simulator: Simulator, target: str = PRICE, headers: dict[str, str] | None = None) -> Answer:
    return simulator.answer(Request("GET", target, headers or {}))


@pytest.mark.parametrize(
    ("target", "cost"),
    [
        (PRICE, 1),
        ("/api/v3/simple/price?ids=bitcoin,pepe,ethereum&vs_currencies=usd,eur", 1),
        ("/api/v3/simple/price?ids=no-such-coin&vs_currencies=usd", 1),
        ("/api/v3/ping", 1),
        ("/api/v3/coins/list", 1),
        ("/api/v3/simple/price?ids=bitcoin", 0),
        ("/api/v3/nothing", 0),
        (f"{KEY}?x_cg_pro_api_key=s3cret", 0),
    ],
)
def test_an_answer_costs_a_credit_if_its_status_is_200_except_for_the_key(
    simulator: Simulator, target: str, cost: int
) -> None:
    ask(simulator, target)
    assert simulator.credits_used == cost


@pytest.mark.parametrize(
    "failure", [ServerError(status=503), TooManyRequests(), Html(status=403), Redirect(), Body("{}", status=404)]
)
def test_a_failure_with_a_status_of_its_own_costs_nothing(simulator: Simulator, failure: AnyFailure) -> None:
    simulator.config.failures = [failure]
    ask(simulator)
    assert simulator.credits_used == 0


@pytest.mark.parametrize(
    "failure",
    [Hang(), Reset(), Truncated(), InvalidJson(), Gzip(), Html(status=200), TooManyRequests(status=200), Body("{}")],
)
def test_an_answer_that_is_spoiled_on_its_way_costs_what_it_would_have_cost(
    simulator: Simulator, failure: AnyFailure
) -> None:
    simulator.config.failures = [failure]
    ask(simulator)
    assert simulator.credits_used == 1


def test_what_would_have_cost_nothing_costs_nothing_also_when_it_hangs(simulator: Simulator) -> None:
    simulator.config.failures = [Hang()]
    ask(simulator, "/api/v3/nothing")
    assert simulator.credits_used == 0


async def test_when_the_credits_are_used_up_every_call_is_refused_in_coingeckos_words(
    simulator: Simulator, client: httpx.AsyncClient
) -> None:
    simulator.config.credits_per_month = 2
    simulator.credits_used = 1
    answers = [await client.get(path) for path in (PRICE, PRICE, "/api/v3/ping", "/api/v3/nothing")]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 429]
    assert answers[1].json() == {
        "status": {
            "timestamp": "2026-11-22T16:40:20.000+00:00",
            "error_code": 10006,
            "error_message": "You have reached your account's monthly credit limit. Overage is disabled.",
        }
    }
    assert "retry-after" not in answers[1].headers
    assert simulator.credits_used == 2


def test_without_a_limit_credits_are_counted_all_the_same(simulator: Simulator) -> None:
    assert [ask(simulator).status for _ in range(3)] == [200, 200, 200]
    assert simulator.credits_used == 3


def test_a_limit_that_is_raised_lets_calls_in_again(simulator: Simulator) -> None:
    simulator.config.credits_per_month = simulator.credits_used = 5
    assert ask(simulator).status == 429
    simulator.config.credits_per_month = 6
    assert [ask(simulator).status for _ in range(2)] == [200, 429]


def test_a_call_without_credits_is_not_counted_in_the_minute(simulator: Simulator) -> None:
    simulator.config.limit_per_minute = 1
    simulator.config.credits_per_month = simulator.credits_used = 1
    assert ask(simulator).status == 429
    simulator.credits_used = 0
    assert ask(simulator).status == 200


def test_a_call_over_the_limit_a_minute_costs_nothing(simulator: Simulator) -> None:
    simulator.config.limit_per_minute = 1
    assert [ask(simulator).status for _ in range(3)] == [200, 429, 429]
    assert simulator.credits_used == 1


def test_a_call_without_credits_does_not_use_a_failure_up(simulator: Simulator) -> None:
    simulator.config.credits_per_month = simulator.credits_used = 1
    simulator.config.failures = [ServerError(calls=1)]
    ask(simulator)
    assert simulator.config.failures == [ServerError(calls=1)]


async def test_the_key_tells_the_limits_and_what_is_used(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.limit_per_minute = 30
    simulator.config.credits_per_month = 10_000
    await client.get(PRICE)
    answer = await client.get(KEY, headers=PRO_KEY)
    assert answer.json() == {
        "plan": "Other",
        "rate_limit_request_per_minute": 30,
        "monthly_call_credit": 10_000,
        "current_total_monthly_calls": 1,
        "current_remaining_monthly_calls": 9_999,
        "api_key_rate_limit_request_per_minute": 30,
        "api_key_monthly_call_credit": 10_000,
        "api_key_current_total_monthly_calls": 1,
    }
    assert "age" not in answer.headers


async def test_without_limits_the_key_tells_limits_that_nobody_reaches(client: httpx.AsyncClient) -> None:
    body = (await client.get(KEY, headers=PRO_KEY)).json()
    assert body["rate_limit_request_per_minute"] == body["current_remaining_monthly_calls"] == 1_000_000_000


@pytest.mark.parametrize("headers", [{}, {"x-cg-demo-api-key": "s3cret"}])
async def test_the_key_is_for_pro_keys_only(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.get(KEY, headers=headers)
    assert (answer.status_code, answer.json()["status"]["error_code"]) == (401, 10005)


def test_a_pro_key_in_the_query_is_as_good_as_one_in_a_header(simulator: Simulator) -> None:
    assert ask(simulator, f"{KEY}?x_cg_pro_api_key=s3cret").status == 200


def test_the_key_is_refused_too_when_the_credits_are_used_up(simulator: Simulator) -> None:
    simulator.config.credits_per_month = simulator.credits_used = 1
    answer = ask(simulator, KEY, PRO_KEY)
    assert (answer.status, b'"error_code":10006' in answer.body) == (429, True)


def test_the_key_counts_in_the_minute(simulator: Simulator) -> None:
    simulator.config.limit_per_minute = 1
    assert [ask(simulator, KEY, PRO_KEY).status for _ in range(2)] == [200, 429]
