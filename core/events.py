"""What happens, as frozen structs: the one vocabulary of logs, monitor and tests.

While somebody watches, an instance publishes one `Message` a tick on the events channel, as JSON: what happened since
the last one, and how it stands now. Every part is bounded, whatever the traffic.
"""

import time
from typing import Literal

import msgspec

from core.batches import FailureKind, State, Trigger

# Monitors show what they can read of another version, and say that they are older or newer.
VERSION = 1

# What a message holds at most; of more it tells how many there are.
MOST_BATCHES = 500
MOST_COINS = 500
MOST_CALLERS = 50
MOST_EVENTS = 200

# The recent past is told in buckets, so that whoever comes late knows it too.
BUCKET_S = 5
BUCKETS = 60
# Upper ends of the buckets of a histogram of durations, in milliseconds; a last one holds all that took longer.
HISTOGRAM_MS = (1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 2500, 3000, 3500, 4000,
                4500, 5000, 5500, 6000, 7000, 8000, 10_000)  # fmt: skip


class BatchView(msgspec.Struct, frozen=True):
    """One batch with waiters, as one instance sees it."""

    batch_id: str
    coin_id: str
    state: State
    size: int  # requests admitted over all instances, as far as this instance has heard
    waiting: int  # requests that wait here
    oldest_ms: int  # how long the one that waits longest has waited here
    flush_in_ms: int  # until it is due; negative when it is overdue, for lack of a permit
    flushing: bool = False  # by this instance
    held_for_ms: int = 0  # the rest of another's lease, as far as this instance knows


class CoinView(msgspec.Struct, frozen=True):
    """One coin that was asked for lately, as one instance sees it."""

    coin_id: str
    requests: list[int]  # in each of the latest BUCKETS // 5 buckets, the newest last
    vs_currency: str = ""  # of the price; empty where none is known
    price: str = ""  # digit by digit
    before: str = ""  # the price before that
    fetched_at_ms: int = 0


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
    minute_calls: int = 0  # that this instance began within 60 s


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """What one instance did in BUCKET_S seconds."""

    requests: int
    answered: int
    failed: int
    calls: int


class ProcessView(msgspec.Struct, frozen=True):
    """The process of one instance."""

    waiting: int  # requests that wait here
    lag_ms: float  # how late its event loop woke at worst since the last message
    memory_bytes: int  # resident; 0 where the system does not tell
    outbox: int | None  # prices that Postgres does not have yet, over all instances; None where Redis does not tell


class Snapshot(msgspec.Struct, frozen=True):
    """How one instance stands; totals since it started."""

    started_at_ms: int
    threshold: int
    window_ms: int
    ride_along: bool
    draining: bool
    requests: int
    calls: int
    answered: int
    failed: int
    opened: int  # batches that requests here opened
    buckets: list[Bucket]  # the latest BUCKETS, the newest last; the newest is not over yet
    waits: list[int]  # requests answered within those buckets, by how long they waited: HISTOGRAM_MS, and longer
    upstream: list[int]  # calls within those buckets, by how long they took
    batches: list[BatchView]  # the earliest due first
    batches_in_all: int
    coins: list[CoinView] | None  # the most asked for first; only in every fourth message, and when asked for
    coins_in_all: int
    callers: list[CallerView]  # the latest charged
    budget: BudgetView
    process: ProcessView


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The instance serves."""

    at_ms: int


class Draining(msgspec.Struct, frozen=True, tag="draining"):
    """The instance takes no more requests, and answers those it has."""

    at_ms: int


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """The instance said goodbye."""

    at_ms: int


class Claimed(msgspec.Struct, frozen=True, tag="claimed"):
    """The instance took the right to flush batches; a `takeover` is from one that fell silent."""

    at_ms: int
    flush_id: int  # the time of the claim by Redis' clock, which is the time of fetch of its prices
    trigger: Trigger  # of the batch that made the call necessary
    coins: list[str]  # the first twenty
    batches: int


class FlushedBatch(msgspec.Struct, frozen=True, array_like=True):
    """One batch of a flush."""

    coin_id: str
    trigger: Trigger
    size: int
    open_ms: int  # how long it was open before it was claimed
    failure: FailureKind | None = None


class Flushed(msgspec.Struct, frozen=True, tag="flushed"):
    """One flush ended: batches were closed, one upstream call was made, waiters were told."""

    at_ms: int
    flush_id: int
    trigger: Trigger
    batches: list[FlushedBatch]  # MOST_BATCHES at most
    requests: int
    claim_ms: float  # until Redis had granted the claim
    upstream_ms: float
    publish_ms: float  # until Redis had the results and had told everybody
    outcome: Literal["answered", "failed", "fenced", "lapsed"]
    reason: str = ""


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """Postgres has the prices of these flushes, or some of them."""

    at_ms: int
    flush_ids: list[int]
    prices: int


class Limited(msgspec.Struct, frozen=True, tag="limited"):
    """A caller was refused for being over its limit."""

    at_ms: int
    caller: str
    limit: int
    reset_s: int
    times: int = 1  # since the last message


class NextCall(msgspec.Struct, frozen=True, tag="next_call"):
    """The time of the next upstream call was moved by something else than the pace."""

    at_ms: int
    in_ms: int


Event = Started | Draining | Stopped | Claimed | Flushed | Kept | Limited | NextCall


class Message(msgspec.Struct, frozen=True):
    """What one instance says in one tick."""

    version: int
    instance: str
    number: int  # counts the instance's messages: a gap says that some were lost
    at_ms: int  # this machine's time, shown to people, never compared
    events: list[Event]  # the oldest first
    missed: int  # events that were more than MOST_EVENTS
    snapshot: Snapshot | None = None


encode_message = msgspec.json.Encoder().encode
decode_message = msgspec.json.Decoder(Message).decode


def unix_ms() -> int:
    """This machine's time, for the events' `at_ms`: shown to people, never compared."""
    return time.time_ns() // 1_000_000
