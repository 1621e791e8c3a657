"""A benchmark that ran, as a text with a table; pure.

print(table([summarize("off", outcomes, calls), summarize("ride-along", other_outcomes, other_calls)]))
"""

from collections.abc import Sequence
from datetime import datetime
from textwrap import fill

import msgspec

from benchmarks.figures import Summary, Waits
from benchmarks.machine import Machine
from benchmarks.replay import Outcome
from benchmarks.trace import Traffic
from benchmarks.variants import Variant
from core.settings import Settings

_LABEL_WIDTH = 24
_COLUMN_WIDTH = 16
_TEXT_WIDTH = 110
_NONE = "-"


def shipped(setting: str) -> int:
    """The default of a setting that is a number."""
    return int(Settings.model_fields[setting].default)


class Run(msgspec.Struct, frozen=True):
    """One variant, its figures, and the requests that they are made from."""

    variant: Variant
    summary: Summary
    outcomes: Sequence[Outcome]


class Options(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    traffic: Traffic
    latency_ms: float
    instances: int
    limit_per_minute: int | None  # of the upstream


class Report(msgspec.Struct, frozen=True):
    """Everything that is known about a benchmark that ran."""

    began_at: datetime
    options: Options
    users: int
    optimum: int  # the fewest calls that could answer all requests within the window
    machine: Machine
    runs: Sequence[Run]


def table(summaries: Sequence[Summary]) -> str:
    """A column for each variant."""
    rows = [
        _row("", [summary.variant for summary in summaries]),
        _row("requests", [str(summary.requests) for summary in summaries]),
        _row("answered 200", [str(summary.answered) for summary in summaries]),
        _row("other statuses", [_other(summary.other) for summary in summaries]),
        _row("upstream calls", [str(summary.calls) for summary in summaries]),
        _row("refused with 429", [str(summary.calls_refused) for summary in summaries]),
        _row("calls in 60 s at most", [str(summary.calls_in_a_minute) for summary in summaries]),
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
    figures = table([run.summary for run in report.runs])
    variants = [run.variant for run in report.runs]
    return "\n\n".join([_what_ran(report), figures, _how_to_read(variants), _on_what(report.machine)])


def _what_ran(report: Report) -> str:
    options, traffic = report.options, report.options.traffic
    requests = f"{traffic.rate:g} requests/s for {traffic.seconds:g} s (Poisson)"
    coins = f"{traffic.coins} coins (Zipf, exponent {traffic.skew:g})"
    limit = f"{options.limit_per_minute} calls a minute" if options.limit_per_minute else "no limit"
    service = f"{options.instances} instances; upstream latency {options.latency_ms:g} ms, {limit}"
    window_s = shipped("batch_window_ms") / 1000
    return f"""\
{requests}, {coins}, seed {traffic.seed}, {report.users} users.
{service}.
The same requests at the same times for all. Whoever knew them all beforehand would need {report.optimum} calls to
answer each within {window_s:g} s."""


def _how_to_read(variants: Sequence[Variant]) -> str:
    as_shipped = f"BATCH_THRESHOLD={shipped('batch_threshold')}, BATCH_WINDOW_MS={shipped('batch_window_ms')}"
    terms = {variant.name: f"{_set(variant)}: {variant.meaning}" for variant in variants} | {
        "as shipped": f"{as_shipped}, and a call takes along what is open.",
        "calls": "those in the simulator's record, refused ones too.",
        "reduction": "1 - upstream calls / answered.",
        "wait": "of the requests answered 200, from their time in the trace.",
    }
    return "\n".join(_explained(term, text) for term, text in terms.items())


def _set(variant: Variant) -> str:
    return ", ".join(f"{name}={value}" for name, value in variant.settings.items()) or "as shipped"


def _explained(term: str, text: str) -> str:
    return fill(text, _TEXT_WIDTH, initial_indent=f"{term + ':':<12}", subsequent_indent=" " * 12)


def _on_what(machine: Machine) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return f"""\
{machine.cpu}, {machine.cores} cores for clients and servers alike, load {machine.load} before.
{machine.system}, {machine.python}.
{versions}.
Each run on new servers; LOG_LEVEL=warning, Postgres without fsync, all else as shipped."""
