"""What a run came to, as figures; pure.

spread([3.0, 1.0, 2.0]).p50                 # 2.0
summarize(seen, calls_at, refused=0, fewest=3).reduction
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

import msgspec

_OK = "200"
_MINUTE_S = 60.0


class Spread(msgspec.Struct, frozen=True):
    """How values are spread."""

    p50: float
    p95: float
    p99: float
    max: float
    mean: float


class Seen(msgspec.Struct, frozen=True):
    """What became of one request; `outcome` is a status, or why there was none."""

    outcome: str
    wait_ms: float
    age_s: float | None = None  # of the price that answered


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one variant on one trace."""

    requests: int
    answered: int  # with 200
    other: dict[str, int]  # {outcome: requests}
    calls: int  # that the upstream got
    calls_refused: int  # of these: with 429
    calls_in_a_minute: int  # in any at most
    fewest: int  # calls that could have answered all, each within a window of its own
    requests_per_call: float | None  # None: no call was made
    reduction: float | None  # the share of calls saved; None: nothing was answered
    wait_ms: Spread | None
    age_s: Spread | None

    @property
    def share(self) -> float:
        """Of all requests, how many were answered."""
        return self.answered / self.requests if self.requests else 0.0


def summarize(seen: Sequence[Seen], calls_at: Sequence[float], *, refused: int, fewest: int) -> Summary:
    """Count what became of the requests, and what it cost in upstream calls, which are in order."""
    answers = [each for each in seen if each.outcome == _OK]
    calls, answered = len(calls_at), len(answers)
    return Summary(
        requests=len(seen),
        answered=answered,
        other=dict(Counter(each.outcome for each in seen if each.outcome != _OK)),
        calls=calls,
        calls_refused=refused,
        calls_in_a_minute=most_within(_MINUTE_S, calls_at),
        fewest=fewest,
        requests_per_call=answered / calls if calls else None,
        reduction=1 - calls / answered if answered else None,
        wait_ms=spread([each.wait_ms for each in answers]),
        age_s=spread([each.age_s for each in answers if each.age_s is not None]),
    )


def spread(values: Sequence[float]) -> Spread | None:
    """How they are spread, to four digits or so; None where there are none."""
    if not values:
        return None
    ascending = sorted(values)
    shares = [percentile(ascending, share) for share in (0.5, 0.95, 0.99, 1)]
    return Spread(*(round(value, 4) for value in (*shares, math.fsum(ascending) / len(ascending))))


def middle(values: Sequence[float]) -> float:
    """The median, or not a number where there are none."""
    return median(values) if values else math.nan


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
