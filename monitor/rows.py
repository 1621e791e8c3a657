"""What each screen shows, as values: made by `views` from the state, painted by the widgets. No text, no colour."""

from typing import Literal

import msgspec

Link = Literal["connecting", "connected", "lost", "replay"]
Condition = Literal["up", "silent", "draining", "stopped", "gone"]
BatchPhase = Literal["open", "overdue", "claimed", "lease ran out"]  # overdue: for lack of a permit


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    link: Link
    lost_for_s: float
    lost_reason: str
    instances_up: int
    instances: int
    uptime_s: float  # of the instance that is up longest
    window_s: float | None
    threshold: int | None
    ride_along: bool | None
    differing: bool  # the instances do not agree on these
    gaps: int  # messages that were lost
    unreadable: int
    other_versions: int


class BudgetBox(msgspec.Struct, frozen=True):
    """What may be asked of CoinGecko."""

    minute_calls: int
    per_minute: int | None
    month_calls: int
    per_month: int | None
    month_projected: int
    pace_s: float | None  # seconds a call, at this month's pace
    lasts: bool
    call_in_s: float


class SavingBox(msgspec.Struct, frozen=True):
    """What batching saved in the last five minutes."""

    requests: int
    calls: int
    reduction: float | None
    per_call: float | None
    calls_line: list[int]  # a bucket each, the newest last


class LatencyBox(msgspec.Struct, frozen=True):
    """How long requests waited, and calls took, in the last five minutes; seconds, None without any."""

    wait_p50: float | None
    wait_p95: float | None
    wait_p99: float | None
    upstream_p50: float | None
    upstream_p95: float | None
    answers_line: list[int]


class BatchRow(msgspec.Struct, frozen=True):
    """One batch, as all instances together see it."""

    key: str  # by coin, so that a selection stays on it when the next batch opens
    batch_id: str
    coin_id: str
    phase: BatchPhase
    waiting: int
    size: int
    threshold: int
    oldest_s: float
    flush_in_s: float
    window_s: float
    flusher: str
    flusher_is_well: bool
    trigger: str  # why it is being flushed, or empty
    price: str
    vs_currency: str
    direction: Literal[-1, 0, 1]  # of the price, against the one before
    price_age_s: float | None
    per_minute: int
    requests_line: list[int]


class CoinRow(msgspec.Struct, frozen=True):
    """One coin that was asked for lately."""

    coin_id: str
    per_minute: int
    requests_line: list[int]
    waiting: int
    batches: int
    price: str
    vs_currency: str
    direction: Literal[-1, 0, 1]
    price_age_s: float | None


class CallerRow(msgspec.Struct, frozen=True):
    """One caller's limit."""

    caller: str
    limit: int
    remaining: int
    reset_s: float
    refused: int  # times, since this monitor watches


class InstanceRow(msgspec.Struct, frozen=True):
    """One instance."""

    name: str
    condition: Condition
    heard_s_ago: float
    uptime_s: float
    waiting: int
    batches: int
    requests: int
    answered: int
    failed: int
    calls: int
    lag_ms: float
    memory_bytes: int
    outbox: int | None
    gaps: int


class FlushRow(msgspec.Struct, frozen=True):
    """One flush; its steps in milliseconds."""

    key: str
    at_ms: int
    instance: str
    trigger: str
    coins: list[str]
    requests: int
    open_ms: int  # of the batch that was open longest
    claim_ms: float
    upstream_ms: float
    publish_ms: float
    kept_after_ms: int | None  # from its end until Postgres had its prices; None: not heard of yet
    outcome: str
    reason: str


class FlushedBatchRow(msgspec.Struct, frozen=True):
    """One batch of a flush, for its anatomy."""

    coin_id: str
    trigger: str
    size: int
    open_ms: int
    failure: str


class EventRow(msgspec.Struct, frozen=True):
    """One thing that happened."""

    key: str
    at_ms: int
    instance: str
    kind: str
    text: str
    alarm: bool
