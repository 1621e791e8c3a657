"""What clients send, read strictly: a refusal names the field and what is allowed.

A model's field descriptions are both its documentation and its error messages.
"""

import json
import re
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from quart import request
from werkzeug.exceptions import UnsupportedMediaType

from core.errors import BadCoin, BadInput
from core.prices import CURRENCIES, SHOWN_LENGTH, parse_coin_id, parse_currency
from server.asked import Asked, query_of

MOST_COINS = 250  # of one request, so that one caller does not fill a call
COIN_ID_SCHEMA = {"type": "string", "pattern": "^[a-z0-9-]+$", "minLength": 1, "maxLength": 128}

_LONGEST_REMEMBERED = 64
_WHOLE_NUMBER = re.compile(r"[0-9]{1,10}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


class Input(BaseModel):
    """A query or a body that allows no fields but its own."""

    # Errors of pydantic show what was given: not where that may be a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


ModelT = TypeVar("ModelT", bound=Input)


def parse_moment(text: str) -> datetime:
    """Read an ISO 8601 time as UTC; a date is its first moment, a time without a zone is UTC.

    Raises ValueError, also for times that UTC has no year 1 to 9999 for.
    """
    if _MOMENT.fullmatch(text) is None:
        raise ValueError("not an ISO 8601 time")
    moment = datetime.fromisoformat(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error


def _whole_number(text: object) -> int:
    if not isinstance(text, str) or _WHOLE_NUMBER.fullmatch(text) is None:
        raise ValueError("not a whole number")
    return int(text)


def _moment(text: object) -> datetime:
    if not isinstance(text, str):
        raise ValueError("not a text")  # noqa: TRY004 - pydantic turns ValueErrors into its own, not TypeErrors
    return parse_moment(text)


def _currency(text: object) -> str:
    return parse_currency(str(text))


def comma_list(text: str) -> tuple[str, ...]:
    """Split `a,b`: blanks around an item, empty items and repetitions do not count."""
    return tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


def _coin_ids(text: object) -> tuple[str, ...]:
    coin_ids = comma_list(str(text))
    if not coin_ids:
        raise ValueError("no coin id")
    if len(coin_ids) > MOST_COINS:
        raise BadInput(f"ids: {len(coin_ids)} given; send at most {MOST_COINS} at once.")
    for coin_id in coin_ids:
        _check_coin_id(coin_id)
    return coin_ids


def _check_coin_id(text: str) -> None:
    try:
        parse_coin_id(text)
    except BadCoin as error:
        raise BadCoin(f"ids: '{text[:SHOWN_LENGTH]}' is not a coin id. {error.message}") from None


def _currencies(text: object) -> tuple[str, ...]:
    currencies = comma_list(str(text))
    if not currencies:
        raise ValueError("no currency")
    return tuple(parse_currency(currency, "vsCurrencies") for currency in currencies)


WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
_CURRENCY_SCHEMA = {"type": "string", "enum": sorted(CURRENCIES)}
Currency = Annotated[str, BeforeValidator(_currency), WithJsonSchema(_CURRENCY_SCHEMA)]
CoinIds = Annotated[
    tuple[str, ...],
    BeforeValidator(_coin_ids),
    WithJsonSchema({"type": "array", "items": COIN_ID_SCHEMA, "minItems": 1}),
]
Currencies = Annotated[
    tuple[str, ...],
    BeforeValidator(_currencies),
    WithJsonSchema({"type": "array", "items": _CURRENCY_SCHEMA, "minItems": 1}),
]


class PriceQuery(Input):
    """In what a price is asked."""

    vs_currency: Currency = Field(
        "usd", alias="vsCurrency", description="a currency such as 'usd' or 'eur'.", examples=["eur"]
    )


class PeriodQuery(PriceQuery):
    """Of which time prices are asked."""

    since: Moment | None = Field(
        None,
        alias="from",
        description="an ISO 8601 time, inclusive, UTC where it names no zone, such as '2026-02-28T03:55:00Z' "
        "('+' is written '%2B').",
        examples=["2026-02-28T00:00:00Z"],
    )
    until: Moment | None = Field(
        None,
        alias="to",
        description="an ISO 8601 time, inclusive, UTC where it names no zone; a date is its first moment.",
        examples=["2026-03-01T00:00:00Z"],
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("from: must not be later than to.")
        return self


def read_query(model: type[ModelT], asked: Asked) -> ModelT:
    """A request's query as `model`, or raise BadInput."""
    text = asked.scope["query_string"]
    return (_remembered if len(text) <= _LONGEST_REMEMBERED else _parsed)(model, text)


def _parsed(model: type[ModelT], text: bytes) -> ModelT:
    given = query_of(text)
    repeated = next((name for name, values in given.items() if len(values) > 1), None)
    if repeated is not None:
        raise BadInput(f"{repeated[:SHOWN_LENGTH]}: give it once.")
    try:
        return model.model_validate({name: values[0] for name, values in given.items()})
    except ValidationError as error:
        raise BadInput(_sentence(error, model, "query parameter")) from None


# Most queries are one of a few; and what comes of one is frozen.
_remembered = lru_cache(maxsize=1024)(_parsed)


async def read_body(model: type[ModelT]) -> ModelT:
    """The current request's JSON body as `model`.

    Raises BadInput, or werkzeug's errors for another media type, too large a body or too slow a sender.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send JSON, with 'Content-Type: application/json'.")
    body = await request.get_data(as_text=False)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise BadInput(_sentence(error, model, "field")) from None


def _sentence(error: ValidationError, model: type[Input], kind: str) -> str:
    """One sentence on the first thing that is wrong."""
    problem = error.errors(include_url=False, include_context=False)[0]
    if not problem["loc"]:
        return _whole_sentence(problem["type"], problem["msg"], model)
    name = str(problem["loc"][0])
    descriptions = _descriptions(model)
    if problem["type"] == "extra_forbidden":
        return _unknown(kind, name[:SHOWN_LENGTH], list(descriptions))
    return f"{name}: {descriptions[name]}"


def _whole_sentence(kind: str, message: str, model: type[Input]) -> str:
    if kind in {"json_invalid", "model_type"}:
        return f"The body must be a JSON object in UTF-8, such as {json.dumps(_example(model))}."
    return message.removeprefix("Value error, ")


def _unknown(kind: str, name: str, known: list[str]) -> str:
    match known:
        case []:
            return f"Unknown {kind} '{name}'; there is none here."
        case [only]:
            return f"Unknown {kind} '{name}'; the only one is {only}."
    close = "".join(f" Did you mean '{it}'?" for it in get_close_matches(name, known, n=1))
    return f"Unknown {kind} '{name}'; known are {', '.join(known)}.{close}"


def _descriptions(model: type[Input]) -> dict[str, str]:
    return {name: field["description"] for name, field in _fields(model).items()}


def _example(model: type[Input]) -> dict[str, object]:
    return {name: field["examples"][0] for name, field in _fields(model).items()}


def _fields(model: type[Input]) -> dict[str, dict[str, Any]]:
    fields: dict[str, dict[str, Any]] = model.model_json_schema()["properties"]
    return fields
