"""Which requests come when: a trace, made from a seed, the same for every variant of the service.

    make_trace(Traffic(rate=40, seconds=20, coins=20, skew=1.0, seed=1))

Requests come as from many people who know nothing of each other: the gaps are exponential (a Poisson process), and
the coins follow Zipf's law, the n-th largest being asked for 1/n**skew times as often as the largest.
"""

import random
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from simulator.coins import COINS

# Largest first; every one has a price in usd.
KNOWN_COINS = tuple(coin.id for coin in COINS.values() if coin.is_listed_in("usd"))


def coin_ids(count: int) -> Sequence[str]:
    """So many coins, largest first; where the simulator knows no more of them, made-up ones."""
    return [*KNOWN_COINS[:count], *(f"made-up-{number}" for number in range(len(KNOWN_COINS) + 1, count + 1))]


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What a trace is made from."""

    rate: float  # requests a second, over all coins and instances
    seconds: float
    coins: int
    skew: float  # 0: every coin is asked for equally often
    seed: int


class Arrival(msgspec.Struct, frozen=True):
    """One request: when, after the beginning, and for which coin."""

    at_s: float
    coin_id: str


def make_trace(traffic: Traffic) -> list[Arrival]:
    """The requests in the order in which they come; pure: the same traffic makes the same trace."""
    chance = random.Random(traffic.seed)
    coins = coin_ids(traffic.coins)
    weights = list(accumulate(1 / rank**traffic.skew for rank in range(1, len(coins) + 1)))
    trace: list[Arrival] = []
    at_s = chance.expovariate(traffic.rate)
    while at_s < traffic.seconds:
        [coin_id] = chance.choices(coins, cum_weights=weights)
        trace.append(Arrival(at_s, coin_id))
        at_s += chance.expovariate(traffic.rate)
    return trace
