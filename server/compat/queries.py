"""CoinGecko's query language, as far as prices alone can answer it.

query = read_query(PriceQuery, asked)       # or raise BadInput, MissingParameter

Unknown parameters do not count, and of a repeated one the last does. What would change an answer that cannot be changed
is refused: an answer without a field that was asked for would be taken for "not known".
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from core.errors import BadInput
from core.prices import SUPPORTED_CURRENCIES
from server.asked import Asked
from server.compat.errors import MissingParameter
from server.inputs import comma_list

# As CoinGecko bounds it.
MOST_COINS = 515
_PRECISIONS = ("full", *map(str, range(19)))
# CoinGecko's words, and what helps.
BAD_PRECISION = "Invalid value for precision: use 'full', or a whole number from 0 to 18."
_OFF = frozenset({"", "0", "false"})
# More digits than any price has, so that rounding never fails.
_ROUNDING = Context(prec=200, rounding=ROUND_HALF_EVEN)
# Whatever names nothing is left out of the answer like any other name that is not known, but there must be one.
_NAMES = WithJsonSchema(
    {"type": "array", "items": {"type": "string"}, "minItems": 1, "contains": {"pattern": r"[^,\s\x1c-\x1f\x85]"}}
)


def _coin_ids(text: str) -> tuple[str, ...]:
    coin_ids = comma_list(text)
    if len(coin_ids) > MOST_COINS:
        raise BadInput(f"{len(coin_ids)} ids given; send at most {MOST_COINS} at once.")
    return coin_ids


def _currencies(text: str) -> tuple[str, ...]:
    return tuple(currency for currency in comma_list(text.lower()) if currency in SUPPORTED_CURRENCIES)


def _places(text: str) -> int | None:
    if text not in _PRECISIONS:
        raise BadInput(BAD_PRECISION)
    return None if text == "full" else int(text)


class Query(BaseModel):
    """Parameters of which unknown ones do not count."""

    model_config = ConfigDict(extra="ignore", frozen=True)


QueryT = TypeVar("QueryT", bound=Query)


class PriceQuery(Query):
    """Which prices are asked for, and how exact."""

    ids: Annotated[tuple[str, ...], BeforeValidator(_coin_ids), _NAMES] = Field(
        description=f"CoinGecko ids, at most {MOST_COINS}; unknown ones are left out of the answer.",
        examples=[["bitcoin"]],
    )
    vs_currencies: Annotated[tuple[str, ...], BeforeValidator(_currencies), _NAMES] = Field(
        description="Currencies, in any case; those that are not supported are left out of the answer.",
        examples=[["usd"]],
    )
    precision: Annotated[
        int | None, BeforeValidator(_places), WithJsonSchema({"type": "string", "enum": list(_PRECISIONS)})
    ] = Field(
        None,
        description="Decimal places to round to; without it, or with 'full', a price is as it came.",
        examples=["2"],
    )

    @model_validator(mode="before")
    @classmethod
    def _can_be_served(cls, given: Mapping[str, str]) -> Mapping[str, str]:
        if not comma_list(given.get("vs_currencies", "")):
            raise MissingParameter("vs_currencies")
        if not comma_list(given.get("ids", "")):
            raise _without_ids(given)
        for flag in ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at"):
            _refuse_flag(given, flag)
        return given

    def rounded(self, price: Decimal) -> Decimal:
        """A price with no more decimal places than asked for; of two equally near ones the even."""
        if self.precision is None or self.precision >= -int(price.as_tuple().exponent):
            return price
        return price.quantize(Decimal(1).scaleb(-self.precision), context=_ROUNDING)


class CoinsQuery(Query):
    """Which coins are listed, and with what: only one answer can be given."""

    @model_validator(mode="before")
    @classmethod
    def _can_be_served(cls, given: Mapping[str, str]) -> Mapping[str, str]:
        _refuse_flag(given, "include_platform")
        if given.get("status", "active") != "active":
            raise BadInput("Only active coins are listed here: leave 'status' out.")
        return given


def read_query(model: type[QueryT], asked: Asked) -> QueryT:
    """A request's query as `model`, or raise BadInput or MissingParameter."""
    return model.model_validate({name: values[-1] for name, values in asked.query().items()})


def _without_ids(given: Mapping[str, str]) -> BadInput:
    for name in ("names", "symbols"):
        if comma_list(given.get(name, "")):
            return BadInput(f"Coins are found by id alone here: use 'ids' instead of '{name}'.")
    return MissingParameter("ids")


def _refuse_flag(given: Mapping[str, str], name: str) -> None:
    if given.get(name, "").lower() not in _OFF:
        raise BadInput(f"'{name}' cannot be served here: leave it out.")
