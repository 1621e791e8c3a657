"""Coin, currency and price: the values everything else speaks of, checked once at the edge."""

import re
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from core.errors import BadCoin, BadCurrency

# The form of CoinGecko's ids, as its /coins/list gives them.
_COIN_ID = re.compile(r"[a-z0-9-]{1,128}")

# The answer of CoinGecko's /simple/supported_vs_currencies, 63 codes in its order, as of June 2026.
CURRENCIES = tuple(
    (
        "btc eth ltc bch bnb eos xrp xlm link dot yfi sol usd aed ars aud bdt bhd bmd brl cad chf clp cny czk "
        "dkk eur gbp gel hkd huf idr ils inr jpy krw kwd lkr mmk mxn myr ngn nok nzd php pkr pln rub sar sek "
        "sgd thb try twd uah vef vnd zar xdr xag xau bits sats"
    ).split()
)
SUPPORTED_CURRENCIES = frozenset(CURRENCIES)
SHOWN_LENGTH = 40  # how much of what a caller sent is told back

# Far beyond any quoted price, far inside what Postgres `numeric` holds.
_LARGEST_PRICE = Decimal("1e30")
_SMALLEST_EXPONENT = -60


class Price(msgspec.Struct, frozen=True):
    """What one coin cost in one currency when one batch was fetched."""

    batch_id: str
    coin_id: str
    vs_currency: str
    price: Decimal
    fetched_at_ms: int  # unix time in milliseconds, by Redis' clock

    @property
    def fetched_at(self) -> datetime:
        """The time of fetch as an aware UTC datetime."""
        return from_unix_ms(self.fetched_at_ms)


def is_coin_id(text: str) -> bool:
    """Say whether a text has the form of a CoinGecko id."""
    return _COIN_ID.fullmatch(text) is not None


def parse_coin_id(text: str) -> str:
    """Return `text` if it has the form of a CoinGecko id, else raise BadCoin."""
    if not is_coin_id(text):
        raise BadCoin("A coin id is 1 to 128 of a-z, 0-9 and '-', for example 'bitcoin'.")
    return text


def parse_currency(text: str, name: str = "vsCurrency") -> str:
    """Return `text` if CoinGecko supports it as a currency, else raise BadCurrency, which names the field."""
    if text not in SUPPORTED_CURRENCIES:
        raise bad_currency(text, name)
    return text


def bad_currency(text: str, name: str) -> BadCurrency:
    """What is wrong with a currency that CoinGecko does not support."""
    return BadCurrency(
        f"{name}: '{text[:SHOWN_LENGTH]}' is not supported. Use a lower-case code such as 'usd' or 'eur'; "
        "GET /api/v3/simple/supported_vs_currencies lists them."
    )


def is_sane(price: Decimal) -> bool:
    """Say whether an upstream's number can be a price: finite, not negative, of bounded size and precision."""
    if not price.is_finite() or not 0 <= price < _LARGEST_PRICE:
        return False
    exponent = price.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= _SMALLEST_EXPONENT


def from_unix_ms(unix_ms: int) -> datetime:
    """Turn unix milliseconds into an aware UTC datetime, exactly."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)


def iso_ms(moment: datetime) -> str:
    """Write an aware UTC time as the contract does: ISO 8601, milliseconds, `Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
