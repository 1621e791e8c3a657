"""What an answer of CoinGecko's /simple/price says: prices, or what to raise. Pure.

prices = prices_in(Answer(200, {}, b'{"bitcoin":{"usd":67210.45}}'), {"bitcoin"}, {"usd"})
"""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from core.errors import UpstreamFailed, UpstreamLimited
from core.prices import is_sane

Prices = dict[str, dict[str, Decimal | None]]  # {coin_id: {vs_currency: price, None if it cannot be one}}

TOO_MANY_REQUESTS = 429
_OK = 200
_CREDITS_USED_UP = 10006
_LIMITED = frozenset({TOO_MANY_REQUESTS, _CREDITS_USED_UP})

# CoinGecko's error objects carry their code in any of these places, under any status, 200 too.
_CODE_PLACES: tuple[tuple[str, ...], ...] = ((), ("status",), ("error",), ("error", "status"))

# CoinGecko's limit is by the minute, and it was seen to say 7, 60 and 119. What it says is trusted up to an hour.
_RETRY_AFTER_S = 60
_LONGEST_RETRY_AFTER_S = 3600


class UpstreamTrouble(Exception):
    """Why a call failed, for the operator's log: the cause of every UpstreamFailed and UpstreamLimited."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def prices_in(answer: Answer, coin_ids: Collection[str], vs_currencies: Collection[str]) -> Prices:
    """The prices of these coins in these currencies, exactly as the JSON text has them.

    A coin that CoinGecko does not know is absent, and so is a currency that it does not list for a coin; a value
    that cannot be a price is None. Raises UpstreamLimited or UpstreamFailed.
    """
    code = _error_code(answer.body)
    reason = f"HTTP {answer.status}" + (f", CoinGecko error {code}" if code else "")
    if answer.status == TOO_MANY_REQUESTS or code in _LIMITED:
        raise _limited(code, retry_after_s(answer.headers)) from UpstreamTrouble(reason)
    if answer.status != _OK or code:
        raise UpstreamFailed("CoinGecko refused to answer. Try again shortly.") from UpstreamTrouble(reason)
    try:
        coins = _coins(answer.body, coin_ids)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("CoinGecko's answer could not be read. Try again shortly.") from error
    return {coin_id: _prices(coins[coin_id], vs_currencies) for coin_id in coin_ids if coin_id in coins}


def retry_after_s(headers: Mapping[str, str]) -> int:
    """Seconds to stay away, from `Retry-After` as seconds or date; 60 where it is absent or senseless."""
    text = headers.get("retry-after", "")
    try:
        wait_s = int(text) if text.isdecimal() else _seconds_until(text, headers.get("date"))
    except (ValueError, OverflowError):
        return _RETRY_AFTER_S
    return max(1, min(wait_s, _LONGEST_RETRY_AFTER_S))


def _seconds_until(date: str, now: str | None) -> int:
    # By the clock that wrote the date, if it tells: ours may be wrong.
    current = parsedate_to_datetime(now) if now else datetime.now(UTC)
    wait = parsedate_to_datetime(date).replace(tzinfo=UTC) - current.replace(tzinfo=UTC)
    return int(wait.total_seconds())


def _limited(code: int | None, wait_s: int) -> UpstreamLimited:
    if code == _CREDITS_USED_UP:
        message = "CoinGecko's calls for this month are used up. Prices return when more are granted."
    else:
        message = f"CoinGecko takes no more calls for now. Try again in {wait_s} s."
    return UpstreamLimited(message, retry_after_s=wait_s)


def _error_code(body: bytes) -> int | None:
    """The code of CoinGecko's error object, or None if this is none."""
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
