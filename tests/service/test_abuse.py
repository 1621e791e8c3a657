"""Hostile clients: bounds hold, and nothing unchecked gets through."""

import random
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis
import trio

from simulator import Simulator
from tests.service.conftest import ClientFor, StartInstance

HOSTILE = [
    "../bitcoin",
    "..%2f..%2fetc%2fpasswd",
    "bitcoin\r\nSET x y",
    "bit\x00coin",
    "\N{MONEY BAG}",
    "\N{RIGHT-TO-LEFT OVERRIDE}nioctib",
    "bitcoin,ethereum",
    "a" * 10_000,
    "*",
    "{cryptopulse}",
]


def made_up(seed: int) -> str:
    """A text that is no coin id: of any characters, one of them in capitals."""
    chance = random.Random(seed)
    letters = [chr(chance.choice([chance.randrange(1, 128), chance.randrange(160, 0xD800)])) for _ in range(20)]
    return "".join([*letters, "A"])


@pytest.fixture
async def ann(start_instance: StartInstance, client_for: ClientFor) -> httpx.AsyncClient:
    return await client_for(await start_instance(batch_window_ms=50))


async def test_an_id_that_is_none_reaches_neither_redis_nor_the_upstream(
    ann: httpx.AsyncClient, upstream: Simulator, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        before: Any = sorted(client.keys())
        for text in [*HOSTILE, *map(made_up, range(200))]:
            answer = await ann.get("/v1/price/" + quote(text, safe=""))

            assert answer.status_code in {400, 404}, text
            assert answer.json()["statusCode"] == answer.status_code
        assert sorted(client.keys()) == before
    assert upstream.calls == []


async def test_a_dripped_header_is_cut_and_a_waiting_client_is_not(
    start_instance: StartInstance, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.listener._IDLE_S", 0.2)
    url = await start_instance(batch_window_ms=1000)
    ann = await client_for(url)
    host, _, port = url.removeprefix("http://").partition(":")
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await ann.get("/v1/price/bitcoin"))

    async with trio.open_nursery() as nursery, await trio.open_tcp_stream(host, int(port)) as dripping:
        nursery.start_soon(ask)
        await dripping.send_all(b"GET /v1/price/bitcoin HTTP/1.1\r\nX-Slow: ")
        assert await dripping.receive_some() == b""
        assert answers == []

    assert [answer.status_code for answer in answers] == [200]


async def test_headers_beyond_the_bound_are_refused(ann: httpx.AsyncClient) -> None:
    answer = await ann.get("/v1/price/bitcoin", headers={"X-Huge": "x" * 100_000})
    assert answer.status_code == 431


async def test_a_body_beyond_the_bound_is_refused(ann: httpx.AsyncClient) -> None:
    answer = await ann.post("/auth/login", content=b" " * 100_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
