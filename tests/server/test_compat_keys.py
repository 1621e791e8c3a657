"""An access token where CoinGecko's clients put their key."""

from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from server.auth import issue_token
from tests.server.fakes import SECRET, World

PING = "/api/v3/ping"
HEADERS = ["x-cg-demo-api-key", "x-cg-pro-api-key"]
PARAMETERS = ["x_cg_demo_api_key", "x_cg_pro_api_key"]


def token_of(subject: str) -> str:
    return issue_token(SECRET, subject=subject, username=subject, expires_s=60)


@pytest.mark.parametrize("name", [*HEADERS, "X-CG-Demo-API-Key"])
async def test_the_token_may_come_as_a_header(world: World, client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(PING, headers={name: token_of("ann")})
    assert (answer.status_code, world.coordinator.charged) == (200, [("user:ann", 20)])


@pytest.mark.parametrize("name", PARAMETERS)
async def test_the_token_may_come_in_the_query(world: World, client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(PING, params={name: token_of("ann")})
    assert (answer.status_code, world.coordinator.charged) == (200, [("user:ann", 20)])


async def test_the_token_may_come_as_everywhere_else(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    answer = await client.get(PING, headers=bearer)
    assert (answer.status_code, world.coordinator.charged) == (200, [("user:ada", 20)])


async def test_a_key_goes_before_a_bearer_token_and_an_empty_key_is_none(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    await client.get(PING, headers=bearer | {"x-cg-pro-api-key": token_of("ann")})
    await client.get(PING, headers=bearer | {"x-cg-pro-api-key": ""}, params={"x_cg_demo_api_key": ""})
    assert world.coordinator.charged == [("user:ann", 20), ("user:ada", 20)]


async def test_a_price_is_charged_to_the_holder_of_the_key(world: World, client: httpx.AsyncClient) -> None:
    query = {"ids": "bitcoin", "vs_currencies": "usd", "x_cg_demo_api_key": token_of("ann")}
    assert (await client.get("/api/v3/simple/price", params=query)).status_code == 200
    assert [request.caller for request in world.desk.admitted] == ["user:ann"]


@pytest.mark.parametrize("key", ["CG-1234567890", "x" * 65_000, "Bearer x", "é", "\ud7ff", "a.b.c"])
async def test_a_key_that_is_no_token_of_ours_opens_nothing(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], key: str
) -> None:
    by_header = await client.get(PING, headers=[(HEADERS[0].encode(), key.encode())])
    by_query = await client.get(PING, headers=bearer, params={PARAMETERS[0]: key})
    assert (by_header.status_code, by_query.status_code) == (401, 401)
    assert world.coordinator.charged == []


async def test_keys_open_nothing_but_the_drop_in(client: httpx.AsyncClient) -> None:
    for name in HEADERS:
        assert (await client.get("/v1/price/bitcoin", headers={name: token_of("ann")})).status_code == 401


async def test_a_key_never_gets_into_the_log_but_its_holder_does(
    world: World, client: httpx.AsyncClient, log_lines: list[MutableMapping[str, Any]]
) -> None:
    token = token_of("ann")
    world.desk.answer = RuntimeError("nobody foresaw it")
    query = f"x_cg_demo_api_key={token}&ids=bitcoin&vs_currencies=usd"
    await client.get(PING, headers={HEADERS[0]: token})
    await client.get(f"/api/v3/simple/price?{query}")
    await client.get(f"/api/v3/nowhere?{query}")
    await client.get(f"/api/v3/simple/price%3F{query}")
    assert [(line["path"], line["status"], line.get("caller")) for line in log_lines] == [
        (PING, 200, "user:ann"),
        ("/api/v3/simple/price", 500, "user:ann"),
        ("/api/v3/nowhere", 404, None),
        ("/api/v3/simple/price", 404, None),
    ]
    assert token not in repr(log_lines)
    assert token.rpartition(".")[2] not in repr(log_lines)
