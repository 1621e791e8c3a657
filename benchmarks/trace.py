"""Which requests come when: a trace, made from a seed, the same for every variant of the service.

    make_trace(Traffic(rate=40, seconds=20, coins=20, skew=1.0, seed=1))

Requests come as from many people who know nothing of each other: the gaps are exponential (a Poisson process), and
the coins follow Zipf's law, the n-th largest being asked for 1/n**skew times as often as the largest.
"""

import random
from collections.abc import Callable, Sequence
from itertools import accumulate

import msgspec

from core.simulation import Arrival
from simulator.coins import COINS

# Largest first; every one has a price in usd.
KNOWN_COINS = tuple(coin.id for coin in COINS.values() if coin.is_listed_in("usd"))


def coin_ids(count: int) -> Sequence[str]:
    """So many coins, largest first; where the simulator knows no more of them, made-up ones."""
    return [*KNOWN_COINS[:count], *(f"made-up-{number}" for number in range(len(KNOWN_COINS) + 1, count + 1))]


_EVERY_S, _LOUD_S = 15, 2


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What a trace is made from."""

    rate: float  # requests a second, over all coins and instances
    seconds: float
    coins: int
    skew: float  # 0: every coin is asked for equally often
    seed: int


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


class Shape(msgspec.Struct, frozen=True):
    """A kind of traffic that traces are made of."""

    name: str
    meaning: str
    make: Callable[[float, int], list[Arrival]]  # (seconds, seed)
    coins: int


def _steady(seconds: float, seed: int) -> list[Arrival]:
    return make_trace(Traffic(rate=40, seconds=seconds, coins=20, skew=1, seed=seed))


def _bursty(seconds: float, seed: int) -> list[Arrival]:
    """Of each 15 s the last two bring many."""
    quiet = make_trace(Traffic(rate=5, seconds=seconds, coins=20, skew=1, seed=seed))
    loud = make_trace(Traffic(rate=100, seconds=seconds, coins=20, skew=1, seed=seed + 1))
    return sorted(
        [*quiet, *(each for each in loud if each.at_s % _EVERY_S >= _EVERY_S - _LOUD_S)], key=lambda each: each.at_s
    )


def _one_hot(seconds: float, seed: int) -> list[Arrival]:
    hot = make_trace(Traffic(rate=45, seconds=seconds, coins=1, skew=0, seed=seed))
    others = make_trace(Traffic(rate=5, seconds=seconds, coins=50, skew=0, seed=seed + 1))
    return sorted([*hot, *others], key=lambda each: each.at_s)


def _zipf(seconds: float, seed: int) -> list[Arrival]:
    return make_trace(Traffic(rate=100, seconds=seconds, coins=500, skew=1, seed=seed))


def _adversarial(seconds: float, seed: int) -> list[Arrival]:
    """Each request comes just after the window of the one before has ended."""
    del seed
    return [Arrival(0.5 + number * 5.05, KNOWN_COINS[0]) for number in range(max(1, int((seconds - 0.5) / 5.05)))]


SHAPES = (
    Shape("steady", "40 requests/s, 20 coins (Zipf)", _steady, 20),
    Shape("bursty", "5 requests/s, and 100/s more in the last 2 s of each 15; 20 coins (Zipf)", _bursty, 20),
    Shape("one hot coin", "50 requests/s, nine in ten for one coin, the rest for 50", _one_hot, 50),
    Shape("500 coins", "100 requests/s, 500 coins (Zipf)", _zipf, 500),
    Shape("adversarial", "one request every 5.05 s: nobody to share with", _adversarial, 1),
)
