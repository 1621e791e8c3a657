"""The bodies and headers of answers, as the contract spells them."""

from decimal import Decimal
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Self

import msgspec
from quart import Response

from core.batches import Quote
from core.prices import Price, iso_ms

_NEXT_BEFORE = msgspec.Meta(description="The cursor of what comes next, null at the end; only where `before` is asked.")
_Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class TokenBody(msgspec.Struct, rename="camel"):
    """A signed access token."""

    access_token: str
    token_type: str
    expires_in: str


class PriceBody(msgspec.Struct, rename="camel"):
    """What a coin cost when its price was fetched."""

    coin_id: str
    vs_currency: str
    price: Decimal
    fetched_at: _Time


class CoinErrorBody(msgspec.Struct, rename="camel"):
    """Why a coin, or one of its currencies, has no price here; the status is what it would have alone."""

    coin_id: str
    status_code: int
    message: str


class PricesBody(msgspec.Struct):
    """The prices of several coins, as far as there are any."""

    prices: list[PriceBody]
    errors: list[CoinErrorBody]


class HistoryItem(msgspec.Struct, rename="camel"):
    """A price that was fetched at some time."""

    price: Decimal
    fetched_at: _Time


class HistoryBody(msgspec.Struct, rename="camel", kw_only=True):
    """Fetched prices, newest first: a page of them, or those from a cursor on, which counts none."""

    coin_id: str
    vs_currency: str
    items: list[HistoryItem]
    page: int | msgspec.UnsetType = msgspec.UNSET
    limit: int
    total_items: int | msgspec.UnsetType = msgspec.UNSET
    total_pages: int | msgspec.UnsetType = msgspec.UNSET
    next_before: Annotated[str | None, _NEXT_BEFORE] | msgspec.UnsetType = msgspec.UNSET


class CandleBody(msgspec.Struct, rename="camel"):
    """The first, highest, lowest and last price of an interval, how many there were, and when it began."""

    opened_at: _Time
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    count: int


class CandlesBody(msgspec.Struct, rename="camel"):
    """What a coin's prices did, oldest first; an interval without a price has no candle."""

    coin_id: str
    vs_currency: str
    interval: str
    candles: list[CandleBody]


class HealthBody(msgspec.Struct):
    """Whether this instance can do its work."""

    status: str


class ErrorBody(msgspec.Struct, rename="camel"):
    """What went wrong, and what to do."""

    status_code: int
    message: str
    error: str


class ProblemBody(msgspec.Struct, rename="camel"):
    """The same as a problem of RFC 9457, for clients that accept `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    status_code: int
    message: str
    error: str

    @classmethod
    def of(cls, body: ErrorBody, uri: str, title: str, *, instance: str) -> Self:
        """An error of this kind, which came up at `instance`."""
        return cls(uri, title, body.status_code, body.message, instance, body.status_code, body.message, body.error)


# Python 3.13 tells it by a newer name.
_PHRASES = {413: "Request Entity Too Large"}

# A price goes out digit by digit as it came in.
encode = msgspec.json.Encoder(decimal_format="number").encode


def error_body(status: int, message: str) -> ErrorBody:
    """An error as the contract spells it."""
    return ErrorBody(status, message, _PHRASES.get(status) or HTTPStatus(status).phrase)


class Answer(msgspec.Struct, frozen=True):
    """What a client is sent, by whomever: a status, headers, and JSON."""

    status: int
    headers: dict[str, str]
    body: bytes


def answer(body: object, headers: dict[str, str] | None = None) -> Response:
    """A 200 that carries `body` as JSON."""
    return response(ok(encode(body), headers or {}))


def ok(text: bytes, headers: dict[str, str]) -> Answer:
    """A 200 that carries JSON which is written already."""
    return Answer(200, {"Content-Type": "application/json"} | headers, text)


def response(answer: Answer) -> Response:
    """An answer that Quart sends."""
    return Response(answer.body, answer.status, answer.headers)


def price_body(price: Price) -> PriceBody:
    """A price as the contract spells it."""
    return PriceBody(price.coin_id, price.vs_currency, price.price, iso_ms(price.fetched_at))


@lru_cache(maxsize=2048)
def price_text(price: Price) -> bytes:
    """A price as it is sent; written once for all who waited for it."""
    return encode(price_body(price))


def batch_headers(quote: Quote) -> dict[str, str]:
    """How a quote came about."""
    return {
        "X-Batch-Id": quote.price.batch_id,
        "X-Batch-Size": str(quote.size),
        "X-Batch-Trigger": quote.trigger,
        "Server-Timing": f"batch;dur={quote.batch_ms:.1f}, upstream;dur={quote.upstream_ms:.1f}",
    }
