import httpx
import pytest

from simulator import Simulator
from simulator.failures import ServerError

PRICE = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd"


async def test_the_record_can_be_read_from_outside(client: httpx.AsyncClient, simulator: Simulator) -> None:
    await client.get(PRICE)
    (call,) = (await client.get("/__calls")).json()
    assert call == {
        "at": 1_795_365_620.0,
        "monotonic": simulator.calls[0].monotonic,
        "path": "/api/v3/simple/price",
        "ids": ["bitcoin"],
        "vs_currencies": ["usd"],
        "status": 200,
        "api_key": None,
    }


async def test_a_change_of_configuration_touches_only_what_it_names(
    client: httpx.AsyncClient, simulator: Simulator
) -> None:
    simulator.config.limit_per_minute = 30
    config = simulator.config
    answer = await client.post("/__config", json={"latency_ms": 0.5, "prices": {"bitcoin": {"usd": "1.50"}}})
    assert answer.status_code == 200
    assert (answer.json()["latency_ms"], answer.json()["limit_per_minute"]) == (0.5, 30)
    assert (config.latency_ms, config.limit_per_minute) == (0.5, 30)
    assert (await client.get(PRICE)).text == '{"bitcoin":{"usd":1.50}}'


async def test_failures_can_be_switched_on_from_outside(client: httpx.AsyncClient, simulator: Simulator) -> None:
    await client.post("/__config", json={"failures": [{"kind": "server_error", "status": 502, "calls": 1}]})
    assert simulator.config.failures == [ServerError(status=502, calls=1)]
    assert [(await client.get(PRICE)).status_code for _ in range(2)] == [502, 200]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "[]",
        '{"latency": 5}',
        '{"latency_ms": -1}',
        '{"latency_ms": "5"}',
        '{"update_period_s": 0}',
        '{"credits_per_month": -1}',
        '{"failures": [{"kind": "no_such_failure"}]}',
        '{"failures": [{"kind": "hang", "calls": 0}]}',
        '{"failures": [{"kind": "hang", "for_ever": true}]}',
        '{"failures": [{"kind": "too_many_requests", "retry_after": "1\\r\\nx: y"}]}',
    ],
)
async def test_a_wrong_configuration_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, simulator: Simulator, body: str
) -> None:
    answer = await client.post("/__config", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert simulator.config == Simulator().config


async def test_the_credits_can_be_read_from_outside(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.config.credits_per_month = 10_000
    await client.get(PRICE)
    assert (await client.get("/__credits")).json() == {"used": 1, "limit": 10_000}


async def test_a_month_can_be_begun_late_from_outside(client: httpx.AsyncClient, simulator: Simulator) -> None:
    await client.post("/__config", json={"credits_per_month": 10_000})
    answer = await client.post("/__credits", json={"used": 9_999})
    assert (answer.status_code, answer.json()) == (200, {"used": 9_999, "limit": 10_000})
    assert [(await client.get(PRICE)).status_code for _ in range(2)] == [200, 429]
    assert simulator.credits_used == 10_000


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"used": -1}', '{"used": "1"}', '{"used": 1, "limit": 2}'])
async def test_a_wrong_number_of_credits_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, simulator: Simulator, body: str
) -> None:
    simulator.credits_used = 7
    answer = await client.post("/__credits", content=body)
    assert (answer.status_code, [*answer.json()]) == (400, ["error"])
    assert simulator.credits_used == 7


async def test_a_reset_from_outside_is_the_same_reset(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.config.failures = [ServerError()]
    await client.get(PRICE)
    assert (await client.post("/__reset")).status_code == 200
    assert simulator.calls == []
    assert simulator.config.failures == []


async def test_control_is_neither_recorded_nor_limited_nor_failed(
    client: httpx.AsyncClient, simulator: Simulator
) -> None:
    simulator.config.limit_per_minute = 1
    simulator.config.failures = [ServerError(calls=1)]
    answers = [await client.get("/__calls") for _ in range(3)]
    assert [answer.json() for answer in answers] == [[], [], []]
    assert simulator.config.failures == [ServerError(calls=1)]


async def test_control_costs_nothing_and_works_when_the_credits_are_used_up(
    client: httpx.AsyncClient, simulator: Simulator
) -> None:
    simulator.config.credits_per_month = simulator.credits_used = 1
    assert (await client.get("/__calls")).status_code == 200
    assert (await client.get("/__credits")).json() == {"used": 1, "limit": 1}


@pytest.mark.parametrize(("method", "path"), [("GET", "/__config"), ("POST", "/__calls"), ("GET", "/__nothing")])
async def test_there_is_nothing_else_to_control(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await client.request(method, path)).status_code == 404
