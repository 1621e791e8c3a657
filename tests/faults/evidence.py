"""What the checker reasons with: facts that follow from a history, whatever was promised; pure."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from core.prices import from_unix_ms, iso_ms
from tests.faults.history import Call, History, Request

_Key = TypeVar("_Key", bound=Hashable)
_Thing = TypeVar("_Thing")


class Due(msgspec.Struct, frozen=True, order=True):
    """A price that Postgres must have."""

    at: float
    batch_id: str
    currency: str
    price: Decimal
    fetched_at: str


def prices_due(history: History) -> Iterator[Due]:
    """What answered somebody, or was accepted from a flusher; each once."""
    due: dict[tuple[str, str, Decimal, str], float] = {}
    for request in history.answered:
        assert request.price is not None
        due[request.batch_id, request.currency, request.price, request.fetched_at] = request.sent_at
    for done in history.completions:
        for currency, price in done.prices.items() if done.accepted else ():
            due[done.batch_id, currency, price, iso_ms(from_unix_ms(done.fetched_at_ms))] = done.sent_at
    return (Due(at, *key) for key, at in due.items())


def is_excused(history: History, batch_id: str) -> bool:
    """Whether a batch may have been completed before Redis last lost its memory."""
    lost = max((emptied.at for emptied in history.emptied), default=float("-inf"))
    return any(done.batch_id == batch_id and done.sent_at < lost for done in history.completions)


def allowed_s(history: History, request: Request) -> float:
    """How long a request may take: what was promised, and as long as its instance was stopped meanwhile."""
    stopped_s = sum(
        max(0.0, min(stall.ended_at, request.ended_at or stall.ended_at) - max(stall.began_at, request.sent_at))
        for stall in history.stalls
        if stall.instance == request.instance
    )
    return history.bounds.answer_s + history.bounds.patience_s + stopped_s


def givers_in(calls: Iterable[Call]) -> Mapping[tuple[str, str, Decimal | None], list[Call]]:
    """{(coin, currency, price): the calls that gave it}."""
    givers: dict[tuple[str, str, Decimal | None], list[Call]] = defaultdict(list)
    for call in calls:
        for coin, prices in call.prices.items():
            for currency, price in prices.items():
                givers[coin, currency, price].append(call)
    return givers


def permits_in(history: History) -> list[int]:
    """When Redis allowed an upstream call, by its clock; the claims of one call are granted in one step."""
    return sorted(redis_ms for _, redis_ms in {(claim.instance, claim.redis_ms) for claim in history.claims})


def grouped(things: Iterable[_Thing], key: Callable[[_Thing], _Key]) -> dict[_Key, list[_Thing]]:
    """Things by what `key` says of them, in their order."""
    groups: dict[_Key, list[_Thing]] = defaultdict(list)
    for thing in things:
        groups[key(thing)].append(thing)
    return groups
