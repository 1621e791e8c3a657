"""What happens, as frozen structs: the one vocabulary of logs, monitor and tests.

Instances publish these as JSON, tagged by `type`, on the events channel while somebody watches.
"""

import time
from typing import Literal

import msgspec

from core.batches import State, Trigger


class BatchView(msgspec.Struct, frozen=True):
    """One batch with waiters, as one instance sees it."""

    batch_id: str
    coin_id: str
    state: State
    size: int  # requests admitted over all instances, as far as this instance has heard
    waiting: int  # requests that wait here
    flush_in_ms: int  # until it is due; 0 when it is
    flushing: bool = False  # by this instance


class CallerView(msgspec.Struct, frozen=True):
    """What is left to one caller of its rate limit."""

    caller: str
    limit: int
    remaining: int
    reset_s: int


class BudgetView(msgspec.Struct, frozen=True):
    """What may be asked of CoinGecko, as one instance last heard; None where there is no limit."""

    per_minute: int | None
    per_month: int | None
    call_in_ms: int  # until the next upstream call may be made
    month_calls: int  # so far
    month_projected: int  # at its end, if it goes on like this


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """The state of one instance at one moment, totals since it started."""

    instance: str
    at_ms: int
    threshold: int
    window_ms: int
    requests: int
    calls: int
    answered: int
    failed: int
    batches: list[BatchView]
    callers: list[CallerView]  # the latest charged, bounded
    budget: BudgetView


class Flushed(msgspec.Struct, frozen=True, tag="flushed"):
    """One flush ended: batches were closed, one upstream call was made, waiters were told."""

    instance: str
    at_ms: int
    trigger: Trigger
    coins: list[str]
    requests: int
    upstream_ms: float
    outcome: Literal["answered", "failed", "fenced"]
    reason: str = ""


class Limited(msgspec.Struct, frozen=True, tag="limited"):
    """A caller was refused for being over its limit."""

    instance: str
    at_ms: int
    caller: str
    limit: int
    reset_s: int


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """An instance said goodbye."""

    instance: str
    at_ms: int


Event = Snapshot | Flushed | Limited | Stopped

encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode


def unix_ms() -> int:
    """This machine's time, for the events' `at_ms`: shown to people, never compared."""
    return time.time_ns() // 1_000_000
