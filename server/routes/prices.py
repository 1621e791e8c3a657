"""`/v1/price/{coinId}` and `/v1/prices`: what coins cost now."""

from collections.abc import Sequence

from pydantic import Field
from quart import Blueprint, Response
from quart_schema import document_headers, document_querystring, security_scheme, tag

from core.batches import Wanted
from server.answers import CoinErrorBody, PriceBody, PricesBody, answer, price_body, response
from server.asked import current
from server.cache_control import freshness_headers, requested_freshness
from server.errors import retry_after_s
from server.examples import NO_COIN_IDS, PRICE, PRICES
from server.inputs import MOST_COINS, CoinIds, Currencies, Input, PriceQuery, read_query
from server.openapi import BATCH_HEADERS, BEARER, FRESHNESS_HEADERS, LIMIT_HEADERS, FreshnessHeader, documented
from server.outcomes import Outcome, ask, settled
from server.price import price_answer
from server.users import sender

blueprint = Blueprint("prices", __name__)

_RETRY_AFTER = {"Retry-After": "Seconds to wait, if among the errors is a 429 or a 503; of several, the longest."}


class PricesQuery(Input):
    """Which coins are asked for, and in what."""

    ids: CoinIds = Field(
        description=f"coin ids with commas between, at least one and at most {MOST_COINS}.", examples=[["bitcoin"]]
    )
    vs_currencies: Currencies = Field(
        ("usd",),
        alias="vsCurrencies",
        description="currencies with commas between, such as 'usd,eur'.",
        examples=[["usd", "eur"]],
    )


@blueprint.get("/v1/price/<coinId>")
@documented(
    PriceBody,
    *(400, 401, 404, 429, 502, 503, 504),
    headers=LIMIT_HEADERS | BATCH_HEADERS | FRESHNESS_HEADERS,
    example=PRICE,
)
@document_querystring(PriceQuery)
@document_headers(FreshnessHeader)
@security_scheme([BEARER])
@tag(["prices"])
async def price(coinId: str) -> Response:  # noqa: N803 - the contract's spelling, which the document shows
    """The price of a coin, fetched from CoinGecko after the request came, unless the request allows an older one."""
    return response(await price_answer(current(), coinId))


@blueprint.get("/v1/prices")
@documented(
    PricesBody,
    *(400, 401, 429, 503),
    headers=LIMIT_HEADERS | FRESHNESS_HEADERS | _RETRY_AFTER,
    example=PRICES,
    told={400: NO_COIN_IDS},
)
@document_querystring(PricesQuery)
@document_headers(FreshnessHeader)
@security_scheme([BEARER])
@tag(["prices"])
async def prices() -> Response:
    """The prices of several coins, by one request that counts as one for each 50 coins or part of them."""
    asked = current()
    user = sender(asked)
    query = read_query(PricesQuery, asked)
    wanted = [Wanted(coin_id, query.vs_currencies) for coin_id in query.ids]
    request = ask(asked, wanted, user, requested_freshness(asked.header("cache-control")))
    outcomes = await settled(asked, request)
    return answer(_prices_body(outcomes), _headers_of(outcomes, honoured=asked.services.settings.upstream_honour_cache))


def _prices_body(outcomes: Sequence[Outcome]) -> PricesBody:
    return PricesBody(
        [price_body(quote.price) for outcome in outcomes for quote in outcome.quotes],
        [
            CoinErrorBody(outcome.coin_id, error.status, error.message)
            for outcome in outcomes
            for error in outcome.errors
        ],
    )


def _headers_of(outcomes: Sequence[Outcome], *, honoured: bool) -> dict[str, str]:
    """How old the prices are, and if some are missing for now, when to ask again."""
    headers = freshness_headers([quote for outcome in outcomes for quote in outcome.quotes], honoured=honoured)
    errors = [error for outcome in outcomes for error in outcome.errors]
    if errors:  # what is missing now must not stay missing in a cache
        headers["Cache-Control"] = "private, no-cache"
    waits = [wait_s for wait_s in map(retry_after_s, errors) if wait_s is not None]
    return headers | {"Retry-After": str(max(waits))} if waits else headers
