"""What stands above and beside the tables: header, banner, boxes, the facts of a page. Pure: values in, text out."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.text import Text

from monitor.rows import BudgetBox, EventRow, FlushRow, Header, LatencyBox, SavingBox
from monitor.text import (
    ACCENT,
    BAD,
    FAINT,
    GOOD,
    QUIET,
    WARN,
    Cell,
    Part,
    bar_cell,
    exact_time,
    milliseconds,
    name,
    number,
    padded,
    seconds,
    spark,
    time_of_day,
)

_LINK_SIGNS = {
    "connecting": ("… CONNECTING", WARN),
    "connected": ("▶ LIVE", f"bold {GOOD}"),
    "lost": ("✗ LOST", f"bold {BAD}"),
    "replay": ("» REPLAY", f"bold {ACCENT}"),
}
_PAUSED = ("‖ PAUSED", f"bold {WARN}")


def joined(lines: Iterable[Cell]) -> Text:
    """Lines of parts as one text."""
    text = Text(no_wrap=True, overflow="crop", end="")
    for index, line in enumerate(lines):
        text.append("\n" if index else "")
        for part, style in line:
            text.append(part, style or None)
    return text


# Header and banner


def header(known: Header, *, paused: bool, at_ms: int, played: tuple[float, float] | None, width: int) -> Text:
    """Who is there, by which rules, and whether what is shown is live; what is least needed goes first."""
    left = [("CryptoPulse", "bold"), _up(known), *_rules(known), *_faults(known)]
    right = [_PAUSED if paused else _LINK_SIGNS["replay" if played and known.link != "lost" else known.link]]
    right.append((f"{seconds(played[0])} of {seconds(played[1])}" if played else time_of_day(at_ms), QUIET))
    right.append(("? help", QUIET))
    while _length(left) + _length(right) + 2 > width and len(left) + len(right) > 3:  # noqa: PLR2004 -- name, up, link
        _drop_least(left, right)
    space = max(2, width - _length(left) - _length(right))
    return joined([(*_spaced(left), (" " * space, ""), *_spaced(right))])


def _up(known: Header) -> Part:
    well = 0 < known.instances_up == known.instances
    return f"{'●' if well else '○'} {known.instances_up}/{known.instances} up", GOOD if well else WARN


def _rules(known: Header) -> list[Part]:
    parts: list[Part] = [(f"for {seconds(known.uptime_s)}", QUIET)] if known.instances_up else []
    if known.window_s is not None:
        parts.append((f"window {known.window_s:g}s", QUIET))
    if known.threshold is not None:
        parts.append((f"threshold {number(known.threshold)}", QUIET))
    if known.ride_along:
        parts.append(("ride-along", QUIET))
    return parts


def _faults(known: Header) -> list[Part]:
    """What the monitor itself cannot vouch for."""
    said = (
        (known.differing, "! settings differ"),
        (known.gaps, f"! {number(known.gaps)} lost"),
        (known.unreadable, f"! {number(known.unreadable)} unreadable"),
        (known.other_versions, f"! {number(known.other_versions)} of other version"),
    )
    return [(text, WARN) for is_so, text in said if is_so]


def _drop_least(left: list[Part], right: list[Part]) -> None:
    """Quiet parts go before faults, and those before the link."""
    quiet = [part for part in left if part[1] == QUIET]
    if right[-1][0] == "? help":
        right.pop()
    elif quiet:
        left.remove(quiet[-1])
    elif len(left) > 2:  # noqa: PLR2004 -- name and instances
        left.pop()
    else:
        right.pop()


def _length(parts: Sequence[Part]) -> int:
    return sum(cell_len(text) + 2 for text, _ in parts) - 2


def _spaced(parts: Sequence[Part]) -> list[Part]:
    return [piece for index, part in enumerate(parts) for piece in ((("  ", ""), part) if index else (part,))]


def banner(known: Header) -> Text:
    """What is wrong with Redis; empty when nothing is."""
    if known.link != "lost":
        return Text()
    lost_for = f"! Redis lost, retrying ({known.lost_for_s:.0f} s); what is shown is from before.  "
    return joined([((lost_for, "bold"), name(known.lost_reason))])


# Boxes: three lines each, or one


def budget(box: BudgetBox, width: int) -> list[Cell]:
    """What may be asked of CoinGecko."""
    return [
        _limit("minute ", box.minute_calls, box.per_minute, width),
        _limit("month  ", box.month_calls, box.per_month, width),
        (("pace   ", QUIET), *_pace(box, width - 7)),
    ]


def budget_line(box: BudgetBox) -> Cell:
    """The same in one line."""
    return (
        ("budget  ", QUIET), ("minute ", QUIET), (_of(box.minute_calls, box.per_minute), ""),
        ("  month ", QUIET), (_of(box.month_calls, box.per_month), ""), ("  ", ""), *_pace(box, 16),
    )  # fmt: skip


def _limit(label: str, calls: int, most: int | None, width: int) -> Cell:
    told = _of(calls, most)
    if most is None:
        return ((label, QUIET), (told, ""))
    part = calls / max(1, most)
    style = BAD if part >= 1 else WARN if part >= 0.9 else GOOD  # noqa: PLR2004 -- nearly used up
    return ((label, QUIET), *bar_cell(part, max(3, width - len(label) - len(told) - 1), style), (f" {told}", ""))


def _of(calls: int, most: int | None) -> str:
    return f"{number(calls)} calls" if most is None else f"{number(calls)}/{number(most)}"


def _pace(box: BudgetBox, width: int) -> Cell:
    """How often calls are made, and whether the month's last at that rate."""
    pace = "no calls" if box.pace_s is None else f"1/{seconds(box.pace_s)}"
    if box.per_month is None:
        return ((pace, ""),)
    if not box.lasts:
        return (("! will not last", f"bold {WARN}"), (f"  {pace}", ""))
    wait = f"  next in {seconds(box.call_in_s)}" if box.call_in_s >= 1 else ""
    fits = len(pace) + len("  lasts ✓") + len(wait) <= width
    return ((pace, ""), ("  lasts ✓", GOOD), (wait if fits else "", QUIET))


def saving(box: SavingBox, width: int) -> list[Cell]:
    """What batching saved."""
    return [
        (("requests ", QUIET), (number(box.requests), "bold"), ("  calls ", QUIET), (number(box.calls), "bold")),
        (_reduction(box), *_per_call(box, "requests/call" if width >= 26 else "a call")),  # noqa: PLR2004 -- its length
        (("calls ", QUIET), (spark(box.calls_line, min(60, width - 6)), ACCENT)),
    ]


def saving_line(box: SavingBox) -> Cell:
    """The same in one line."""
    return (
        ("saving  ", QUIET), _reduction(box), *_per_call(box, "a call"),
        ("  requests ", QUIET), (number(box.requests), ""), ("  calls ", QUIET), (number(box.calls), ""),
    )  # fmt: skip


def _reduction(box: SavingBox) -> Part:
    return ("-", FAINT) if box.reduction is None else (f"-{box.reduction:.1%}", f"bold {GOOD}")


def _per_call(box: SavingBox, words: str) -> Cell:
    return () if box.per_call is None else ((f"  {box.per_call:.1f}", ""), (f" {words}", QUIET))


def latency(box: LatencyBox, width: int) -> list[Cell]:
    """How long requests wait, and calls take."""
    full = width >= 32  # noqa: PLR2004 -- all three percentiles
    wait = [("wait ", QUIET), *_percentile("p50", box.wait_p50), *_percentile(" p95", box.wait_p95)]
    if full:
        wait += _percentile(" p99", box.wait_p99)
    calls = ("upstream " if full else "call ", QUIET)
    return [
        tuple(wait),
        (calls, *_percentile("p50", box.upstream_p50), *_percentile(" p95", box.upstream_p95)),
        (("answers ", QUIET), (spark(box.answers_line, min(60, width - 8)), ACCENT)),
    ]


def latency_line(box: LatencyBox) -> Cell:
    """The same in one line."""
    return (
        ("latency ", QUIET), ("wait ", QUIET), *_percentile("p50", box.wait_p50), *_percentile(" p95", box.wait_p95),
        ("  call ", QUIET), *_percentile("p50", box.upstream_p50), *_percentile(" p95", box.upstream_p95),
    )  # fmt: skip


def _percentile(label: str, value_s: float | None) -> Cell:
    shown = "-" if value_s is None else f"{value_s:.2f}s" if value_s < 1 else seconds(value_s)
    return ((f"{label} ", QUIET), (shown, FAINT if value_s is None else ""))


# Events, facts, the anatomy of a flush


def event(row: EventRow, width: int) -> Cell:
    """One event as a line."""
    who: Cell = (*padded((name(row.instance),), 10), ("  ", "")) if width >= 70 else ()  # noqa: PLR2004 -- room for it
    return (
        (exact_time(row.at_ms), QUIET), (" ! " if row.alarm else "   ", f"bold {WARN}"),
        *padded((name(row.kind, WARN if row.alarm else ACCENT),), 8), (" ", ""), *who, event_text(row),
    )  # fmt: skip


def event_text(row: EventRow) -> Part:
    """What happened, without the kind that stands before it."""
    return name(row.text.removeprefix(f"{row.kind} "))


def facts(known: Sequence[tuple[str, Cell]]) -> list[Cell]:
    """Labels and what they stand for, one below the other."""
    widest = max((len(label) for label, _ in known), default=0)
    return [((f"{label:<{widest}}  ", QUIET), *cell) for label, cell in known]


def anatomy(row: FlushRow, width: int) -> list[Cell]:
    """The steps of a flush, each bar beginning where the one before it ended.

    The time a batch was open is long beside the steps of its flush: it has a scale of its own.
    """
    steps: list[tuple[str, float | None]] = [
        ("claim", row.claim_ms),
        ("call", row.upstream_ms),
        ("publish", row.publish_ms),
        ("kept", row.kept_after_ms),
    ]
    room = max(10, width - 9 - 11)
    whole = max(0.001, sum(took or 0 for _, took in steps))
    lines = [_step("open", float(row.open_ms), 0, room if row.open_ms else 0, QUIET)]
    before = 0.0
    for label, took in steps:
        start, end = round(before / whole * room), round((before + (took or 0)) / whole * room)
        before += took or 0
        length = max(1, end - start) if took else 0
        lines.append(_step(label, took, min(start, room - length), length, ACCENT))
    return [tuple(padded(line, width)) for line in lines]


def _step(label: str, took_ms: float | None, start: int, length: int, style: str) -> Cell:
    shown = "not yet" if took_ms is None else milliseconds(took_ms)
    return (
        (f"{label:<9}", QUIET),
        (f"{shown:>10} ", FAINT if took_ms is None else ""),
        (" " * start, ""),
        ("━" * length, style),
    )
