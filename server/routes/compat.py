"""`/api/v3`: CoinGecko's own paths, so that its clients need nothing but another address, and a token for a key."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, security_scheme, tag

from core.batches import Wanted
from core.errors import BadInput, CryptoPulseError, NotFound, ResultTimeout, Unauthorized, UnknownCoin
from core.freshness import Freshness
from core.prices import CURRENCIES, is_coin_id
from server.answers import answer, ok, response
from server.asked import Asked, current
from server.auth import User
from server.compat.errors import ROOT, error_form
from server.compat.keys import NO_KEY, key_holder
from server.compat.queries import BAD_PRECISION, CoinsQuery, PriceQuery, read_query
from server.errors import retry_after_s
from server.openapi import API_KEY, BEARER, FRESHNESS_HEADERS, LIMIT_HEADERS, RouteT, documented
from server.outcomes import Outcome, ask, settled
from server.users import charge_user

blueprint = Blueprint("compat", __name__, url_prefix=ROOT)

Row = dict[str, Decimal]  # {vs_currency: price}
SimplePrices = Annotated[
    dict[str, Row],
    msgspec.Meta(description="Prices by coin and currency."),
]
Currencies = Annotated[list[str], msgspec.Meta(description="The currencies that CoinGecko supports.")]


class ListedCoin(msgspec.Struct):
    """A coin that CoinGecko knows."""

    id: str
    symbol: str
    name: str


ListedCoins = Annotated[list[ListedCoin], msgspec.Meta(description="All coins that CoinGecko knows.")]


class Ping(msgspec.Struct):
    """What CoinGecko answers, which some clients look for."""

    gecko_says: str


_PONG = Ping("(V3) To the Moon!")
_TOLD = {400: BadInput(BAD_PRECISION), 401: Unauthorized(NO_KEY)}
_TOLD_OF_COINS = {
    400: BadInput("'include_platform' cannot be served here: leave it out."),
    401: Unauthorized(NO_KEY),
    504: ResultTimeout("The list of coins did not come in time. Try again shortly."),
}


def _drop_in(
    body: Any,
    *errors: int,
    example: object,
    told: Mapping[int, Exception] = _TOLD,
    headers: dict[str, str] = LIMIT_HEADERS,
) -> Callable[[RouteT], RouteT]:
    """Document a route whose caller is named by its key, and is told errors in CoinGecko's forms."""

    def mark(route: RouteT) -> RouteT:
        statuses = sorted((*errors, 401, 429, 503))
        documented(body, *statuses, headers=headers, error_form=error_form, example=example, told=told)(route)
        security_scheme([API_KEY, BEARER])(route)
        return tag(["drop-in for CoinGecko clients"])(route)

    return mark


@blueprint.get("/simple/price")
@_drop_in(
    SimplePrices,
    *(400, 422, 502, 504),
    headers=LIMIT_HEADERS | FRESHNESS_HEADERS,
    example={"bitcoin": {"usd": Decimal("67210.45")}},
)
@document_querystring(PriceQuery)
async def simple_price() -> Response:
    """Prices of many coins in many currencies; counts as one request for each 50 ids or part of them."""
    asked = current()
    user = key_holder(asked)
    query = read_query(PriceQuery, asked)
    outcomes = await _outcomes(asked, query, user)
    _raise_worst(outcomes)
    return answer(_rows(outcomes, query), _age_of(outcomes, asked.services.settings.compat_max_age_s))


@blueprint.get("/simple/supported_vs_currencies")
@_drop_in(Currencies, example=CURRENCIES)
async def supported_vs_currencies() -> Response:
    """The currencies, in CoinGecko's order."""
    asked = current()
    await charge_user(asked, key_holder(asked))
    return answer(CURRENCIES)


@blueprint.get("/coins/list")
@_drop_in(ListedCoins, 400, 502, 504, example=[ListedCoin("bitcoin", "btc", "Bitcoin")], told=_TOLD_OF_COINS)
async def coins_list() -> Response:
    """The coins, in CoinGecko's order."""
    asked = current()
    user = key_holder(asked)
    read_query(CoinsQuery, asked)
    await charge_user(asked, user)
    return response(ok(await asked.services.coin_list.get(), {}))


@blueprint.get("/ping")
@_drop_in(Ping, example=_PONG)
async def ping() -> Response:
    """Whether the key is good."""
    asked = current()
    await charge_user(asked, key_holder(asked))
    return answer(_PONG)


async def _outcomes(asked: Asked, query: PriceQuery, user: User) -> list[Outcome]:
    """What became of the coins that may exist; of others nothing need be asked."""
    # Where no currency is supported, only a price in some other says which coins CoinGecko knows.
    currencies = query.vs_currencies or ("usd",)
    wanted = [Wanted(coin_id, currencies) for coin_id in query.ids if is_coin_id(coin_id)]
    if not wanted:
        await charge_user(asked, user)
        return []
    # How old a price may be is for the operator to say, since these clients cannot.
    freshness = Freshness(max_age_s=asked.services.settings.compat_max_age_s)
    return await settled(asked, ask(asked, wanted, user, freshness))


def _raise_worst(outcomes: Sequence[Outcome]) -> None:
    """Raise the error that matters most, if any does: a coin left out because of it would pass for unknown."""
    errors = [error for outcome in outcomes for error in outcome.errors if not isinstance(error, NotFound)]
    if errors:
        raise min(errors, key=_rank)


def _rank(error: CryptoPulseError) -> tuple[bool, int, int]:
    """What says when to come back goes first, the longest wait before others; then 502, then 504."""
    wait_s = retry_after_s(error)
    return wait_s is None, -(wait_s or 0), error.status


def _rows(outcomes: Sequence[Outcome], query: PriceQuery) -> dict[str, Row]:
    return {outcome.coin_id: _row(outcome, query) for outcome in outcomes if not _is_unknown(outcome)}


def _row(outcome: Outcome, query: PriceQuery) -> Row:
    prices = [quote.price for quote in outcome.quotes if quote.price.vs_currency in query.vs_currencies]
    return {price.vs_currency: query.rounded(price.price) for price in prices}


def _is_unknown(outcome: Outcome) -> bool:
    return any(isinstance(error, UnknownCoin) for error in outcome.errors)


def _age_of(outcomes: Sequence[Outcome], max_age_s: int) -> dict[str, str]:
    age_s = max((quote.age_s for outcome in outcomes for quote in outcome.quotes), default=0)
    return {"Age": str(age_s), "Cache-Control": f"private, max-age={max_age_s}"}
