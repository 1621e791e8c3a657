"""The first line and the boxes under it."""

from calendar import monthrange
from collections.abc import Callable, Iterable

from core.events import BUCKET_S, BUCKETS, VERSION, BudgetView, Snapshot
from core.month import month_of
from monitor.instances import SILENT_AFTER_S, Instance, condition, is_well
from monitor.rows import BudgetBox, Header, LatencyBox, SavingBox
from monitor.state import State, shown_s, wall_ms
from monitor.views.lists import uptime_s
from monitor.views.past import brought_to_now, buckets_ago, histogram, quantile, summed

_MINUTE_S = 60
_DAY_S = 86_400
_NO_BUDGET = BudgetView(per_minute=None, per_month=None, call_in_ms=0, month_calls=0, month_projected=0)

_Told = list[tuple[Instance, Snapshot]]


def header(state: State, now_s: float) -> Header:
    """Who is there, and how sound what is shown is. An instance that said goodbye is not missed."""
    lost_for_s = max(0.0, now_s - state.lost_at_s) if state.link == "lost" else 0.0
    now_s = shown_s(state, now_s)
    known = state.instances.values()
    conditions = [condition(one, now_s) for one in known]
    well = [(one, snapshot) for one, snapshot in _told(state) if is_well(one, now_s)]
    rules = _rules(well or _told(state))
    return Header(
        link=state.link,
        lost_for_s=lost_for_s,
        lost_reason=state.lost_reason if state.link == "lost" else "",
        instances_up=conditions.count("up"),
        instances=len(conditions) - conditions.count("stopped"),
        uptime_s=max((uptime_s(one, now_s) for one, _ in well), default=0.0),
        window_s=rules[-1][0] / 1000 if rules else None,
        threshold=rules[-1][1] if rules else None,
        ride_along=rules[-1][2] if rules else None,
        differing=len(set(rules)) > 1,
        gaps=state.gaps,
        unreadable=state.unreadable,
        other_versions=sum(one.version != VERSION for one in known),
    )


def budget(state: State, now_s: float) -> BudgetBox:
    """The instance heard last has the newest word of the month; each counts its own calls of the minute."""
    now_s = shown_s(state, now_s)
    told = _told(state)
    newest, age_s = _newest_budget(told, now_s)
    per_month, projected = newest.per_month, newest.month_projected
    month_s = _month_s(wall_ms(state, now_s))
    return BudgetBox(
        minute_calls=sum(_minute_calls(one, now_s - who.snapshot_s) for who, one in told),
        per_minute=newest.per_minute,
        # Each instance knows the count as of its own last call, so the highest is the truest.
        month_calls=max((one.budget.month_calls for _, one in told), default=0),
        per_month=per_month,
        month_projected=projected,
        pace_s=month_s / projected if month_s and projected > 0 else None,
        lasts=per_month is None or projected <= per_month,
        call_in_s=max(0.0, newest.call_in_ms / 1000 - age_s),
    )


def saving(state: State, now_s: float) -> SavingBox:
    """The sum over all instances, also of what those did that are gone since."""
    now_s = shown_s(state, now_s)
    told = _told(state)
    requests = _line(told, now_s, lambda snapshot: [bucket.requests for bucket in snapshot.buckets])
    calls = _line(told, now_s, lambda snapshot: [bucket.calls for bucket in snapshot.buckets])
    asked, called = sum(requests), sum(calls)
    return SavingBox(
        requests=asked,
        calls=called,
        reduction=1 - called / asked if asked else None,
        per_call=asked / called if called else None,
        calls_line=calls,
    )


def latency(state: State, now_s: float) -> LatencyBox:
    """Of all instances; what a silent one told counts as a whole until none of it can be within five minutes."""
    now_s = shown_s(state, now_s)
    told = _told(state)
    recent = [snapshot for one, snapshot in told if now_s - one.snapshot_s < BUCKETS * BUCKET_S]
    waits = histogram(snapshot.waits for snapshot in recent)
    upstream = histogram(snapshot.upstream for snapshot in recent)
    return LatencyBox(
        wait_p50=quantile(waits, 0.5),
        wait_p95=quantile(waits, 0.95),
        wait_p99=quantile(waits, 0.99),
        upstream_p50=quantile(upstream, 0.5),
        upstream_p95=quantile(upstream, 0.95),
        answers_line=_line(told, now_s, lambda snapshot: [bucket.answered for bucket in snapshot.buckets]),
    )


def _told(state: State) -> _Told:
    """The instances that told how they stand, the one heard last at the end."""
    return [(one, one.snapshot) for one in state.instances.values() if one.snapshot is not None]


def _rules(told: Iterable[tuple[Instance, Snapshot]]) -> list[tuple[int, int, bool]]:
    return [(snapshot.window_ms, snapshot.threshold, snapshot.ride_along) for _, snapshot in told]


def _minute_calls(snapshot: Snapshot, age_s: float) -> int:
    """The calls of the last minute by an instance that told of them this long ago.

    Of a silent one those count that were within the minute for sure: their buckets lie in it from beginning to end.
    """
    told = snapshot.budget.minute_calls
    if age_s < SILENT_AFTER_S:
        return told
    within = max(0, int((_MINUTE_S - age_s) // BUCKET_S))
    buckets = snapshot.buckets[-within:] if within else ()
    return min(told, sum(bucket.calls for bucket in buckets))


def _newest_budget(told: _Told, now_s: float) -> tuple[BudgetView, float]:
    """The newest word of the budget, and how old it is."""
    if not told:
        return _NO_BUDGET, 0.0
    instance, snapshot = max(reversed(told), key=lambda item: item[0].snapshot_s)
    return snapshot.budget, now_s - instance.snapshot_s


def _line(told: _Told, now_s: float, of: Callable[[Snapshot], list[int]]) -> list[int]:
    total = [0] * BUCKETS
    for instance, snapshot in told:
        ago = min(BUCKETS, buckets_ago(now_s - instance.snapshot_s))
        total = summed(total, brought_to_now(of(snapshot), ago, BUCKETS))
    return total


def _month_s(wall: int) -> int | None:
    """How long this month is; None outside of all years."""
    try:
        month = month_of(wall)
    except (ValueError, OverflowError):
        return None
    return monthrange(month.year, month.month)[1] * _DAY_S
