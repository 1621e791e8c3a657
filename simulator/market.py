"""Every figure of every coin at an instant, the same for the same seed on every machine.

A price wanders around the coin's own level by the sum of swings of several spans, short ones small and long
ones wide, as a random walk has them. Unlike a walk it needs no past: every instant is computed by itself.
"""

import math
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b

from msgspec import Struct

from simulator.coins import Coin
from simulator.currencies import PER_USD
from simulator.decimal_text import significant

# In price updates; the longest is about three weeks of minutes. All swings together stay within 28 %.
SPANS = (1, 8, 64, 512, 4096, 32768)
SWING = 0.001
DAY_S = 86_400

# As much as a 64-bit float could carry, which is what CoinGecko computes with.
FULL_DIGITS = 17
FIGURE_DIGITS = 16


class Market(Struct, frozen=True):
    """All coins, moving once in each update period; instants are UNIX seconds."""

    seed: int = 0
    update_period_s: float = 60.0

    def updated_at(self, now: float) -> float:
        """The instant of the latest update."""
        return self._tick(now) * self.update_period_s

    def price(self, coin: Coin, currency: str, now: float) -> Decimal | None:
        """What one coin costs, with every digit; None where it is not listed or the currency not known."""
        if currency not in PER_USD or not coin.is_listed_in(currency):
            return None
        return significant(self._level(coin, now) * coin.usd * PER_USD[currency], FULL_DIGITS)

    def market_cap(self, coin: Coin, currency: str, now: float) -> Decimal:
        """The made-up worth of all coins of that kind: by rank, moving with the price."""
        worth_usd = Decimal(1_300_000_000_000) / coin.rank
        return significant(self._level(coin, now) * worth_usd * PER_USD[currency], FIGURE_DIGITS)

    def volume_24h(self, coin: Coin, currency: str, now: float) -> Decimal:
        """The made-up trade of a day: up to a tenth of the market cap."""
        share = Decimal(1 + coin.rank % 10) / 100
        return significant(self.market_cap(coin, currency, now) * share, FIGURE_DIGITS)

    def change_24h(self, coin: Coin, now: float) -> Decimal:
        """By how many per cent the price differs from that of a day ago."""
        change = (self._level(coin, now) / self._level(coin, now - DAY_S) - 1) * 100
        return significant(change, FIGURE_DIGITS)

    def _level(self, coin: Coin, now: float) -> Decimal:
        return 1 + coin.moves * _wander(self.seed, coin.id, self._tick(now))

    def _tick(self, now: float) -> int:
        return math.floor(now / self.update_period_s)


@lru_cache(maxsize=4096)
def _wander(seed: int, coin_id: str, tick: int) -> Decimal:
    """How far from its own level a coin is, as a share of it."""
    swings = sum(SWING * math.sqrt(span) * _swing(f"{seed}:{coin_id}:{span}", span, tick) for span in SPANS)
    # Twelve places: far below any digit shown, far above what float arithmetic could differ in.
    return Decimal(f"{swings:.12f}")


def _swing(name: str, span: int, tick: int) -> float:
    """A value in -1..1 that gets from one random point to the next in `span` ticks."""
    step, within = divmod(tick, span)
    before, after = _random_point(name, step), _random_point(name, step + 1)
    return before + (after - before) * within / span


def _random_point(name: str, step: int) -> float:
    digest = blake2b(f"{name}:{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**63 - 1
