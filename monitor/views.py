"""The state at one moment, merged over all instances: what there is to show, not how."""

from collections import defaultdict
from math import ceil
from typing import Literal

import msgspec

from core.batches import State as BatchState
from core.events import BatchView, CallerView, Limited, Snapshot
from monitor.state import Instance, State

SILENT_AFTER_S = 3.0  # instances say a word about four times a second
_LATEST_LAST: tuple[BatchState, ...] = ("open", "claimed", "answered", "failed")


class Batch(msgspec.Struct, frozen=True):
    """One batch, as all instances together see it."""

    batch_id: str
    coin_id: str
    state: BatchState
    waiting: int
    size: int
    threshold: int
    window_ms: int
    flush_in_ms: float
    flusher: str  # the instance that says it flushes the batch, or empty


class Caller(msgspec.Struct, frozen=True):
    """A caller's limit, and whether it was refused since it last had some left."""

    view: CallerView
    refused: bool

    @property
    def left(self) -> float:
        """The part of the limit that remains."""
        return self.view.remaining / max(1, self.view.limit)


class Totals(msgspec.Struct, frozen=True):
    """What all instances did, each since its start."""

    requests: int = 0
    calls: int = 0
    answered: int = 0
    failed: int = 0

    @property
    def reduction(self) -> float | None:
        """The part of upstream calls that batching saved; None before the first answer."""
        return 1 - self.calls / self.answered if self.answered else None


def shown_s(state: State, now_s: float) -> float:
    """The moment to show: while Redis is lost, that of the loss."""
    return state.lost_at_s if state.link == "lost" else now_s


def condition(instance: Instance, now_s: float) -> Literal["up", "silent", "stopped"]:
    """Whether an instance is there."""
    if instance.stopped:
        return "stopped"
    return "silent" if now_s - instance.heard_s > SILENT_AFTER_S else "up"


def instances(state: State) -> list[Instance]:
    """Every instance heard of, by name."""
    return sorted(state.instances.values(), key=lambda instance: instance.name)


def batches(state: State, now_s: float) -> list[Batch]:
    """The batches somebody waits for, by coin; of one coin's, the one further on comes first."""
    seen: defaultdict[str, list[Batch]] = defaultdict(list)
    for instance, snapshot in _up(state, now_s):
        age_ms = (now_s - instance.heard_s) * 1000
        for view in snapshot.batches:
            seen[view.batch_id].append(_seen_by(snapshot, view, age_ms))
    merged = [_merged(views) for views in seen.values()]
    return sorted(merged, key=lambda batch: (batch.coin_id, -_LATEST_LAST.index(batch.state), batch.batch_id))


def callers(state: State, now_s: float) -> list[Caller]:
    """Callers by how close they are to their limit; of what several instances say of one, the least is true."""
    found = [Caller(view, refused=False) for _, snapshot in _up(state, now_s) for view in snapshot.callers] + _refused(
        state, now_s
    )
    found.sort(key=lambda caller: (caller.left, not caller.refused, caller.view.caller))
    nearest: dict[str, Caller] = {}
    for caller in found:
        nearest.setdefault(caller.view.caller, caller)
    return list(nearest.values())


def totals(state: State) -> Totals:
    """The sum over all instances heard of, also those that are gone."""
    said = [instance.snapshot for instance in state.instances.values() if instance.snapshot]
    return Totals(
        requests=sum(snapshot.requests for snapshot in said),
        calls=sum(snapshot.calls for snapshot in said),
        answered=sum(snapshot.answered for snapshot in said),
        failed=sum(snapshot.failed for snapshot in said),
    )


def _up(state: State, now_s: float) -> list[tuple[Instance, Snapshot]]:
    return [
        (instance, instance.snapshot)
        for instance in state.instances.values()
        if instance.snapshot and condition(instance, now_s) == "up"
    ]


def _seen_by(snapshot: Snapshot, view: BatchView, age_ms: float) -> Batch:
    return Batch(
        batch_id=view.batch_id,
        coin_id=view.coin_id,
        state=view.state,
        waiting=view.waiting,
        size=view.size,
        threshold=snapshot.threshold,
        window_ms=snapshot.window_ms,
        flush_in_ms=max(0.0, view.flush_in_ms - age_ms),
        flusher=snapshot.instance if view.flushing else "",
    )


def _merged(seen: list[Batch]) -> Batch:
    """One batch out of what each instance sees of it."""
    return msgspec.structs.replace(
        seen[0],
        state=max((one.state for one in seen), key=_LATEST_LAST.index),
        waiting=sum(one.waiting for one in seen),
        size=max(one.size for one in seen),
        flush_in_ms=min(one.flush_in_ms for one in seen),
        flusher=max(one.flusher for one in seen),
    )


def _refused(state: State, now_s: float) -> list[Caller]:
    return [
        _refused_caller(refusal.limited, refusal.until_s - now_s)
        for refusal in state.refusals.values()
        if refusal.until_s > now_s
    ]


def _refused_caller(limited: Limited, left_s: float) -> Caller:
    view = CallerView(limited.caller, limit=limited.limit, remaining=0, reset_s=ceil(left_s))
    return Caller(view, refused=True)
