"""The coins that the simulator knows: ids, symbols and names as CoinGecko has them, prices made up.

They stand in `coins.csv`, largest first: of several coins with one symbol the first is meant.
These are not listed in every currency:

    baby-doge-coin   btc, sats
    dogelon-mars     xag, xau
    kishu-inu        eur
    safemoon-2       usd
    terrausd         none at all
"""

import csv
from decimal import Decimal
from importlib.resources import files

from msgspec import Struct

EVERY_CURRENCY = "*"


class Coin(Struct, frozen=True):
    """A coin, and how it is traded.

    `usd` is the price that it moves around, `moves` how much it moves compared with other coins (one that is
    pegged to a currency hardly does), `unlisted` the currencies in which it has no price.
    """

    id: str
    symbol: str
    name: str
    usd: Decimal
    moves: Decimal
    rank: int
    unlisted: frozenset[str]

    def is_listed_in(self, currency: str) -> bool:
        """Tell whether the coin has a price in that currency."""
        return self.unlisted.isdisjoint((currency, EVERY_CURRENCY))


def _coin(rank: int, row: dict[str, str]) -> Coin:
    return Coin(
        id=row["id"],
        symbol=row["symbol"],
        name=row["name"],
        usd=Decimal(row["usd"]),
        moves=Decimal(row["moves"] or 1),
        rank=rank,
        unlisted=frozenset(row["unlisted"].split()),
    )


def _read_coins() -> dict[str, Coin]:
    lines = files("simulator").joinpath("coins.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(lines, restval="")
    return {row["id"]: _coin(rank, row) for rank, row in enumerate(rows, start=1)}


# {coin id: coin}, largest market cap first
COINS = _read_coins()


def by_symbol(symbol: str) -> list[Coin]:
    """Every coin with that symbol in any case, largest first."""
    return [coin for coin in COINS.values() if coin.symbol == symbol.lower()]


def by_name(name: str) -> list[Coin]:
    """Every coin with that name in any case, largest first."""
    return [coin for coin in COINS.values() if coin.name.lower() == name.lower()]
