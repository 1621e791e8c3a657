"""The batches somebody waits for, as the instances that are well see them, merged into one sight a batch."""

from collections.abc import Callable

import msgspec

from core.batches import State as BatchState
from core.events import BatchView, Snapshot
from monitor.instances import Instance, is_well
from monitor.rows import BatchPhase
from monitor.state import State

# A claim takes a moment: only a batch that is still open after that lacks a permit.
_CLAIMED_WITHIN_MS = 100
_FURTHER_ON: dict[BatchState, int] = {"open": 0, "claimed": 1, "answered": 2, "failed": 2}
_CLAIMED = _FURTHER_ON["claimed"]
_SETTLED = _FURTHER_ON["answered"]


class Sight(msgspec.Struct, frozen=True):
    """One batch; the figures as of now."""

    batch_id: str
    coin_id: str
    progress: int  # one of _FURTHER_ON
    waiting: int
    size: int
    threshold: int
    window_ms: int
    oldest_ms: float
    flush_in_ms: float
    is_overdue: bool
    held_for_ms: float  # above 0: somebody has a lease
    flusher: str  # the instance that says it flushes the batch, or empty


def sights(state: State, now_s: float) -> list[Sight]:
    """One a batch that is not settled; silent instances' waiters are not counted: nobody knows of them."""
    merged: dict[str, Sight] = {}
    for instance in state.instances.values():
        if instance.snapshot is None or not is_well(instance, now_s):
            continue
        seen_by = _seen_by(instance, instance.snapshot, now_s)
        for view in instance.snapshot.batches:
            known = merged.get(view.batch_id)
            merged[view.batch_id] = seen_by(view) if known is None else _together(known, seen_by(view))
    return [sight for sight in merged.values() if sight.progress < _SETTLED]


def phase(sight: Sight, flusher: str, *, flusher_is_well: bool) -> BatchPhase:
    """Where a batch stands, given who is thought to flush it."""
    if flusher:
        return "claimed" if flusher_is_well else "lease ran out"
    if sight.progress == _CLAIMED:
        return "claimed" if sight.held_for_ms > 0 else "lease ran out"
    return "overdue" if sight.is_overdue else "open"


def is_claimed(sight: Sight) -> bool:
    """Whether some instance knows that somebody claimed it."""
    return sight.progress == _CLAIMED


def _seen_by(instance: Instance, snapshot: Snapshot, now_s: float) -> Callable[[BatchView], Sight]:
    age_ms = max(0.0, (now_s - instance.snapshot_s) * 1000)

    def seen(view: BatchView) -> Sight:
        is_overdue = view.flush_in_ms < -_CLAIMED_WITHIN_MS
        flush_in_ms = view.flush_in_ms - age_ms
        return Sight(
            view.batch_id,
            view.coin_id,
            _CLAIMED if view.flushing and view.state == "open" else _FURTHER_ON[view.state],
            view.waiting,
            view.size,
            snapshot.threshold,
            snapshot.window_ms,
            view.oldest_ms + age_ms,
            # Between two messages nobody can tell whether a batch that falls due was flushed.
            flush_in_ms if is_overdue or flush_in_ms > 0 else 0.0,
            is_overdue,
            view.held_for_ms - age_ms,
            instance.name if view.flushing else "",
        )

    return seen


def _together(one: Sight, other: Sight) -> Sight:
    return Sight(
        batch_id=one.batch_id,
        coin_id=max(one.coin_id, other.coin_id),
        progress=max(one.progress, other.progress),
        waiting=one.waiting + other.waiting,
        size=max(one.size, other.size),
        threshold=max(one.threshold, other.threshold),
        window_ms=max(one.window_ms, other.window_ms),
        oldest_ms=max(one.oldest_ms, other.oldest_ms),
        flush_in_ms=min(one.flush_in_ms, other.flush_in_ms),
        is_overdue=one.is_overdue or other.is_overdue,
        held_for_ms=max(one.held_for_ms, other.held_for_ms),
        flusher=max(one.flusher, other.flusher),
    )
