"""The query language of `GET /simple/price` and the shape of its answers."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from msgspec import Raw, Struct

from simulator.coins import COINS, Coin, by_name, by_symbol
from simulator.decimal_text import json_number, significant, with_places
from simulator.market import Market
from simulator.messages import comma_list

# {coin id: {field: JSON text}}
Overrides = Mapping[str, Mapping[str, str]]

# The flag asks for 24hr, the field says 24h.
FIGURES = {
    "include_market_cap": "market_cap",
    "include_24hr_vol": "24h_vol",
    "include_24hr_change": "24h_change",
}
PRICE_DIGITS = 6
PRECISIONS = {"full", *map(str, range(19))}


class BadQueryError(Exception):
    """A query that CoinGecko refuses, with its status and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Field(Struct, frozen=True):
    """One field of a coin's answer, such as `usd_24h_vol`."""

    name: str
    currency: str
    figure: str


class PriceQuery(Struct, frozen=True):
    """A query in order: which coins under which keys, which fields, and how exact a price."""

    coin_ids: dict[str, str]  # {key in the answer: coin id}
    fields: tuple[Field, ...]
    precision: str | None


def parse(params: Mapping[str, str]) -> PriceQuery:
    """Read the parameters, or raise BadQueryError."""
    currencies = comma_list(params.get("vs_currencies", "").lower())
    if not currencies:
        raise BadQueryError(422, "Missing parameter vs_currencies")
    return PriceQuery(_coin_ids(params), tuple(_fields(currencies, params)), _precision(params))


def prices(query: PriceQuery, market: Market, now: float, overrides: Overrides) -> dict[str, dict[str, Raw]]:
    """The answer's body. An unknown coin is left out, and so is a field that a coin does not have."""
    return {
        key: _row(query, coin_id, market, now, overrides.get(coin_id, {}))
        for key, coin_id in query.coin_ids.items()
        if coin_id in COINS or coin_id in overrides
    }


def _coin_ids(params: Mapping[str, str]) -> dict[str, str]:
    """Ids win over names, names over symbols."""
    if ids := comma_list(params.get("ids")):
        return {coin_id: coin_id for coin_id in ids}
    if names := comma_list(params.get("names")):
        return {coin.name: coin.id for name in names for coin in by_name(name)[:1]}
    if symbols := comma_list(params.get("symbols")):
        return _ids_by_symbol(symbols, params.get("include_tokens", "top"))
    raise BadQueryError(422, "Missing parameter ids")


def _ids_by_symbol(symbols: tuple[str, ...], include_tokens: str) -> dict[str, str]:
    """Keyed by symbol; where `all` brings several coins of one symbol, by id."""
    if include_tokens == "all":
        return {coin.id: coin.id for symbol in symbols for coin in by_symbol(symbol)}
    return {coin.symbol: coin.id for symbol in symbols for coin in by_symbol(symbol)[:1]}


def _fields(currencies: tuple[str, ...], params: Mapping[str, str]) -> Iterator[Field]:
    figures = [figure for flag, figure in FIGURES.items() if params.get(flag) == "true"]
    for currency in currencies:
        yield Field(currency, currency, "price")
        for figure in figures:
            yield Field(f"{currency}_{figure}", currency, figure)
    if params.get("include_last_updated_at") == "true":
        yield Field("last_updated_at", "", "last_updated_at")


def _precision(params: Mapping[str, str]) -> str | None:
    text = params.get("precision")
    if text is None or text in PRECISIONS:
        return text
    raise BadQueryError(400, "Invalid value for precision")


def _row(query: PriceQuery, coin_id: str, market: Market, now: float, overrides: Mapping[str, str]) -> dict[str, Raw]:
    coin = COINS.get(coin_id)
    texts = {
        field.name: overrides.get(field.name) or _text(field, coin, market, now, query.precision)
        for field in query.fields
    }
    return {name: Raw(text.encode()) for name, text in texts.items() if text}


def _text(field: Field, coin: Coin | None, market: Market, now: float, precision: str | None) -> str | None:
    """The JSON text of a field, or None where the coin has none."""
    if coin is None:
        return None
    if field.figure == "last_updated_at":
        return str(int(market.updated_at(now)))
    price = market.price(coin, field.currency, now)
    if price is None:
        return None
    return json_number(_figure(field, coin, market, now, _rounded(price, precision)))


def _figure(field: Field, coin: Coin, market: Market, now: float, price: Decimal) -> Decimal:
    match field.figure:
        case "market_cap":
            return market.market_cap(coin, field.currency, now)
        case "24h_vol":
            return market.volume_24h(coin, field.currency, now)
        case "24h_change":
            return market.change_24h(coin, now)
        case _:
            return price


def _rounded(price: Decimal, precision: str | None) -> Decimal:
    if precision is None:
        return significant(price, PRICE_DIGITS)
    return price if precision == "full" else with_places(price, int(precision))
