"""What becomes of a request when it is admitted, coin by coin, as the script of admission answers."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from core.batches import Wanted
from core.freshness import AtHand, Freshness, Latest
from core.limits import Charge
from core.prices import Price


class Ask(msgspec.Struct, frozen=True):
    """Who asks for which coins, and how old their prices may be."""

    caller: str
    wanted: Sequence[Wanted]
    freshness: Freshness


class Joined(msgspec.Struct, frozen=True):
    """A request joined a coin's open batch; should the upstream fail, the prices at hand may answer it."""

    batch_id: str
    size: int
    due_in_ms: int
    admitted_at_ms: int  # unix time, by Redis' clock
    at_hand: AtHand  # if the request allows those


class Fresh(msgspec.Struct, frozen=True):
    """A request is answered without a flush."""

    prices: AtHand


class Unknown(msgspec.Struct, frozen=True):
    """CoinGecko was lately found not to know the coin; there is no batch."""


class Absent(msgspec.Struct, frozen=True):
    """The request allows no fetch, and no price is at hand."""


class Refused(msgspec.Struct, frozen=True):
    """The earliest upstream call that could carry the request comes after its deadline."""

    call_in_ms: int


Admission = Joined | Fresh | Unknown | Absent | Refused


class Admissions(msgspec.Struct, frozen=True):
    """What became of a request, coin by coin."""

    charge: Charge  # as it stands; a request that was refused for every coin cost nothing
    of_coins: list[Admission]


def admission_in(coin: Wanted, answer: list[Any], now_ms: int) -> Admission:
    """Read what became of a request for one coin."""
    match answer:
        case [b"joined", batch_id, size, due_in_ms, *prices]:
            return Joined(batch_id.decode(), size, due_in_ms, now_ms, _latest(coin, prices, now_ms))
        case [b"fresh", *prices]:
            return Fresh(_latest(coin, prices, now_ms))
        case [b"unknown"]:
            return Unknown()
        case [b"absent"]:
            return Absent()
        case _:
            return Refused(answer[1])


def price_at_hand(coin_id: str, vs_currency: str, text: bytes) -> Price | None:
    """Read a coin's latest price in a currency, if CoinGecko lists one."""
    latest = _latest_of(text.decode(), 0)
    if latest.price is None:
        return None
    return Price(latest.batch_id, coin_id, vs_currency, latest.price, latest.fetched_at_ms)


def _latest(coin: Wanted, prices: list[bytes], now_ms: int) -> AtHand:
    return {code: _latest_of(text.decode(), now_ms) for code, text in zip(coin.vs_currencies, prices, strict=False)}


def _latest_of(text: str, now_ms: int) -> Latest:
    at, fresh_until, size, batch_id, price = text.split(":")
    return Latest(
        batch_id=batch_id,
        size=int(size),
        price=Decimal(price) if price else None,
        fetched_at_ms=int(at),
        age_s=(now_ms - int(at)) / 1000,
        fresh_for_s=(int(fresh_until) - now_ms) / 1000,
    )
