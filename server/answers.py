"""The bodies and headers of answers, as the contract spells them."""

from decimal import Decimal
from http import HTTPStatus
from typing import Annotated

import msgspec
from quart import Response, g
from werkzeug.datastructures import Headers

from core.batches import Quote
from core.limits import Charge
from core.prices import iso_ms

_Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class TokenBody(msgspec.Struct, rename="camel"):
    """A signed access token."""

    access_token: str
    token_type: str
    expires_in: str


class PriceBody(msgspec.Struct, rename="camel"):
    """A price that was fetched after it was asked for."""

    coin_id: str
    vs_currency: str
    price: Decimal
    fetched_at: _Time


class HistoryItem(msgspec.Struct, rename="camel"):
    """A price that was fetched at some time."""

    price: Decimal
    fetched_at: _Time


class HistoryBody(msgspec.Struct, rename="camel"):
    """One page of fetched prices, newest first."""

    coin_id: str
    vs_currency: str
    items: list[HistoryItem]
    page: int
    limit: int
    total_items: int
    total_pages: int


class HealthBody(msgspec.Struct):
    """Whether this instance can do its work."""

    status: str


class ErrorBody(msgspec.Struct, rename="camel"):
    """What went wrong, and what to do."""

    status_code: int
    message: str
    error: str


# Python 3.13 tells it by a newer name.
_PHRASES = {413: "Request Entity Too Large"}

_encode = msgspec.json.Encoder(decimal_format="number").encode


def error_json(status: int, message: str) -> bytes:
    """The body of an error."""
    return _encode(ErrorBody(status, message, _PHRASES.get(status) or HTTPStatus(status).phrase))


def answer(body: msgspec.Struct, headers: dict[str, str] | None = None) -> Response:
    """A 200 that carries `body` as JSON."""
    return Response(_encode(body), content_type="application/json", headers=headers)


def priced(quote: Quote) -> Response:
    """The answer to a price request, with how it came about."""
    price = quote.price
    body = PriceBody(price.coin_id, price.vs_currency, price.price, iso_ms(price.fetched_at))
    return answer(
        body,
        {
            "X-Batch-Id": price.batch_id,
            "X-Batch-Size": str(quote.size),
            "X-Batch-Trigger": quote.trigger,
            "Server-Timing": f"batch;dur={quote.batch_ms:.1f}, upstream;dur={quote.upstream_ms:.1f}",
        },
    )


def note_charge(charge: Charge) -> None:
    """Remember what the caller was charged: whatever the answer will be, it tells the caller."""
    g.charge = charge


def tell_charge(headers: Headers) -> None:
    """Add what is left of the caller's limit, if it is known."""
    charge: Charge | None = g.get("charge")
    if charge is not None:
        headers["X-RateLimit-Limit"] = str(charge.limit)
        headers["X-RateLimit-Remaining"] = str(charge.remaining)
        headers["X-RateLimit-Reset"] = str(charge.reset_s)
