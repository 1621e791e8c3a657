"""Events as instances send them, short to write."""

from core.batches import State as BatchState
from core.events import BatchView, BudgetView, CallerView, Flushed, Limited, Snapshot
from monitor.state import Heard, State, apply

BUDGET = BudgetView(per_minute=30, per_month=10_000, call_in_ms=1500, month_calls=4812, month_projected=9700)


def batch(
    coin_id: str = "bitcoin",
    *,
    batch_id: str = "",
    state: BatchState = "open",
    size: int = 1,
    waiting: int = 1,
    flush_in_ms: int = 2000,
    flushing: bool = False,
) -> BatchView:
    return BatchView(batch_id or f"batch-of-{coin_id}", coin_id, state, size, waiting, flush_in_ms, flushing)


def snapshot(
    instance: str = "api-1",
    *batches: BatchView,
    callers: tuple[CallerView, ...] = (),
    requests: int = 0,
    calls: int = 0,
    answered: int = 0,
    failed: int = 0,
) -> Snapshot:
    return Snapshot(instance, 0, 3, 5000, requests, calls, answered, failed, list(batches), list(callers), BUDGET)


def caller(name: str = "user:anna", remaining: int = 10, limit: int = 20, reset_s: int = 30) -> CallerView:
    return CallerView(name, limit=limit, remaining=remaining, reset_s=reset_s)


def limited(name: str = "user:anna", reset_s: int = 7) -> Limited:
    return Limited("api-1", 0, name, 20, reset_s)


def flushed(coin_id: str = "bitcoin", instance: str = "api-1") -> Flushed:
    return Flushed(instance, 45_296_000, "window", [coin_id], 3, 212.4, "answered")


def after(*heard: Heard, now_s: float = 0.0, start: State | None = None) -> State:
    state = start or State()
    for one in heard:
        state = apply(state, one, now_s)
    return state
