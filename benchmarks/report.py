"""What a replay came to, as figures and as a table; pure.

print(table([summarize("batching off", off, calls), summarize("batching on", on, calls)]))
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from benchmarks.machine import Machine
from benchmarks.replay import Outcome
from benchmarks.trace import Traffic
from core.settings import Settings

_OK = 200
_LABEL_WIDTH = 24
_COLUMN_WIDTH = 16
_NONE = "-"


def shipped(setting: str) -> int:
    """The default of a setting that is a number."""
    return int(Settings.model_fields[setting].default)


class Waits(msgspec.Struct, frozen=True):
    """How long those who were answered had waited, in milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float


class Summary(msgspec.Struct, frozen=True):
    """The figures of one variant."""

    variant: str
    requests: int
    answered: int  # with 200
    other: dict[str, int]  # {status, or "no answer": requests}
    calls: int  # that the upstream got
    requests_per_call: float | None  # None: no call was made
    reduction: float | None  # the share of calls saved; None: nothing was answered
    wait_ms: Waits | None
    late_ms: float  # how far the sender was behind the trace at worst


class Run(msgspec.Struct, frozen=True):
    """One variant: its figures, what was set for it, and the requests that the figures are made from."""

    summary: Summary
    settings: Mapping[str, str]
    outcomes: Sequence[Outcome]


class Options(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    traffic: Traffic
    latency_ms: float
    instances: int


class Report(msgspec.Struct, frozen=True):
    """Everything that is known about a benchmark that ran."""

    began_at: datetime
    options: Options
    users: int
    machine: Machine
    runs: Sequence[Run]


def summarize(variant: str, outcomes: Sequence[Outcome], calls: int) -> Summary:
    """Count what became of the requests, and what it cost in upstream calls."""
    waits = sorted(outcome.wait_ms for outcome in outcomes if outcome.status == _OK)
    answered = len(waits)
    other = Counter(str(outcome.status or "no answer") for outcome in outcomes if outcome.status != _OK)
    return Summary(
        variant=variant,
        requests=len(outcomes),
        answered=answered,
        other=dict(other),
        calls=calls,
        requests_per_call=answered / calls if calls else None,
        reduction=1 - calls / answered if answered else None,
        wait_ms=Waits(*(percentile(waits, share) for share in (0.5, 0.95, 0.99, 1))) if waits else None,
        late_ms=max((outcome.late_ms for outcome in outcomes), default=0.0),
    )


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def table(summaries: Sequence[Summary]) -> str:
    """A column for each variant."""
    rows = [
        _row("", [summary.variant for summary in summaries]),
        _row("requests", [str(summary.requests) for summary in summaries]),
        _row("answered 200", [str(summary.answered) for summary in summaries]),
        _row("other statuses", [_other(summary.other) for summary in summaries]),
        _row("upstream calls", [str(summary.calls) for summary in summaries]),
        _row("requests per call", [_figure(summary.requests_per_call, ".2f") for summary in summaries]),
        _row("reduction", [_figure(summary.reduction, ".1%") for summary in summaries]),
    ]
    for name in Waits.__struct_fields__:
        waits = [getattr(summary.wait_ms, name, None) for summary in summaries]
        rows.append(_row(f"wait {name}, ms", [_figure(wait, ".0f") for wait in waits]))
    rows.append(_row("sent late at most, ms", [_figure(summary.late_ms, ".0f") for summary in summaries]))
    return "\n".join(rows)


def _row(label: str, cells: Sequence[str]) -> str:
    return (f"{label:<{_LABEL_WIDTH}}" + "".join(f"{cell:>{_COLUMN_WIDTH}}" for cell in cells)).rstrip()


def _other(other: dict[str, int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(other.items())) or "none"


def _figure(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)


def described(report: Report) -> str:
    """What ran, the table, how to read it, and on which machine."""
    parts = [_what_ran(report), table([run.summary for run in report.runs]), _HOW_TO_READ, _on_what(report.machine)]
    return "\n\n".join(parts)


def _what_ran(report: Report) -> str:
    options, traffic = report.options, report.options.traffic
    requests = f"{traffic.rate:g} requests/s for {traffic.seconds:g} s (Poisson)"
    coins = f"{traffic.coins} coins (Zipf, exponent {traffic.skew:g})"
    service = f"{options.instances} instances, upstream latency {options.latency_ms:g} ms"
    return f"""\
{requests}, {coins}, seed {traffic.seed}, {report.users} users.
{service}. The same requests at the same times for both:"""


_HOW_TO_READ = f"""\
on:         BATCH_THRESHOLD={shipped("batch_threshold")} and BATCH_WINDOW_MS={shipped("batch_window_ms")}, as shipped.
off:        BATCH_THRESHOLD=1: every request is a full batch of its own. Requests that arrive while a call for
            their coin is under way still share the next one.
calls:      those in the simulator's record.
reduction:  1 - upstream calls / answered.
wait:       of the requests answered 200, from their time in the trace."""


def _on_what(machine: Machine) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return f"""\
{machine.cpu}, {machine.cores} cores for clients and servers alike, load {machine.load} before.
{machine.system}, {machine.python}.
{versions}.
Each run on new servers; LOG_LEVEL=warning, Postgres without fsync, all else as shipped."""
