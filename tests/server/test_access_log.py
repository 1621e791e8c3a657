"""A request's id, and its line in the log."""

from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
import trio
from quart_trio import QuartTrio

from core.errors import UpstreamFailed
from tests.server.fakes import BATCH_ID, World, http_client

Lines = list[MutableMapping[str, Any]]


@pytest.mark.parametrize("given", ["a", "req-1_2.3", "A" * 128])
async def test_a_proper_request_id_of_the_client_is_kept(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/health/live", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", [b"", b"a b", b"a\tb", b"A" * 129, b"\xff", b"a;b", b"{}"])
async def test_another_request_id_is_replaced(client: httpx.AsyncClient, given: bytes) -> None:
    answer = await client.get("/nowhere", headers=[(b"X-Request-Id", given)])
    assert answer.headers.get_list("X-Request-Id") != [given.decode("latin1")]
    assert len(answer.headers["X-Request-Id"]) == 32


async def test_of_two_request_ids_none_is_kept(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nowhere", headers=[("X-Request-Id", "a"), ("X-Request-Id", "b")])
    assert len(answer.headers["X-Request-Id"]) == 32


async def test_a_price_request_has_one_line_that_tells_its_story(
    client: httpx.AsyncClient, bearer: dict[str, str], log_lines: Lines
) -> None:
    headers = bearer | {"X-Request-Id": "mine"}
    await client.get("/v1/price/bitcoin?vsCurrency=eur", headers=headers)
    (line,) = log_lines
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "path": "/v1/price/bitcoin",
        "status": 200,
        "caller": "user:ada",
        "batch_id": BATCH_ID,
        "request_id": "mine",
    }


@pytest.mark.parametrize(("path", "level"), [("/health/live", "debug"), ("/health/ready", "debug"), ("/no", "info")])
async def test_health_checks_are_logged_below_the_rest(
    client: httpx.AsyncClient, log_lines: Lines, path: str, level: str
) -> None:
    await client.get(path)
    assert [line["log_level"] for line in log_lines] == [level]


async def test_a_failure_is_logged_with_what_led_to_it(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], log_lines: Lines
) -> None:
    world.desk.answer = UpstreamFailed("CoinGecko failed.")
    world.desk.answer.__cause__ = ConnectionRefusedError("refused")
    await client.get("/v1/price/bitcoin", headers=bearer)
    (line,) = log_lines
    assert (line["log_level"], line["status"]) == ("warning", 502)
    assert line["error"] == "UpstreamFailed: CoinGecko failed. < ConnectionRefusedError: refused"


async def test_the_log_repeats_nothing_that_may_be_a_secret(
    client: httpx.AsyncClient, bearer: dict[str, str], log_lines: Lines
) -> None:
    canary = "canary-5f1d"
    right = {"username": "admin", "password": "correct horse"}
    await client.post("/auth/login", json=right | {"password": canary})
    await client.post("/auth/login", json=right | {canary: canary})
    await client.post("/auth/login", json={"username": canary, "password": [canary]})
    await client.post("/auth/login", json=right)
    await client.get(f"/v1/price/bitcoin?{canary}={canary}", headers=bearer)
    await client.get("/v1/price/bitcoin", headers={"Authorization": f"Bearer {canary}", "Cookie": canary})
    assert len(log_lines) == 6
    assert canary not in repr(log_lines)
    assert "correct horse" not in repr(log_lines)
    assert bearer["Authorization"][7:] not in repr(log_lines)


async def test_a_long_path_is_cut_in_the_log(client: httpx.AsyncClient, log_lines: Lines) -> None:
    await client.get("/" + "a" * 5000)
    assert len(log_lines[0]["path"]) == 256


async def test_a_request_that_the_server_cuts_off_is_logged_too(
    world: World, app: QuartTrio, bearer: dict[str, str], log_lines: Lines
) -> None:
    world.desk.holds = True
    async with http_client(app) as client, trio.open_nursery() as tasks:

        async def ask() -> None:
            await client.get("/v1/price/bitcoin", headers=bearer)

        tasks.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert [(line["status"], line["log_level"]) for line in log_lines] == [(None, "error")]
