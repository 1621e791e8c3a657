"""The variants on a virtual clock, by the very policy that the server asks; long traces cost nothing.

    runs = simulated(600, seed=1)

Raises NotOptimal if waiting for the window's end, and sharing it, ever takes more calls than the fewest possible.
"""

from collections.abc import Sequence

import msgspec

from benchmarks.figures import Seen, Summary, summarize
from benchmarks.trace import SHAPES, Shape
from benchmarks.variants import A_MINUTE, PATIENT, VARIANTS, Variant
from core.simulation import Arrival, Fate, optimum, simulate

LATENCY_MS = 100
_OUTCOMES = {"answered": "200", "refused": "429 at once", "refused upstream": "429 upstream", "timed out": "504"}


class NotOptimal(Exception):
    """The policy made more calls than need be; str() says where."""


class Run(msgspec.Struct, frozen=True):
    """One variant on one shape of traffic."""

    shape: str
    variant: str
    limit_a_minute: int | None  # of the upstream
    summary: Summary


def simulated(seconds: float, seed: int) -> list[Run]:
    """Every variant on every shape, first on an upstream without limit, then on one like CoinGecko's free plan."""
    traces = [(shape, shape.make(seconds, seed)) for shape in SHAPES]
    for shape, trace in traces:
        assert_optimal(shape.name, trace)
    return [
        _run(shape, trace, variant, limit)
        for limit in (None, A_MINUTE)
        for shape, trace in traces
        for variant in VARIANTS
    ]


def assert_optimal(name: str, trace: Sequence[Arrival]) -> None:
    """Without a threshold and with calls that take no time, there are as few calls as possible; or raise NotOptimal."""
    terms = PATIENT.terms(latency_ms=0)
    calls, fewest = len(simulate(trace, terms).calls), optimum(trace, terms.window_s)
    if calls != fewest:
        raise NotOptimal(f"{name}: {calls} calls, where {fewest} would do")


def _run(shape: Shape, trace: Sequence[Arrival], variant: Variant, limit: int | None) -> Run:
    terms = variant.terms(latency_ms=LATENCY_MS, limit_a_minute=limit)
    asked = [Arrival(each.at_s, each.coin_id, variant.max_age_s) for each in trace]
    result = simulate(asked, terms)
    refused = sum(call.refused for call in result.calls)
    calls_at = [call.at_s for call in result.calls]
    fewest = optimum(trace, terms.window_s)
    return Run(
        shape.name,
        variant.name,
        limit,
        summarize(list(map(_seen, result.fates)), calls_at, refused=refused, fewest=fewest),
    )


def _seen(fate: Fate) -> Seen:
    return Seen(_OUTCOMES[fate.outcome], fate.wait_s * 1000, fate.age_s)
