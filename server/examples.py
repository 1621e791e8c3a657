"""What the document shows: true answers to its example requests, and of each error what a client is told.

    documented(PricesBody, 400, 503, example=PRICES, told={400: NO_COIN_IDS})
    errors_in_all_forms(404, "/v1/price/bitcoin", {})       # {"application/json": ..., "application/problem+json": ...}

Answers are made of the structs that routes answer with, errors by what renders them, so that neither can be misspelt.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType

from core.errors import (
    BadCoin,
    BadInput,
    HistoryUnavailable,
    RedisUnavailable,
    ResultTimeout,
    Unauthorized,
    UnlistedCurrency,
    UpstreamFailed,
)
from core.limits import Charge, OverLimit
from core.prices import Price, bad_currency
from core.streams import News, Tick
from server.answers import (
    CandleBody,
    CandlesBody,
    HealthBody,
    HistoryBody,
    HistoryItem,
    PriceBody,
    PricesBody,
    TokenBody,
    encode,
    price_body,
)
from server.compat.errors import MissingParameter
from server.errors import render
from server.event_stream import heartbeat, news_text, opening
from server.problems import MEDIA_TYPE

_BITCOIN = Price("8f0c2ea7d1b34c6f9a5e7d2b4c6a8e10", "bitcoin", "usd", Decimal("67210.45"), 1_772_250_900_000)
EVENT_ID = f"{_BITCOIN.fetched_at_ms}-{_BITCOIN.batch_id}-usd"

TIME = "2026-02-28T03:55:00.000Z"
CURSOR = f"{TIME}_{_BITCOIN.batch_id}"

TOKEN = TokenBody("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl", "Bearer", "1h")
PRICE: PriceBody = price_body(_BITCOIN)
PRICES = PricesBody([PRICE], [])
HISTORY = HistoryBody(
    coin_id="bitcoin",
    vs_currency="usd",
    items=[HistoryItem(_BITCOIN.price, TIME)],
    page=1,
    limit=20,
    total_items=1,
    total_pages=1,
)
CANDLES = CandlesBody(
    "bitcoin",
    "usd",
    "1h",
    [
        CandleBody(
            opened_at="2026-02-28T03:00:00.000Z",
            open=Decimal(67180),
            high=Decimal("67240.5"),
            low=Decimal("67175.1"),
            close=Decimal("67210.45"),
            count=9,
        )
    ],
)
STREAM = (
    opening(3000, None) + news_text(News(is_reset=False, ticks=[Tick(_BITCOIN, EVENT_ID)])) + heartbeat(EVENT_ID)
).decode()
HEALTH = HealthBody("ok")

NO_COIN_IDS = BadCoin(
    "ids: 'Bitcoin' is not a coin id. A coin id is 1 to 128 of a-z, 0-9 and '-', for example 'bitcoin'."
)
NO_PASSWORD = BadInput("password: a text, required.")
WRONG_PASSWORD = Unauthorized("Wrong user name or password.")
TOO_MANY_LOGINS = OverLimit(Charge("login:192.0.2.1", limit=5, remaining=0, reset_s=42))
NO_HISTORY = HistoryUnavailable()

# What is told of a status, unless a route tells of another.
_ERRORS: Mapping[int, Exception] = MappingProxyType(
    {
        400: bad_currency("xyz", "vsCurrency"),
        401: Unauthorized("Send a token: 'Authorization: Bearer <token>'. POST /auth/login gives one."),
        404: UnlistedCurrency("CoinGecko lists no price of 'bitcoin' in 'vef'."),
        408: RequestTimeout(),
        413: RequestEntityTooLarge(),
        415: UnsupportedMediaType("Send JSON, with 'Content-Type: application/json'."),
        422: MissingParameter("vs_currencies"),
        429: OverLimit(Charge("user:ada", limit=20, remaining=0, reset_s=42)),
        502: UpstreamFailed("CoinGecko did not answer in time. Try again shortly."),
        503: RedisUnavailable(),
        504: ResultTimeout("No price arrived in time. Try again."),
    }
)


def example_of(body: object) -> Any:
    """A body as its reader finds it in JSON; the text of a stream is none."""
    return body if isinstance(body, str) else msgspec.json.decode(encode(body))


def errors_in_all_forms(status: int, path: str, told: Mapping[int, Exception]) -> dict[str, Any]:
    """What is told of an error at a path, by media type; `told` are those that the route tells in its own words."""
    error = told.get(status) or _ERRORS[status]
    forms = {}
    for accepted in ("application/json", MEDIA_TYPE):
        scope = {"path": path, "headers": [(b"accept", accepted.encode())]}
        answer = render(error, scope)
        forms[answer.headers["Content-Type"]] = msgspec.json.decode(answer.body)
    return forms
