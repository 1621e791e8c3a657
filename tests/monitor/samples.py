"""What instances send, short to write.

state = after(message("api-1", snapshot(batch("bitcoin"))), flushed("bitcoin"))
"""

from typing import Literal

from msgspec.structs import replace

from core.batches import State as BatchState
from core.batches import Trigger
from core.events import (
    VERSION,
    BatchView,
    Bucket,
    BudgetView,
    CallerView,
    Claimed,
    CoinView,
    Event,
    Flushed,
    FlushedBatch,
    Kept,
    Limited,
    Message,
    ProcessView,
    Snapshot,
)
from monitor.state import Heard, State, apply

AT_MS = 1_795_611_296_000  # 2026-11-25 12:54:56Z
STARTED_AT_MS = AT_MS - 60_000
BUDGET = BudgetView(
    per_minute=30, per_month=10_000, call_in_ms=1500, month_calls=4812, month_projected=9700, minute_calls=19
)


def batch(
    coin_id: str = "bitcoin",
    *,
    batch_id: str = "",
    state: BatchState = "open",
    size: int = 1,
    waiting: int = 1,
    oldest_ms: int = 3000,
    flush_in_ms: int = 2000,
    flushing: bool = False,
    held_for_ms: int = 0,
) -> BatchView:
    return BatchView(
        batch_id or f"batch-of-{coin_id}", coin_id, state, size, waiting, oldest_ms, flush_in_ms, flushing, held_for_ms
    )


def coin(
    coin_id: str = "bitcoin",
    *,
    requests: list[int] | None = None,
    vs_currency: str = "usd",
    price: str = "91204.11",
    before: str = "91000",
    fetched_at_ms: int = AT_MS - 6000,
) -> CoinView:
    return CoinView(
        coin_id, [0] * 11 + [7] if requests is None else requests, vs_currency, price, before, fetched_at_ms
    )


def caller(name: str = "user:anna", remaining: int = 10, limit: int = 20, reset_s: int = 30) -> CallerView:
    return CallerView(name, limit=limit, remaining=remaining, reset_s=reset_s)


def snapshot(
    *batches: BatchView,
    coins: tuple[CoinView, ...] | None = (),
    callers: tuple[CallerView, ...] = (),
    started_at_ms: int = STARTED_AT_MS,
    threshold: int = 3,
    draining: bool = False,
    requests: int = 0,
    calls: int = 0,
    answered: int = 0,
    failed: int = 0,
    buckets: tuple[Bucket, ...] = (),
    waits: tuple[int, ...] = (),
    upstream: tuple[int, ...] = (),
    budget: BudgetView = BUDGET,
) -> Snapshot:
    return Snapshot(
        started_at_ms=started_at_ms,
        threshold=threshold,
        window_ms=5000,
        ride_along=True,
        draining=draining,
        requests=requests,
        calls=calls,
        answered=answered,
        failed=failed,
        opened=0,
        buckets=list(buckets),
        waits=list(waits),
        upstream=list(upstream),
        batches=list(batches),
        batches_in_all=len(batches),
        coins=None if coins is None else list(coins),
        coins_in_all=len(coins or ()),
        callers=list(callers),
        budget=budget,
        process=ProcessView(waiting=len(batches), lag_ms=1.5, memory_bytes=80_000_000, outbox=4),
    )


def message(
    instance: str = "api-1",
    told: Snapshot | None = None,
    *events: Event,
    number: int = 0,
    at_ms: int = AT_MS,
    missed: int = 0,
    version: int = VERSION,
) -> Message:
    """Without a number it is the instance's next, for `after`."""
    return Message(version, instance, number, at_ms, list(events), missed, told)


def claimed(*coins: str, trigger: Trigger = "window", flush_id: int = 7, batches: int = 0) -> Claimed:
    return Claimed(AT_MS, flush_id, trigger, list(coins), batches or len(coins))


def flushed(
    *coins: str,
    trigger: Trigger = "window",
    flush_id: int = 7,
    outcome: Literal["answered", "failed", "fenced", "lapsed"] = "answered",
    reason: str = "",
    at_ms: int = AT_MS,
) -> Flushed:
    batches = [FlushedBatch(coin_id, trigger, 3, 5000 + 10 * nth) for nth, coin_id in enumerate(coins)]
    return Flushed(at_ms, flush_id, trigger, batches, 3 * len(coins), 3.5, 212.4, 4.5, outcome, reason)


def kept(*flush_ids: int, at_ms: int = AT_MS) -> Kept:
    return Kept(at_ms, list(flush_ids), len(flush_ids))


def limited(name: str = "user:anna", reset_s: int = 7, times: int = 1) -> Limited:
    return Limited(AT_MS, name, 20, reset_s, times)


def after(*heard: Heard | Event, now_s: float = 0.0, start: State | None = None) -> State:
    """The state after all this was heard; events alone are api-1's."""
    state = start or State()
    for one in heard:
        state = apply(state, _numbered(state, one), now_s)
    return state


def _numbered(state: State, heard: Heard | Event) -> Heard:
    if isinstance(heard, Event):
        heard = message("api-1", None, heard)
    if not isinstance(heard, Message) or heard.number:
        return heard
    known = state.instances.get(heard.instance)
    return replace(heard, number=known.number + 1 if known else 1)
