"""A trace sent to real instances, open loop: each request at its time, whether or not earlier ones were answered.

    outcomes = await replay(trace, urls, tokens)

Waiting counts from the time in the trace, so a sender that falls behind makes the figures worse, never better.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime

import msgspec
import trio

from benchmarks.connections import Answer, Connections
from core.simulation import Arrival

# Longer than the 8 s after which the service itself gives up on a request.
_PATIENCE_S = 12.0


class Outcome(msgspec.Struct, frozen=True):
    """What became of one request; `status` is None when no HTTP answer came."""

    at_s: float
    coin_id: str
    url: str
    status: int | None
    wait_ms: float
    late_ms: float  # how far the sender was behind the trace
    age_s: float | None = None  # of the price that answered


class _Price(msgspec.Struct, rename="camel"):
    fetched_at: datetime


async def replay(
    trace: Sequence[Arrival], urls: Sequence[str], tokens: Sequence[str], headers: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Send the trace, instances and users taking turns; outcomes in the order in which they came."""
    outcomes: list[Outcome] = []
    with closing(Connections()) as connections:
        async with trio.open_nursery() as nursery:
            began_at = trio.current_time()

            async def ask(arrival: Arrival, url: str, token: str) -> None:
                late_ms = _ms_since(began_at + arrival.at_s)
                answer = await _answer(connections, url, arrival.coin_id, {**(headers or {}), **_bearer(token)})
                wait_ms = _ms_since(began_at + arrival.at_s)
                status, age_s = (answer.status, _age_s(answer)) if answer else (None, None)
                outcomes.append(Outcome(arrival.at_s, arrival.coin_id, url, status, wait_ms, late_ms, age_s))

            for number, arrival in enumerate(trace):
                await trio.sleep_until(began_at + arrival.at_s)
                nursery.start_soon(ask, arrival, urls[number % len(urls)], tokens[number % len(tokens)])
    return outcomes


async def _answer(connections: Connections, url: str, coin_id: str, headers: Mapping[str, str]) -> Answer | None:
    with trio.move_on_after(_PATIENCE_S):
        return await connections.get(url, f"/v1/price/{coin_id}", headers)
    return None


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _age_s(answer: Answer) -> float | None:
    """How old its price is, if it is a price: by the clock of this machine, which is the servers' too."""
    try:
        price = msgspec.json.decode(answer.body, type=_Price)
    except msgspec.DecodeError:
        return None
    return (datetime.now(UTC) - price.fetched_at).total_seconds()


def _ms_since(instant: float) -> float:
    return (trio.current_time() - instant) * 1000
