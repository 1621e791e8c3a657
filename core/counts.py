"""What this instance did since it started: plain numbers that only grow, for whoever looks at them from time to time.

counts = Counts()
counts.waits.note(2.5)
counts.calls["prices", "answered"] += 1
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Literal, get_args

from core.batches import Trigger
from core.events import HISTOGRAM_MS

FlushOutcome = Literal["answered", "failed", "fenced", "lapsed"]

PURPOSES = ("prices", "other")  # of upstream calls
# What they came to; given up are those whose batches another instance took over meanwhile.
CALL_OUTCOMES = ("answered", "limited", "failed", "given up")
DURATIONS_S = tuple(bound / 1000 for bound in HISTOGRAM_MS)
# Most that one call carries is 515: UPSTREAM_MAX_IDS.
COINS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 350.0, 500.0)


class Histogram:
    """How many values fell below each bound, and all of them together."""

    __slots__ = ("bounds", "places", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.places = [0] * (len(bounds) + 1)  # the last one holds all that is beyond the last bound
        self.total = 0.0

    def note(self, value: float) -> None:
        """Count one value."""
        self.places[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counts:
    """Each count is there from the start, so that its first change is seen as one."""

    def __init__(self) -> None:
        self.waits = Histogram(DURATIONS_S)  # of requests that came to a price
        self.call_durations = Histogram(DURATIONS_S)  # of calls for prices
        self.coins_a_call = Histogram(COINS)
        self.calls = Counter(dict.fromkeys(product(PURPOSES, CALL_OUTCOMES), 0))
        self.flushes: Counter[FlushOutcome] = Counter(dict.fromkeys(get_args(FlushOutcome), 0))
        self.batches: Counter[Trigger] = Counter(dict.fromkeys(get_args(Trigger), 0))  # settled from here
        self.takeovers = 0  # batches claimed from a flusher that fell silent
        self.fenced = 0  # results that Redis refused, since another instance had taken over
