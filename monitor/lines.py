"""The lines above the tables: header, banner, saving, flushes by trigger."""

from typing import get_args

from rich.text import Text

from core.batches import Trigger
from monitor.state import State
from monitor.text import bar, harmless, number
from monitor.views import condition, shown_s, totals

_LINK_SIGNS = {
    "connecting": ("… CONNECTING", "yellow"),
    "connected": ("▶ LIVE", "bold green"),
    "lost": ("✗ LOST", "bold red"),
}


def header(state: State, now_s: float, *, paused: bool) -> Text:
    """Who is there, and whether what is shown is live."""
    sign, style = ("‖ PAUSED", "bold yellow") if paused else _LINK_SIGNS[state.link]
    line = Text.assemble(("CryptoPulse", "bold"), "  ", (sign, style), "  ", *_instances_up(state, now_s))
    line.append(_rules(state))
    if state.unreadable:
        line.append(f"  ! {number(state.unreadable)} unreadable", "yellow")
    return line


def banner(state: State, now_s: float) -> Text:
    """What is wrong with Redis; empty when nothing is."""
    if state.link != "lost":
        return Text()
    lost_for = f"! Redis lost - retrying ({now_s - state.lost_at_s:.0f} s)  "
    return Text.assemble((lost_for, "bold"), harmless(state.lost_reason, 120))


def saving(state: State) -> Text:
    """What batching saved, over all instances since their start."""
    total = totals(state)
    reduction = total.reduction
    line = _labelled(requests=total.requests, answered=total.answered, failed=total.failed, calls=total.calls)
    line.append("reduction ", "dim")
    if reduction is None:
        return line.append("-")
    return line.append(f"{bar(reduction, 8)} {reduction:.1%}", "bold")


def budget(state: State) -> Text:
    """What may be asked of CoinGecko, as the instance heard last knows; empty without limits."""
    snapshots = [instance.snapshot for instance in state.instances.values() if instance.snapshot]
    if not snapshots or snapshots[-1].budget.per_minute is snapshots[-1].budget.per_month is None:
        return Text()
    known = snapshots[-1].budget
    line = Text.assemble(("next call in ", "dim"), (f"{known.call_in_ms / 1000:.1f} s", "bold"), "  ")
    if known.per_minute is not None:
        line.append("a minute ", "dim").append(number(known.per_minute), "bold").append("  ")
    if known.per_month is not None:
        line.append("this month ", "dim").append(f"{number(known.month_calls)}/{number(known.per_month)}", "bold")
        lasts = known.month_projected <= known.per_month
        pace = f"  at this pace {number(known.month_projected)} {'✓' if lasts else '! will not last'}"
        line.append(pace, "green" if lasts else "bold yellow")
    return line


def triggers(state: State) -> Text:
    """Why batches were flushed, since this monitor watches."""
    counts = {trigger: state.triggers.get(trigger, 0) for trigger in get_args(Trigger)}
    return _labelled(flushes=state.flushes_heard, **counts)


def _instances_up(state: State, now_s: float) -> list[tuple[str, str]]:
    known = state.instances.values()
    up = sum(condition(instance, shown_s(state, now_s)) == "up" for instance in known)
    sign, style = ("●", "green") if 0 < up == len(known) else ("○", "yellow")
    return [(f"{sign} {up}/{len(known)} up", style)]


def _rules(state: State) -> str:
    """The flush rules, as the instance heard last has them."""
    for instance in reversed(list(state.instances.values())):
        if snapshot := instance.snapshot:
            return f"  window {snapshot.window_ms / 1000:g} s  threshold {number(snapshot.threshold)}"
    return ""


def _labelled(**counts: int) -> Text:
    line = Text()
    for label, count in counts.items():
        line.append(f"{label} ", "dim").append(number(count), "bold").append("  ")
    return line
