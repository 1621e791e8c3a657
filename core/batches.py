"""What a batch can be, and what it can come to.

    open ──claim──▶ claimed ──complete──▶ answered | failed
                      │  ▲
                      └──┘ takeover: the lease ran out, the fencing token grows

The Lua scripts keep this table; nothing else changes a batch's state.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from core.errors import (
    CryptoPulseError,
    RedisUnavailable,
    UnknownCoin,
    UnlistedCurrency,
    UpstreamFailed,
    UpstreamLimited,
)
from core.prices import Price

State = Literal["open", "claimed", "answered", "failed"]
Trigger = Literal["threshold", "window", "ride-along", "takeover", "drain"]
# How a request was served: `fresh` is without a flush, by a price that was at hand.
Served = Trigger | Literal["fresh"]
FailureKind = Literal["unknown_coin", "upstream_limited", "upstream_failed"]

TRANSITIONS: dict[State, frozenset[State]] = {
    "open": frozenset({"claimed"}),
    "claimed": frozenset({"claimed", "answered", "failed"}),
    "answered": frozenset(),
    "failed": frozenset(),
}


class Wanted(msgspec.Struct, frozen=True):
    """A coin that a request wants priced, and in which currencies."""

    coin_id: str
    vs_currencies: tuple[str, ...]


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a batch got no prices."""

    kind: FailureKind
    message: str
    retry_after_s: int | None = None

    def as_error(self) -> CryptoPulseError:
        """The error that every request of the batch gets."""
        error = _ERRORS[self.kind]
        return error(self.message, retry_after_s=self.retry_after_s)


def unknown_coin(coin_id: str) -> Failure:
    """The failure of a batch whose coin CoinGecko does not know."""
    return Failure("unknown_coin", f"CoinGecko knows no coin '{coin_id}'. GET /api/v3/coins/list names all ids.")


_ERRORS: dict[FailureKind, type[CryptoPulseError]] = {
    "unknown_coin": UnknownCoin,
    "upstream_limited": UpstreamLimited,
    "upstream_failed": UpstreamFailed,
}


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one flush brought to one batch; every request of it is answered from this."""

    batch_id: str
    coin_id: str
    trigger: Trigger
    size: int  # requests admitted, over all instances
    fetched_at_ms: int  # unix time of the claim, just before the call, by Redis' clock
    upstream_ms: float  # how long the call took
    fresh_for_s: int = 0  # how long CoinGecko says that the prices may be kept
    prices: dict[str, Decimal | None] = {}  # {vs_currency: price, None where the upstream's value was no price}
    unlisted: list[str] = []  # currencies that were asked for, and CoinGecko lists no price in
    failure: Failure | None = None

    def price_in(self, vs_currency: str) -> Price:
        """The price in one currency, or raise what a request for it is to be told."""
        if self.failure is not None:
            raise self.failure.as_error()
        if vs_currency in self.unlisted:
            raise UnlistedCurrency(f"CoinGecko lists no price of '{self.coin_id}' in '{vs_currency}'.")
        if vs_currency not in self.prices:
            raise RedisUnavailable  # it lost its memory of who asked for what
        price = self.prices[vs_currency]
        if price is None:
            raise UpstreamFailed(f"CoinGecko's price of '{self.coin_id}' could not be read. Try again shortly.")
        return Price(self.batch_id, self.coin_id, vs_currency, price, self.fetched_at_ms)

    @property
    def known_prices(self) -> list[Price]:
        """The prices to keep."""
        return [
            Price(self.batch_id, self.coin_id, vs_currency, price, self.fetched_at_ms)
            for vs_currency, price in self.prices.items()
            if price is not None
        ]


class Quote(msgspec.Struct, frozen=True):
    """The answer to one price request, and how it came about."""

    price: Price
    size: int
    trigger: Served
    batch_ms: float  # from admission to the answer
    upstream_ms: float
    age_s: int = 0  # since the price was fetched
    fresh_for_s: int = 0  # how long it may be taken for the current one
