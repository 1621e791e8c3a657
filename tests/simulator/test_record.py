import time

import httpx
import pytest

from simulator import Simulator

PRICE = "/api/v3/simple/price?ids=bitcoin,pepe&vs_currencies=usd,eur"


async def test_every_call_is_written_down_when_it_arrives(simulator: Simulator, client: httpx.AsyncClient) -> None:
    before = time.monotonic()
    await client.get(PRICE)
    (call,) = simulator.calls
    assert (call.at, call.path, call.status) == (1_795_365_620.0, "/api/v3/simple/price", 200)
    assert (call.ids, call.vs_currencies) == (("bitcoin", "pepe"), ("usd", "eur"))
    assert before <= call.monotonic <= time.monotonic()


async def test_refused_and_unknown_calls_are_written_down_too(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.limit_per_minute = 1
    await client.get("/nothing")
    await client.get(PRICE)
    assert [call.status for call in simulator.calls] == [404, 429]


@pytest.mark.parametrize(("path", "status"), [("/api/v3/coins/list", 200), ("/api/v3/key", 401)])
async def test_calls_for_other_things_than_prices_are_written_down_too(
    simulator: Simulator, client: httpx.AsyncClient, path: str, status: int
) -> None:
    await client.get(path)
    (call,) = simulator.calls
    assert (call.path, call.status, call.ids, call.vs_currencies) == (path, status, (), ())


@pytest.mark.parametrize("name", ["x-cg-demo-api-key", "x-cg-pro-api-key"])
async def test_of_a_key_in_a_header_only_the_name_is_kept(
    simulator: Simulator, client: httpx.AsyncClient, name: str
) -> None:
    await client.get(PRICE, headers={name: "s3cret"})
    assert simulator.calls[0].api_key == name
    assert "s3cret" not in repr(simulator.calls)


@pytest.mark.parametrize("name", ["x_cg_demo_api_key", "x_cg_pro_api_key"])
async def test_of_a_key_in_the_query_only_the_name_is_kept(
    simulator: Simulator, client: httpx.AsyncClient, name: str
) -> None:
    await client.get(f"{PRICE}&{name}=s3cret")
    assert simulator.calls[0].api_key == name
    assert "s3cret" not in repr(simulator.calls)


async def test_a_call_over_the_limit_is_told_how_long_to_wait(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.limit_per_minute = 2
    answers = [await client.get(PRICE) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 60
    assert answers[2].json()["status"]["error_code"] == 429


async def test_a_reset_forgets_calls_failures_lies_the_minute_and_the_month(
    simulator: Simulator, client: httpx.AsyncClient
) -> None:
    simulator.config.limit_per_minute = simulator.config.credits_per_month = 1
    simulator.config.prices = {"bitcoin": {"usd": "1"}}
    await client.get(PRICE)
    simulator.reset()
    assert simulator.calls == []
    assert simulator.config.prices == {}
    assert (await client.get(PRICE)).status_code == 200
