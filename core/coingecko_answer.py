"""What CoinGecko's answers say: prices, the list of coins, calls of the month, or what to raise. Pure.

prices = prices_in(Answer(200, {}, b'{"bitcoin":{"usd":67210.45}}'), {"bitcoin"}, {"usd"})
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import msgspec

from core.coingecko_headers import LONGEST_WAIT_S, WAIT_S, retry_after_s
from core.errors import UpstreamFailed, UpstreamLimited, upstream_limited
from core.prices import is_sane

Prices = dict[str, dict[str, Decimal | None]]  # {coin_id: {vs_currency: price, None if it cannot be one}}

OK = 200
TOO_MANY_REQUESTS = 429
_CREDITS_USED_UP = 10006
_LIMITED = frozenset({TOO_MANY_REQUESTS, _CREDITS_USED_UP})

# CoinGecko's error objects carry their code in any of these places, under any status, 200 too.
_CODE_PLACES: tuple[tuple[str, ...], ...] = ((), ("status",), ("error",), ("error", "status"))
# They are 300 bytes; to look for one in what is longer would cost as much as reading prices does.
_LONGEST_ERROR_BYTES = 65_536


class UpstreamTrouble(Exception):
    """Why a call failed, for the operator's log: the cause of every UpstreamFailed and UpstreamLimited."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Coin(msgspec.Struct):
    """An entry of the list of coins, as far as it must be right."""

    id: str
    symbol: str
    name: str


class _Key(msgspec.Struct):
    """What CoinGecko tells of an account."""

    current_total_monthly_calls: Annotated[int, msgspec.Meta(ge=0)]


_check_coins = msgspec.json.Decoder(list[_Coin]).decode
_decode_key = msgspec.json.Decoder(_Key).decode


def prices_in(answer: Answer, coin_ids: Collection[str], vs_currencies: Collection[str]) -> Prices:
    """The prices of these coins in these currencies, exactly as the JSON text has them.

    A coin that CoinGecko does not know is absent, and so is a currency that it does not list for a coin; a value
    that cannot be a price is None. Raises UpstreamLimited or UpstreamFailed.
    """
    with _reading(answer):
        coins = _coins(answer.body, coin_ids)
    return {coin_id: _prices(coins[coin_id], vs_currencies) for coin_id in coin_ids if coin_id in coins}


def coin_list_in(answer: Answer) -> bytes:
    """The list of all coins, byte for byte as it came. Raises UpstreamLimited or UpstreamFailed."""
    with _reading(answer):
        _check_coins(answer.body)
    return answer.body


def usage_in(answer: Answer) -> int:
    """How many calls of this month CoinGecko has counted. Raises UpstreamLimited or UpstreamFailed."""
    with _reading(answer):
        return _decode_key(answer.body).current_total_monthly_calls


def check(answer: Answer) -> None:
    """Raise UpstreamLimited or UpstreamFailed if this is a refusal."""
    with _reading(answer):
        return


@contextmanager
def _reading(answer: Answer) -> Iterator[None]:
    """Raise UpstreamLimited or UpstreamFailed if the answer is a refusal, or cannot be read in this block."""
    billed = answer.status == OK
    code = _error_code(answer.body)
    reason = f"HTTP {answer.status}" + (f", CoinGecko error {code}" if code else "")
    if answer.status == TOO_MANY_REQUESTS or code in _LIMITED:
        raise _limited(code, answer) from UpstreamTrouble(reason)
    if answer.status != OK or code:
        message = "CoinGecko refused to answer. Try again shortly."
        raise UpstreamFailed(message, billed=billed) from UpstreamTrouble(reason)
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("CoinGecko's answer could not be read. Try again shortly.") from error


def _limited(code: int | None, answer: Answer) -> UpstreamLimited:
    billed = answer.status == OK
    if code != _CREDITS_USED_UP:
        return upstream_limited(retry_after_s(answer.headers, WAIT_S), billed=billed)
    # A month's credits do not come back by waiting a minute.
    message = "CoinGecko's calls for this month are used up. Prices return when more are granted."
    return UpstreamLimited(message, retry_after_s=retry_after_s(answer.headers, LONGEST_WAIT_S), billed=billed)


def _error_code(body: bytes) -> int | None:
    """The code of CoinGecko's error object, or None if this is none."""
    if len(body) > _LONGEST_ERROR_BYTES:
        return None
    try:
        document = _document(body)
    except (ValueError, RecursionError):
        return None
    for place in _CODE_PLACES:
        found: Any = document
        for name in (*place, "error_code"):
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, Decimal) and is_sane(found):
            return int(found)
    return None


def _coins(body: bytes, coin_ids: Collection[str]) -> dict[str, object]:
    """The answer's entries, or raise ValueError when the body is something else, such as a flat error."""
    document = _document(body)
    if not isinstance(document, dict):
        raise ValueError(f"a JSON object was due, not {type(document).__name__}")  # noqa: TRY004 - wrong data, not a wrong call
    if not all(isinstance(entry, dict) for name, entry in document.items() if name not in coin_ids):
        raise ValueError("a JSON object of prices was due")
    return document


def _document(body: bytes) -> Any:
    """Parse JSON with every number exact, or raise ValueError or RecursionError."""
    text = body.decode("utf-8")
    return json.loads(text, parse_float=_number, parse_int=_number, parse_constant=_number)


def _number(text: str) -> Decimal:
    # Exponents stay exponents here: 1e999999999 costs nothing. Those that not even Decimal holds are no numbers.
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def _prices(entry: object, vs_currencies: Collection[str]) -> dict[str, Decimal | None]:
    if not isinstance(entry, dict):
        return dict.fromkeys(vs_currencies)
    return {code: _price(entry[code]) for code in vs_currencies if entry.get(code) is not None}


def _price(value: object) -> Decimal | None:
    """The price, or None where the value cannot be one; -0.0 is plain zero."""
    return value.copy_abs() if isinstance(value, Decimal) and is_sane(value) else None
