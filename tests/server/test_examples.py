"""What `/docs-json` shows is true: its requests work, and its answers and errors are what is told."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from core.batches import Result
from core.candles import Candle
from core.errors import HistoryUnavailable, RedisUnavailable
from core.limits import Charge, OverLimit
from tests.server.fakes import FETCHED_AT_MS, World
from tests.server.test_docs import ERRORS, document_of

STREAM = "/v1/prices/stream"
GETS = [
    "/v1/price/{coinId}",
    "/v1/prices",
    "/v1/price/{coinId}/history",
    "/v1/price/{coinId}/candles",
    "/api/v3/simple/price",
    "/api/v3/simple/supported_vs_currencies",
    "/api/v3/coins/list",
    "/api/v3/ping",
    "/health/live",
    "/health/ready",
]


async def get_of(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """How the document tells of GET at a path."""
    found: dict[str, Any] = (await document_of(client))["paths"][path]["get"]
    return found


def shown(operation: dict[str, Any], status: int, media_type: str = "application/json") -> Any:
    return operation["responses"][str(status)]["content"][media_type]["example"]


def text(example: Any) -> str:
    """An example as it is written into an address."""
    return ",".join(example) if isinstance(example, list) else str(example)


def required(operation: dict[str, Any], place: str) -> dict[str, str]:
    """The examples which the page fills in, by the names of their parameters."""
    return {
        one["name"]: text(one["example"]) for one in operation["parameters"] if "example" in one and one["in"] == place
    }


def optional(operation: dict[str, Any], place: str) -> dict[str, str]:
    """The examples that a reader may fill in."""
    parameters = [one for one in operation["parameters"] if "example" not in one and one["in"] == place]
    return {one["name"]: text(one["schema"]["examples"][0]) for one in parameters}


def address(path: str, operation: dict[str, Any]) -> str:
    return path.format(**required(operation, "path"))


def without_time(error: dict[str, Any]) -> dict[str, Any]:
    if "status" in error and isinstance(error["status"], dict):
        error["status"].pop("timestamp")
    return error


@pytest.fixture
def _as_shown(world: World) -> None:
    """Has the stand-ins know what the examples tell of."""
    world.history.keep("67210.45")
    opened_at = datetime(2026, 2, 28, 3, tzinfo=UTC)
    first, highest, lowest, last = map(Decimal, ("67180", "67240.5", "67175.1", "67210.45"))
    world.history.found = [Candle(opened_at, first, highest, lowest, last, 9)]


def test_every_endpoint_is_looked_at() -> None:
    """Those of test_docs, which looks whether they are all there are."""
    assert {*GETS, STREAM, "/auth/login"} == set(ERRORS)


@pytest.mark.usefixtures("_as_shown")
@pytest.mark.parametrize("path", GETS)
async def test_what_the_page_fills_in_is_answered_as_it_shows(
    client: httpx.AsyncClient, bearer: dict[str, str], path: str
) -> None:
    operation = await get_of(client, path)
    answer = await client.get(address(path, operation), params=required(operation, "query"), headers=bearer)
    assert (answer.status_code, answer.json()) == (200, shown(operation, 200))


@pytest.mark.usefixtures("_as_shown")
@pytest.mark.parametrize("path", GETS)
async def test_what_may_be_filled_in_besides_is_understood(
    client: httpx.AsyncClient, bearer: dict[str, str], path: str
) -> None:
    operation = await get_of(client, path)
    query = required(operation, "query") | optional(operation, "query")
    headers = bearer | optional(operation, "header")
    # Not together, as `before` says.
    for left_out in ("page", "before"):
        parameters = {name: value for name, value in query.items() if name != left_out}
        answer = await client.get(address(path, operation), params=parameters, headers=headers)
        assert answer.status_code == 200


async def test_the_login_that_is_shown_gives_a_token_of_that_form(client: httpx.AsyncClient) -> None:
    operation = (await document_of(client))["paths"]["/auth/login"]["post"]
    credentials = operation["requestBody"]["content"]["application/json"]["example"]
    answer = await client.post("/auth/login", json=credentials)
    assert answer.status_code == 200
    token = {"accessToken": answer.json()["accessToken"]}
    assert shown(operation, 200) | token == answer.json()


async def test_a_stream_tells_what_is_shown(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], autojump_clock: MockClock
) -> None:
    operation = await get_of(client, STREAM)
    retry, event, heartbeat = shown(operation, 200, "text/event-stream").split("\n\n", 2)
    batch_id = event.rpartition("id: ")[2].split("-")[1]

    async def fetch() -> None:
        await trio.sleep(1)
        price = Decimal("67210.45")
        result = Result(batch_id, "bitcoin", "window", 1, FETCHED_AT_MS, 1.0, prices={"usd": price})
        world.streams.hear_results([result])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch)
        query = required(operation, "query") | optional(operation, "query")
        answer = await client.get(STREAM, params=query, headers=bearer)
    assert retry.startswith("retry: ")
    assert f"{event}\n\n{heartbeat}" in answer.text


@pytest.mark.parametrize("path", [path for path in (*GETS, STREAM) if not path.startswith("/health")])
async def test_whoever_sends_no_token_is_told_what_is_shown(client: httpx.AsyncClient, path: str) -> None:
    operation = await get_of(client, path)
    answer = await client.get(address(path, operation), params=required(operation, "query"))
    assert answer.status_code == 401
    assert without_time(answer.json()) == without_time(shown(operation, 401))


@pytest.mark.parametrize(
    ("path", "status", "query"),
    [
        ("/v1/price/{coinId}", 400, {"vsCurrency": "xyz"}),
        ("/v1/price/{coinId}/history", 400, {"vsCurrency": "xyz"}),
        ("/v1/price/{coinId}/candles", 400, {"vsCurrency": "xyz"}),
        ("/v1/prices", 400, {"ids": "Bitcoin"}),
        (STREAM, 400, {"ids": "Bitcoin"}),
        ("/api/v3/simple/price", 400, {"precision": "none"}),
        ("/api/v3/simple/price", 422, {"vs_currencies": ""}),
        ("/api/v3/coins/list", 400, {"include_platform": "true"}),
    ],
)
async def test_whoever_asks_wrongly_is_told_what_is_shown(
    client: httpx.AsyncClient, bearer: dict[str, str], path: str, status: int, query: dict[str, str]
) -> None:
    operation = await get_of(client, path)
    sent = required(operation, "query") | query
    answer = await client.get(address(path, operation), params=sent, headers=bearer)
    assert (answer.status_code, answer.json()) == (status, shown(operation, status))


async def test_problems_are_shown_as_they_are_told(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    form = "application/problem+json"
    operation = await get_of(client, "/v1/price/{coinId}")
    answer = await client.get("/v1/price/bitcoin?vsCurrency=xyz", headers=bearer | {"Accept": form})
    assert answer.json() == shown(operation, 400, form)


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, {"json": {"username": "admin"}}),
        (401, {"json": {"username": "admin", "password": "wrong"}}),
        (413, {"content": b" " * 2_000_000, "headers": {"Content-Type": "application/json"}}),
        (415, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    ],
)
async def test_whoever_logs_in_wrongly_is_told_what_is_shown(
    client: httpx.AsyncClient, status: int, sent: dict[str, Any]
) -> None:
    operation = (await document_of(client))["paths"]["/auth/login"]["post"]
    answer = await client.post("/auth/login", **sent)
    assert (answer.status_code, answer.json()) == (status, shown(operation, status))


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("/v1/prices", OverLimit(Charge("user:ada", 20, 0, 42))),
        ("/v1/price/{coinId}", RedisUnavailable()),
        ("/v1/price/{coinId}/history", HistoryUnavailable()),
    ],
)
async def test_whoever_cannot_be_served_for_now_is_told_what_is_shown(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], path: str, refusal: Any
) -> None:
    world.desk.refusal = world.history.refusal = refusal
    operation = await get_of(client, path)
    answer = await client.get(address(path, operation), params=required(operation, "query"), headers=bearer)
    assert (answer.status_code, answer.json()) == (refusal.status, shown(operation, refusal.status))
