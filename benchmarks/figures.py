"""What a replay came to, as figures; pure.

summarize("off", outcomes, calls).reduction
"""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from benchmarks.replay import Outcome
from simulator import Call

_OK = 200
_TOO_MANY_REQUESTS = 429
_MINUTE_S = 60.0


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
    calls_refused: int  # of these: with 429
    calls_in_a_minute: int  # in any at most
    requests_per_call: float | None  # None: no call was made
    reduction: float | None  # the share of calls saved; None: nothing was answered
    wait_ms: Waits | None
    late_ms: float  # how far the sender was behind the trace at worst


def summarize(variant: str, outcomes: Sequence[Outcome], calls: Sequence[Call]) -> Summary:
    """Count what became of the requests, and what it cost in upstream calls, which are in order."""
    waits = sorted(outcome.wait_ms for outcome in outcomes if outcome.status == _OK)
    answered = len(waits)
    other = Counter(str(outcome.status or "no answer") for outcome in outcomes if outcome.status != _OK)
    return Summary(
        variant=variant,
        requests=len(outcomes),
        answered=answered,
        other=dict(other),
        calls=len(calls),
        calls_refused=sum(call.status == _TOO_MANY_REQUESTS for call in calls),
        calls_in_a_minute=most_within(_MINUTE_S, [call.monotonic for call in calls]),
        requests_per_call=answered / len(calls) if calls else None,
        reduction=1 - len(calls) / answered if answered else None,
        wait_ms=Waits(*(percentile(waits, share) for share in (0.5, 0.95, 0.99, 1))) if waits else None,
        late_ms=max((outcome.late_ms for outcome in outcomes), default=0.0),
    )


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def most_within(span_s: float, instants: Sequence[float]) -> int:
    """The most of these instants, which are in order, that any stretch of so many seconds holds."""
    most = first = 0
    for number, instant in enumerate(instants):
        while instants[first] <= instant - span_s:
            first += 1
        most = max(most, number - first + 1)
    return most
