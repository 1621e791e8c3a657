"""How many upstream calls each policy makes for the same requests: `python -m benchmarks.reduction --help`.

The same seeded traces go through every variant on a virtual clock, and some of them through two real instances with our
simulator in CoinGecko's place, whose record tells how often it was called.
"""

from collections.abc import Sequence

import click
import msgspec
import trio

from benchmarks.alone import Options, alone, options
from benchmarks.contestants import OURS
from benchmarks.figures import Seen, Spread, summarize
from benchmarks.picture import Panel, drawn
from benchmarks.replay import Outcome, replay
from benchmarks.report import Section, Table, number, quantiles
from benchmarks.service import Ground, running
from benchmarks.trace import KNOWN_COINS, SHAPES, Shape, coin_ids
from benchmarks.variants import A_MINUTE, BUDGET, FRESHNESS, OFF, ORIGINAL, PATIENT, SHIPPED, VARIANTS, Variant, shipped
from benchmarks.virtual import LATENCY_MS, NotOptimal, Run, simulated
from core.simulation import optimum

_VIRTUAL_S = 600.0
_REAL_S = 12.0
_INSTANCES = 2
_OK = 200
_REFUSED = 429
_HEAD = (
    "variant", "requests", "answered", "calls", "calls / fewest", "requests a call", "reduction",
    "refused upstream (429)", "wait p50 / p95 / p99 / max, s", "age of prices p50 / p95 / p99 / max, s",
)  # fmt: skip

_TEXT = f"""\
The same requests at the same times for every variant. *Fewest* are the calls of somebody who knew all requests beforehand
and answered each within {shipped("batch_window_ms") / 1000:g} s, with any number of coins a call. A call takes {LATENCY_MS} ms. Freshness alone
can make do with fewer, since there requests allow an older price. Waits are of those who were answered; *reduction* is
1 - calls / answered. On the virtual clock an upstream's refusal is known at once, and puts off the next call as in the
service. Without a threshold, and with calls that take no time, the calls are as few as possible: else this would have
ended with an error; on two real instances one more is let pass.

"""  # noqa: E501 - figures stand in for what is longer


def measure(base: Ground, told: Options) -> Section:
    """Run everything."""
    seconds = 60.0 if told.quick else _VIRTUAL_S
    virtual = simulated(seconds, told.seed)
    shapes = [SHAPES[0]] if told.quick else [SHAPES[0], SHAPES[3]]
    variants = [SHIPPED] if told.quick else [OFF, ORIGINAL, SHIPPED, BUDGET, FRESHNESS, PATIENT]
    real = [_real(base, shape, variant, told) for shape in shapes for variant in variants]
    return Section(
        name="reduction",
        text=_TEXT + _meanings(),
        headline=_headline(virtual),
        tables=[*_virtual_tables(virtual, seconds), *_real_tables(real)],
        raw={"seconds": seconds, "virtual": virtual, "real": real},
        pictures={"Calls against waits": _picture(virtual, seconds)},
    )


def _meanings() -> str:
    return "\n".join(f"- *{variant.name}*: {variant.meaning}." for variant in VARIANTS)


def _real(base: Ground, shape: Shape, variant: Variant, told: Options) -> Run:
    seconds = 3.0 if told.quick else _REAL_S
    trace = shape.make(seconds, told.seed)
    made_up = {coin_id: {"usd": "1.5"} for coin_id in coin_ids(shape.coins)[len(KNOWN_COINS) :]}
    limit = A_MINUTE if variant in (BUDGET, FRESHNESS) else None
    simulator = {"latency_ms": LATENCY_MS, "limit_per_minute": limit or 0, "prices": made_up}
    click.echo(f"reduction: {shape.name}, {variant.name}, two instances …", err=True)
    with running(base, OURS, instances=_INSTANCES, settings=variant.settings, simulator=simulator) as service:
        before = len(service.recorded_calls())
        outcomes = trio.run(
            replay, trace, service.urls, service.tokens(users_within_limit(len(trace))), variant.headers
        )
        calls = service.recorded_calls()[before:]
    fewest = optimum(trace, shipped("batch_window_ms") / 1000)
    if variant is PATIENT and len(calls) > fewest + 1:
        raise NotOptimal(f"{shape.name}, two instances: {len(calls)} calls, where {fewest} would do")
    refused = sum(call.status == _REFUSED for call in calls)
    summary = summarize(_seen(outcomes), [call.monotonic for call in calls], refused=refused, fewest=fewest)
    return Run(shape.name, variant.name, limit, summary)


def users_within_limit(requests: int) -> int:
    """So many users, taking turns, that none of them comes to the rate limit as shipped."""
    return max(1, -(-requests // shipped("throttle_global_limit")))


def _seen(outcomes: Sequence[Outcome]) -> list[Seen]:
    return [Seen(str(each.status or "no answer"), each.wait_ms, each.age_s) for each in outcomes]


def _virtual_tables(runs: Sequence[Run], seconds: float) -> list[Table]:
    tables = []
    for shape in SHAPES:
        for limit in (None, A_MINUTE):
            rows = [_row(run) for run in runs if (run.shape, run.limit_a_minute) == (shape.name, limit)]
            refuses = f"an upstream that refuses above {limit} calls a minute" if limit else "an upstream without limit"
            title = f"{shape.name.capitalize()}: {shape.meaning}; {seconds:g} s on a virtual clock, {refuses}"
            tables.append(Table(_HEAD, rows, title))
    return tables


def _real_tables(runs: Sequence[Run]) -> list[Table]:
    limited = (
        f"budget and freshness on an upstream that refuses above {A_MINUTE} calls a minute, the others without limit"
    )
    return [
        Table(
            _HEAD, [_row(run) for run in runs if run.shape == shape], f"{shape}: {_INSTANCES} real instances; {limited}"
        )
        for shape in dict.fromkeys(run.shape for run in runs)
    ]


def _row(run: Run) -> list[str]:
    summary = run.summary
    return [
        run.variant,
        str(summary.requests),
        f"{summary.share:.1%}",
        str(summary.calls),
        number(summary.calls / summary.fewest, ".2f"),
        number(summary.requests_per_call, ".1f"),
        number(summary.reduction, ".1%"),
        str(summary.calls_refused),
        quantiles(_in_seconds(summary.wait_ms), ".2f"),
        quantiles(summary.age_s, ".2f"),
    ]


def _in_seconds(waits_ms: Spread | None) -> Spread | None:
    return Spread(*(value / 1000 for value in msgspec.structs.astuple(waits_ms))) if waits_ms else None


def _picture(runs: Sequence[Run], seconds: float) -> str:
    """Calls a minute against the mean wait, on the upstream without limit."""
    minutes = seconds / 60
    panels = []
    for shape in SHAPES:
        those = [run for run in runs if run.shape == shape.name and run.limit_a_minute is None]
        points = {
            run.variant: (max(run.summary.wait_ms.mean / 1000, 0.01), run.summary.calls / minutes)
            for run in those
            if run.summary.wait_ms
        }
        panels.append(Panel(shape.name, points, those[0].summary.fewest / minutes))
    return drawn(panels, "mean wait, s", "upstream calls a minute")


def _headline(runs: Sequence[Run]) -> str:
    zipf = {run.variant: run.summary for run in runs if run.shape == SHAPES[3].name and run.limit_a_minute == A_MINUTE}
    original, budget = zipf[ORIGINAL.name], zipf[BUDGET.name]
    return (
        f"500 coins, 30 calls a minute: answered {budget.share:.1%} with {budget.calls} calls, "
        f"original {original.share:.1%} with {original.calls}; without threshold the fewest possible on every trace"
    )


@click.command()
@options
def main(**how: object) -> None:
    """Measure how many upstream calls batching saves, and how long requests wait for it."""
    alone(measure, how)


if __name__ == "__main__":
    main()
