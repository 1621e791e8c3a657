"""Who asks for what, when and where."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import trio

from tests.faults.clients import Ask
from tests.faults.fleet import Fleet
from tests.faults.history import Request
from tests.faults.instance import PLACES
from tests.faults.moments import Moment

COINS = ("bitcoin", "ethereum", "solana", "dogecoin", "cardano", "tron", "monero", "stellar")
CURRENCIES = ("usd", "eur", "gbp")


def one_at_each_place(coin: str) -> list[Ask]:
    """As many requests as fill a batch, at once."""
    return [Ask(0, coin, "usd", place) for place in PLACES]


def jostling(random: Random, coin: str) -> list[Ask]:
    """The same at once, or within 50 ms in any order."""
    within_s = random.choice((0.0, 0.05))
    return [Ask(random.uniform(0, within_s), coin, "usd", place) for place in PLACES]


def coming_to(moment: Moment, asks: list[Ask]) -> list[Ask]:
    """Of requests that fill a batch, as many as bring a flusher to this moment.

    Whoever fills a batch has it claimed; for a claim of its own it must be due before it is full.
    """
    return asks[1:] if moment is Moment.RIPE else asks


def steady(
    random: Random, *, rate: float, seconds: float, coins: Sequence[str] = COINS, places: Sequence[str] = PLACES
) -> list[Ask]:
    """So many requests a second on average, at random times and places, for random coins and currencies."""
    return [
        Ask(random.uniform(0, seconds), random.choice(coins), random.choice(CURRENCIES), random.choice(places))
        for _ in range(round(rate * seconds))
    ]


def burst(random: Random, coin: str) -> list[Ask]:
    """Up to thirty requests for one coin within 50 ms."""
    return [
        Ask(random.uniform(0, 0.05), coin, random.choice(CURRENCIES), random.choice(PLACES))
        for _ in range(random.randint(1, 30))
    ]


@asynccontextmanager
async def traffic(fleet: Fleet, *, rate: float, coins: Sequence[str] = COINS) -> AsyncIterator[list[Request]]:
    """Clients that try the next instance keep asking while the block runs; its end waits for the last answers.

    Gives the list that their requests get into, each as it ended at the last instance that it was sent to.
    """
    final: list[Request] = []

    async def send(ask: Ask) -> None:
        final.append(await fleet.clients.ask_until_answered(ask))

    async def keep_asking(nursery: trio.Nursery) -> None:
        while True:
            (ask,) = steady(fleet.random, rate=1, seconds=1, coins=coins)
            nursery.start_soon(send, ask)
            await trio.sleep(fleet.random.expovariate(rate))

    async with trio.open_nursery() as sending, trio.open_nursery() as asking:
        asking.start_soon(keep_asking, sending)
        yield final
        asking.cancel_scope.cancel()
