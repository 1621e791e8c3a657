"""Errors as RFC 9457 has them, for who asks."""

import httpx
import pytest

from core.errors import BadCoin, CryptoPulseError
from server.auth import InvalidToken
from server.problems import anchor, asks_for_problem, kinds, problem_type
from tests.server.fakes import World

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("accept", "asks"),
    [
        ([PROBLEM], True),
        (["Application/Problem+JSON ; Q=0.3"], True),
        (["text/html, */*;q=0.1", f"{PROBLEM};q=0.001"], True),
        ([f"application/json, {PROBLEM}"], True),
        ([f"application/json;q=0.4, {PROBLEM};q=0.5"], True),
        ([f'{PROBLEM};profile="a,b;q=0";q=0.5'], True),
        ([f'{PROBLEM};profile="x;q=0,"'], True),
        ([f"application/json, {PROBLEM};q=0.5"], False),
        ([f"{PROBLEM};q=0"], False),
        ([f"{PROBLEM};q=0.000, */*"], False),
        ([f"{PROBLEM};q=high"], False),
        ([f"{PROBLEM};q=1.5"], False),
        ([f"{PROBLEM};q=-1"], False),
        ([f'text/html;profile=",{PROBLEM},"'], False),
        (["*/*"], False),
        (["application/*"], False),
        (["application/json"], False),
        ([f"x{PROBLEM}"], False),
        ([""], False),
        ([], False),
    ],
)
def test_who_names_the_type_gets_it_unless_plain_json_is_liked_better(accept: list[str], asks: bool) -> None:
    assert asks_for_problem(accept) is asks


async def test_a_problem_has_the_fields_of_both(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/price/bitcoin", headers={"Accept": PROBLEM, "Authorization": "Bearer x"})
    message = "The token is not valid here. Log in again, or make a new one."
    assert answer.headers["Content-Type"] == PROBLEM
    assert answer.headers["Vary"] == "Accept"
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert answer.json() == {
        "type": "/docs/errors#invalid-token",
        "title": "Invalid token",
        "status": 401,
        "detail": message,
        "instance": "/v1/price/bitcoin",
        "statusCode": 401,
        "message": message,
        "error": "Unauthorized",
    }


async def test_what_is_no_error_of_ours_is_about_blank_and_its_title_the_statuss_name(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/no%20where?key=canary", headers={"Accept": PROBLEM})
    problem = answer.json()
    assert (problem["type"], problem["title"], problem["instance"]) == ("about:blank", "Not Found", "/no%20where")


async def test_a_client_that_does_not_ask_gets_what_it_always_got(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/price/bitcoin", headers={"Accept": "*/*"})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Vary"] == "Accept"
    assert list(answer.json()) == ["statusCode", "message", "error"]


async def test_on_the_drop_in_errors_stay_coingeckos(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v3/simple/price", headers={"Accept": PROBLEM})
    assert (answer.headers["Content-Type"], list(answer.json())) == ("application/json", ["status"])
    assert "Vary" not in answer.headers


async def test_an_answer_that_is_no_error_is_none(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    answer = await client.get("/v1/price/bitcoin", headers=bearer | {"Accept": PROBLEM})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


async def test_every_type_leads_to_where_it_is_told(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs/errors")
    assert page.headers["Content-Type"].startswith("text/html")
    for kind in kinds():
        assert f'id="{anchor(kind)}"' in page.text
    assert problem_type(BadCoin("x"), 400).uri == f"{page.url.path}#bad-coin"


def test_no_two_kinds_have_one_name() -> None:
    ours = [kind for kind in kinds() if kind.__module__.startswith(("core", "server"))]
    assert {CryptoPulseError, BadCoin, InvalidToken} <= set(ours)
    assert len({anchor(kind) for kind in ours}) == len(ours)
