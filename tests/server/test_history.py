"""`GET /v1/price/{coinId}/history`."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from core.errors import HistoryUnavailable, RedisUnavailable
from core.history import Cursor
from core.limits import Charge, OverLimit
from core.prices import bad_currency, from_unix_ms
from tests.server.fakes import BATCH_ID, FETCHED_AT, FETCHED_AT_MS, World

HISTORY = "/v1/price/bitcoin/history"
PLACE = Cursor(from_unix_ms(FETCHED_AT_MS), UUID(hex=BATCH_ID))
PLACE_TEXT = f"{FETCHED_AT}_{BATCH_ID}"


async def test_a_page_is_spelled_as_the_contract_says(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.history.keep("0.10", "1E-12")
    answer = await client.get(HISTORY, headers=bearer)
    assert answer.status_code == 200
    items = f'{{"price":0.10,"fetchedAt":"{FETCHED_AT}"}},{{"price":1E-12,"fetchedAt":"{FETCHED_AT}"}}'
    rest = '"page":1,"limit":20,"totalItems":2,"totalPages":1'
    assert answer.text == f'{{"coinId":"bitcoin","vsCurrency":"usd","items":[{items}],{rest}}}'


@pytest.mark.parametrize(("total", "pages"), [(0, 0), (1, 1), (7, 1), (8, 2), (14, 2), (15, 3)])
async def test_pages_are_counted(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], total: int, pages: int
) -> None:
    world.history.total_items = total
    answer = await client.get(f"{HISTORY}?limit=7", headers=bearer)
    assert answer.json()["totalPages"] == pages


async def test_without_a_query_it_is_the_first_twenty_in_dollars(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    await client.get(HISTORY, headers=bearer)
    assert world.history.asked == [
        {"coin_id": "bitcoin", "vs_currency": "usd", "since": None, "until": None, "limit": 20, "page": 1}
    ]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28T03:55", datetime(2026, 2, 28, 3, 55, tzinfo=UTC)),
        ("2026-02-28T03:55:00.000Z", datetime(2026, 2, 28, 3, 55, tzinfo=UTC)),
        ("2026-02-28T03:55:00.123456789Z", datetime(2026, 2, 28, 3, 55, 0, 123456, tzinfo=UTC)),
        ("2026-02-28T05:55:00%2B02:00", datetime(2026, 2, 28, 3, 55, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999Z", datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    ],
)
async def test_times_are_iso_8601_and_utc_unless_they_name_a_zone(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], text: str, moment: datetime
) -> None:
    answer = await client.get(f"{HISTORY}?from={text}&to={text}", headers=bearer)
    assert answer.status_code == 200
    assert (world.history.asked[0]["since"], world.history.asked[0]["until"]) == (moment, moment)
    assert world.history.asked[0]["since"].tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    (
        "  now 1700000000 2026-13-01 2026-02-30 2026-02-28T25:00 0000-01-01 10000-01-01 -0001-01-01 20260228 2026-W09-6"
        " 0001-01-01T00:00:00%2B14:00 9999-12-31T23:59:59-12:00 2026-02-28T03:55:00+02:00 2026-02-28T03:55:00%2B99:00 "
        "٢٠٢٦-02-28 2026-02-28%00 2026-02-28';--"
    ).split(" "),
)
async def test_what_is_no_time_is_refused(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], text: str
) -> None:
    for name in ("from", "to"):
        answer = await client.get(f"{HISTORY}?{name}={text}", headers=bearer)
        assert answer.status_code == 400
        assert answer.json()["message"].startswith(f"{name}: an ISO 8601 time, inclusive, ")
    assert (world.history.asked, world.coordinator.charged) == ([], [])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: a whole number from 1 to 100."),
        ("limit=101", "limit: a whole number from 1 to 100."),
        ("limit=-1", "limit: a whole number from 1 to 100."),
        ("limit=1e2", "limit: a whole number from 1 to 100."),
        ("limit=1_0", "limit: a whole number from 1 to 100."),
        ("limit=٣", "limit: a whole number from 1 to 100."),
        ("limit=1000000000", "limit: a whole number from 1 to 100."),
        ("limit=", "limit: a whole number from 1 to 100."),
        ("limit=20&limit=20", "limit: give it once."),
        ("page=0", "page: a whole number from 1 to 1000000000."),
        ("page=1.5", "page: a whole number from 1 to 1000000000."),
        ("page=1000000001", "page: a whole number from 1 to 1000000000."),
        ("page=" + "9" * 5000, "page: a whole number from 1 to 1000000000."),
        ("offset=3", "Unknown query parameter 'offset'; known are vsCurrency, from, to, limit, page, before."),
        (
            "Before=2026-01-01",
            (
                "Unknown query parameter 'Before'; known are vsCurrency, from, to, limit, page, before. "
                "Did you mean 'before'?"
            ),
        ),
        ("since=2026-01-01", "Unknown query parameter 'since'; known are vsCurrency, from, to, limit, page, before."),
        ("from=2026-02-02&to=2026-02-01", "from: must not be later than to."),
        ("before=2026-02-02&page=1", "before: send either before or page, not both."),
        ("vsCurrency=xxx", bad_currency("xxx", "vsCurrency").message),
    ],
)
async def test_a_wrong_query_is_refused_in_one_sentence_before_anything_is_charged(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, message: str
) -> None:
    answer = await client.get(f"{HISTORY}?{query}", headers=bearer)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert world.coordinator.charged == []


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("limit=1", {"limit": 1}),
        ("limit=100&page=1000000000", {"limit": 100, "page": 1_000_000_000}),
        ("vsCurrency=eur", {"vs_currency": "eur"}),
    ],
)
async def test_the_bounds_themselves_are_allowed(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, asked: dict[str, Any]
) -> None:
    answer = await client.get(f"{HISTORY}?{query}", headers=bearer)
    assert answer.status_code == 200
    assert world.history.asked[0].items() >= asked.items()


async def test_history_is_charged_to_the_user_and_tells_what_is_left(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    answer = await client.get(HISTORY, headers=bearer)
    assert world.coordinator.charged == [("user:ada", 20)]
    assert answer.headers["X-RateLimit-Remaining"] == "19"


async def test_without_postgres_history_is_503_and_says_when_to_come_back(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.history.refusal = HistoryUnavailable()
    answer = await client.get(HISTORY, headers=bearer)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.headers["X-RateLimit-Remaining"] == "19"


@pytest.mark.parametrize(
    ("refusal", "status"),
    [(RedisUnavailable(), 503), (OverLimit(Charge("user:ada", limit=20, remaining=0, reset_s=9)), 429)],
)
async def test_who_cannot_be_charged_gets_no_history(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], refusal: Exception, status: int
) -> None:
    world.coordinator.refusal = refusal
    answer = await client.get(HISTORY, headers=bearer)
    assert answer.status_code == status
    assert world.history.asked == []


async def test_before_a_cursor_nothing_is_counted_and_the_next_cursor_is_told(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.history.keep("0.10")
    world.history.next = PLACE
    answer = await client.get(f"{HISTORY}?before=2026-03-01", headers=bearer)
    items = f'{{"price":0.10,"fetchedAt":"{FETCHED_AT}"}}'
    rest = f'"limit":20,"nextBefore":"{PLACE_TEXT}"'
    assert answer.text == f'{{"coinId":"bitcoin","vsCurrency":"usd","items":[{items}],{rest}}}'
    assert world.coordinator.charged == [("user:ada", 20)]


async def test_at_the_end_there_is_no_next_cursor(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    answer = await client.get(f"{HISTORY}?before=2026-03-01", headers=bearer)
    assert answer.json()["nextBefore"] is None
    assert "Link" not in answer.headers


async def test_a_link_leads_on_within_what_was_asked_for(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.history.next = PLACE
    asked = "vsCurrency=eur&limit=7&from=2026-01-01T00:00:00%2B02:00"
    next_link = f"{HISTORY}?{asked}&before={PLACE_TEXT}"
    for query in (f"{asked}&page=3", f"{asked}&before=2027-01-01"):
        answer = await client.get(f"{HISTORY}?{query}", headers=bearer)
        assert answer.headers["Link"] == f'<{next_link}>; rel="next"'
    await client.get(next_link, headers=bearer)
    since = datetime(2025, 12, 31, 22, tzinfo=UTC)
    expected = {"vs_currency": "eur", "limit": 7, "since": since, "cursor": PLACE}
    assert world.history.asked[-1].items() >= expected.items()


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        (PLACE_TEXT, PLACE),
        (FETCHED_AT, Cursor(from_unix_ms(FETCHED_AT_MS))),
        ("2026-02-28", Cursor(datetime(2026, 2, 28, tzinfo=UTC))),
        (f"2026-02-28_{BATCH_ID}", Cursor(datetime(2026, 2, 28, tzinfo=UTC), UUID(hex=BATCH_ID))),
        ("0001-01-01", Cursor(datetime(1, 1, 1, tzinfo=UTC))),
    ],
)
async def test_a_cursor_is_a_time_and_perhaps_a_batch(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], text: str, cursor: Cursor
) -> None:
    assert (await client.get(f"{HISTORY}?before={text}", headers=bearer)).status_code == 200
    assert world.history.asked[0]["cursor"] == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "_",
        "1",
        BATCH_ID,
        f"_{BATCH_ID}",
        f"{FETCHED_AT}_",
        f"{FETCHED_AT}_{BATCH_ID[1:]}",
        f"{FETCHED_AT}_{BATCH_ID.upper()}",
        f"{FETCHED_AT}_{BATCH_ID}_",
        f"{FETCHED_AT}_{UUID(hex=BATCH_ID)}",
        f"{FETCHED_AT}_" + "٣" * 32,
        "0000-01-01",
        "9" * 5000,
    ],
    ids=lambda text: text[:60],
)
async def test_what_is_no_cursor_is_refused(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], text: str
) -> None:
    answer = await client.get(f"{HISTORY}?before={text}", headers=bearer)
    message = "before: the nextBefore of another answer, or an ISO 8601 time. Not together with page."
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert (world.history.asked, world.coordinator.charged) == ([], [])


async def test_without_postgres_nothing_comes_before_either(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.history.refusal = HistoryUnavailable()
    assert (await client.get(f"{HISTORY}?before={FETCHED_AT}", headers=bearer)).status_code == 503
