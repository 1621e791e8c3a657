"""The lists: callers, instances, flushes and events."""

from msgspec.structs import replace

from core.events import CallerView
from monitor.flushes import Flush
from monitor.instances import Instance, condition, is_well
from monitor.rows import CallerRow, EventRow, FlushedBatchRow, FlushRow, InstanceRow
from monitor.state import State, shown_s


def callers(state: State, now_s: float) -> list[CallerRow]:
    """Every caller charged lately, or refused and not yet free again; of several words the least rest is true."""
    now_s = shown_s(state, now_s)
    rows: dict[str, CallerRow] = {}
    for instance in state.instances.values():
        if instance.snapshot is not None and is_well(instance, now_s):
            age_s = max(0.0, now_s - instance.snapshot_s)
            for view in instance.snapshot.callers:
                row = _caller_row(state, view, age_s)
                known = rows.get(row.caller)
                rows[row.caller] = row if known is None else min(known, row, key=_closeness)
    for row in _refused(state, now_s):
        known = rows.get(row.caller)
        rows[row.caller] = row if known is None else min(known, row, key=_closeness)
    return sorted(rows.values(), key=lambda row: row.caller)


def instances(state: State, now_s: float) -> list[InstanceRow]:
    """Every instance heard of within ten minutes, by name."""
    now_s = shown_s(state, now_s)
    return [_instance_row(one, now_s) for _, one in sorted(state.instances.items())]


def uptime_s(instance: Instance, now_s: float) -> float:
    """How long an instance is up, or was when it was last heard."""
    age_s = max(0.0, now_s - instance.snapshot_s) if is_well(instance, now_s) else 0.0
    return instance.uptime_s + age_s if instance.snapshot is not None else 0.0


def flushes(state: State) -> list[FlushRow]:
    """The newest first."""
    return [_flush_row(flush, state.kept.get(flush.flush_id)) for flush in state.flushes]


def flushed_batches(state: State, key: str) -> list[FlushedBatchRow]:
    """The batches of one flush; none when it is forgotten."""
    flush = next((flush for flush in state.flushes if flush.row.key == key), None)
    return [
        FlushedBatchRow(one.coin_id, one.trigger, one.size, one.open_ms, one.failure or "")
        for one in (flush.unpacked() if flush else [])
    ]


def events(state: State) -> list[EventRow]:
    """The newest first."""
    return list(state.events)


def _caller_row(state: State, view: CallerView, age_s: float) -> CallerRow:
    refusal = state.refusals.get(view.caller)
    reset_s = max(0.0, view.reset_s - age_s)
    return CallerRow(view.caller, view.limit, view.remaining, reset_s, refusal.times if refusal else 0)


def _refused(state: State, now_s: float) -> list[CallerRow]:
    return [
        CallerRow(one.caller, one.limit, 0, one.until_s - now_s, one.times)
        for one in state.refusals.values()
        if one.until_s > now_s
    ]


def _closeness(row: CallerRow) -> tuple[bool, int, float, int]:
    """What was told before the limit's last reset is true no more."""
    return row.reset_s <= 0, row.remaining, -row.reset_s, row.limit


def _instance_row(instance: Instance, now_s: float) -> InstanceRow:
    snapshot = instance.snapshot
    if snapshot is None:
        return _untold_row(instance, now_s)
    process = snapshot.process
    return InstanceRow(
        name=instance.name,
        condition=condition(instance, now_s),
        heard_s_ago=max(0.0, now_s - instance.heard_s),
        uptime_s=uptime_s(instance, now_s),
        waiting=process.waiting,
        batches=snapshot.batches_in_all,
        requests=snapshot.requests,
        answered=snapshot.answered,
        failed=snapshot.failed,
        calls=snapshot.calls,
        lag_ms=process.lag_ms,
        memory_bytes=process.memory_bytes,
        outbox=process.outbox,
        gaps=instance.gaps,
    )


def _untold_row(instance: Instance, now_s: float) -> InstanceRow:
    """An instance that was heard, but never told how it stands."""
    return InstanceRow(
        name=instance.name,
        condition=condition(instance, now_s),
        heard_s_ago=max(0.0, now_s - instance.heard_s),
        uptime_s=0.0,
        waiting=0,
        batches=0,
        requests=0,
        answered=0,
        failed=0,
        calls=0,
        lag_ms=0.0,
        memory_bytes=0,
        outbox=None,
        gaps=instance.gaps,
    )


def _flush_row(flush: Flush, kept_s: float | None) -> FlushRow:
    if kept_s is None:
        return flush.row
    return replace(flush.row, kept_after_ms=max(0, round((kept_s - flush.ended_s) * 1000)))
