"""`GET /v1/price/{coinId}/candles`."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from core.candles import INTERVALS, Candle, Stretch
from core.errors import HistoryUnavailable, RedisUnavailable
from core.limits import Charge, OverLimit
from core.prices import bad_currency
from tests.server.fakes import World

CANDLES = "/v1/price/bitcoin/candles"
TEN = datetime(2026, 2, 28, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def test_candles_are_spelled_as_documented(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    first, highest, lowest, last = map(Decimal, ["0.10", "1E+20", "1E-12", "67210.450"])
    world.history.found = [Candle(TEN, open=first, high=highest, low=lowest, close=last, count=3)]
    answer = await client.get(f"{CANDLES}?interval=1h", headers=bearer)
    assert answer.status_code == 200
    candle = '"openedAt":"2026-02-28T10:00:00.000Z","open":0.10,"high":1E+20,"low":1E-12,"close":67210.450,"count":3'
    assert answer.text == f'{{"coinId":"bitcoin","vsCurrency":"usd","interval":"1h","candles":[{{{candle}}}]}}'


@pytest.mark.parametrize("interval", INTERVALS)
async def test_without_times_it_is_the_latest_hundred_intervals(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], interval: str
) -> None:
    before = datetime.now(UTC)
    assert (await client.get(f"{CANDLES}?interval={interval}", headers=bearer)).status_code == 200
    (asked,) = world.history.asked
    stretch = asked["stretch"]
    assert (asked["coin_id"], asked["vs_currency"]) == ("bitcoin", "usd")
    assert stretch.ends - stretch.begins == 100 * stretch.interval
    assert before < stretch.ends <= datetime.now(UTC) + stretch.interval


async def test_from_and_to_are_inclusive_and_of_any_zone(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    query = "interval=1h&vsCurrency=eur&from=2026-02-28T12:59:59%2B02:00&to=2026-02-28T12:00"
    await client.get(f"{CANDLES}?{query}", headers=bearer)
    stretch = Stretch(HOUR, TEN, TEN + 3 * HOUR)
    assert world.history.asked == [{"coin_id": "bitcoin", "vs_currency": "eur", "stretch": stretch}]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "interval: one of 1m, 5m, 15m, 1h, 4h, 1d."),
        ("interval=", "interval: one of 1m, 5m, 15m, 1h, 4h, 1d."),
        ("interval=2h", "interval: one of 1m, 5m, 15m, 1h, 4h, 1d."),
        ("interval=1H", "interval: one of 1m, 5m, 15m, 1h, 4h, 1d."),
        ("interval=1h&interval=1h", "interval: give it once."),
        ("interval=1h&from=2026-02-02&to=2026-02-01", "from: must not be later than to."),
        ("interval=1h&limit=3", "Unknown query parameter 'limit'; known are vsCurrency, from, to, interval."),
        ("interval=1h&vsCurrency=xxx", bad_currency("xxx", "vsCurrency").message),
        (
            "interval=1m&from=2026-02-28T00:00&to=2026-02-28T16:40",
            (
                "from: 1001 intervals of 1m from there to the end; an answer has at most 1000. "
                "Ask for less time at once, or for a longer interval."
            ),
        ),
    ],
)
async def test_a_wrong_query_is_refused_in_words_before_anything_is_charged(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, message: str
) -> None:
    answer = await client.get(f"{CANDLES}?{query}", headers=bearer)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert (world.history.asked, world.coordinator.charged) == ([], [])


async def test_a_thousand_candles_are_allowed(world: World, client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    query = "interval=1m&from=2026-02-28T00:00&to=2026-02-28T16:39:59.999"
    assert (await client.get(f"{CANDLES}?{query}", headers=bearer)).status_code == 200


@pytest.mark.parametrize("moment", ["0001-01-01", "9999-12-31T23:59:59.999Z"])
async def test_the_ends_of_the_calendar_are_harmless(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], moment: str
) -> None:
    answer = await client.get(f"{CANDLES}?interval=1d&from={moment}&to={moment}", headers=bearer)
    assert answer.status_code == 200


async def test_an_id_that_is_none_is_refused(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    answer = await client.get("/v1/price/Bitcoin/candles?interval=1h", headers=bearer)
    assert answer.status_code == 400


async def test_without_a_token_there_are_no_candles(world: World, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{CANDLES}?interval=1h")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert world.coordinator.charged == []


async def test_candles_are_charged_as_one_request_and_tell_what_is_left(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    answer = await client.get(f"{CANDLES}?interval=1h", headers=bearer)
    assert world.coordinator.charged == [("user:ada", 20)]
    assert answer.headers["X-RateLimit-Remaining"] == "19"


async def test_without_postgres_candles_are_503_and_say_when_to_come_back(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.history.refusal = HistoryUnavailable()
    answer = await client.get(f"{CANDLES}?interval=1h", headers=bearer)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize(
    ("refusal", "status"),
    [(RedisUnavailable(), 503), (OverLimit(Charge("user:ada", limit=20, remaining=0, reset_s=9)), 429)],
)
async def test_who_cannot_be_charged_gets_no_candles(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], refusal: Exception, status: int
) -> None:
    world.coordinator.refusal = refusal
    answer = await client.get(f"{CANDLES}?interval=1h", headers=bearer)
    assert answer.status_code == status
    assert world.history.asked == []


async def test_the_document_tells_of_candles(client: httpx.AsyncClient) -> None:
    document: dict[str, Any] = (await client.get("/docs-json")).json()
    operation = document["paths"]["/v1/price/{coinId}/candles"]["get"]
    told = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert set(told) == {"coinId", "vsCurrency", "from", "to", "interval"}
    assert told["interval"]["required"]
    assert told["interval"]["schema"]["enum"] == list(INTERVALS)
    assert set(operation["responses"]) == {"200", "400", "401", "429", "503"}
    assert "X-RateLimit-Remaining" in operation["responses"]["200"]["headers"]
    candle = document["components"]["schemas"]["CandleBody"]["properties"]
    assert list(candle) == ["openedAt", "open", "high", "low", "close", "count"]
    assert candle["open"] == {"type": "number", "format": "decimal"}
