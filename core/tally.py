"""What this instance did, counted always, so that a monitor that comes late knows the recent past too.

    tally = Tally()
    tally.requested("bitcoin", now)
    tally.answered(now, waited_s=2.5)
    tally.buckets(now)

Totals since the start, and the latest BUCKETS of BUCKET_S seconds; times are trio's. To count a request takes a few
hundred nanoseconds and no memory; sums are made when somebody looks.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from core.batches import Result
from core.coin_tally import CoinTally
from core.counts import Counts
from core.events import BUCKET_S, BUCKETS, HISTOGRAM_MS, Bucket, CoinView

_MINUTE_S = 60.0

Histogram = list[int]


class Totals(msgspec.Struct):
    """Since the instance started."""

    requests: int = 0
    answered: int = 0
    failed: int = 0
    calls: int = 0  # begun for flushes
    opened: int = 0  # batches


class _Slot:
    """One bucket, while it is filled."""

    __slots__ = ("answered", "calls", "failed", "requests", "upstream", "waits")

    def __init__(self) -> None:
        self.requests = self.answered = self.failed = self.calls = 0
        self.waits = _histogram()
        self.upstream = _histogram()


class Tally:
    """Counts requests, calls and coins."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.counts = Counts()
        self._coins = CoinTally()
        self._slots = deque((_Slot() for _ in range(BUCKETS)), maxlen=BUCKETS)
        self._number = 0  # of the newest slot
        self._newest = self._slots[-1]
        self._from, self._until = 0.0, float(BUCKET_S)  # when it is filled
        self._minute: deque[float] = deque()  # when calls of the last minute began

    def requested(self, coin_id: str, now: float) -> None:
        """A request for a coin was let in."""
        self.totals.requests += 1
        self._slot(now).requests += 1
        self._coins.note(coin_id, self._number)

    def answered(self, now: float, waited_s: float) -> None:
        """A request came to a price, or several."""
        self.totals.answered += 1
        slot = self._slot(now)
        slot.answered += 1
        slot.waits[_place(waited_s)] += 1
        self.counts.waits.note(waited_s)

    def failed(self, now: float) -> None:
        """A request is over without a price."""
        self.totals.failed += 1
        self._slot(now).failed += 1

    def opened(self) -> None:
        """A request here opened a batch."""
        self.totals.opened += 1

    def heard(self, result: Result) -> None:
        """A batch was settled, here or elsewhere."""
        self._coins.hear(result)

    def spent(self, now: float) -> None:
        """An upstream call of any kind began."""
        self._minute.append(now)
        self._let_go(now)

    def unspent(self, began_at: float) -> None:
        """That call was not made after all."""
        with suppress(ValueError):  # if this process was stopped meanwhile, the minute may be over
            self._minute.remove(began_at)

    def call_began(self, now: float) -> None:
        """The upstream call of a flush began."""
        self.spent(now)
        self.totals.calls += 1
        self._slot(now).calls += 1

    def call_lapsed(self, began_at: float) -> None:
        """That call was not made after all."""
        self.unspent(began_at)
        self.totals.calls -= 1
        self._slot(began_at).calls -= 1

    def call_ended(self, now: float, took_s: float) -> None:
        """The upstream call of a flush ended, however."""
        self._slot(now).upstream[_place(took_s)] += 1
        self.counts.call_durations.note(took_s)

    def buckets(self, now: float) -> list[Bucket]:
        """The recent past, the newest last, which is not over yet."""
        return [Bucket(slot.requests, slot.answered, slot.failed, slot.calls) for slot in self._recent(now)]

    def waits(self, now: float) -> Histogram:
        """How long requests waited that were answered within the recent past."""
        return _sum(slot.waits for slot in self._recent(now))

    def upstream(self, now: float) -> Histogram:
        """How long upstream calls took that ended within the recent past."""
        return _sum(slot.upstream for slot in self._recent(now))

    def minute_calls(self, now: float) -> int:
        """How many upstream calls of any kind began here within 60 s."""
        self._let_go(now)
        return len(self._minute)

    @property
    def coins_in_all(self) -> int:
        """How many coins were asked for lately."""
        return len(self._coins)

    def coins(self, now: float) -> list[CoinView]:
        """The coins asked for lately, the most asked for first."""
        self._slot(now)
        return self._coins.views(self._number)

    def _recent(self, now: float) -> Iterable[_Slot]:
        self._slot(now)
        return self._slots

    def _slot(self, at: float) -> _Slot:
        if self._from <= at < self._until:
            return self._newest
        number = int(at // BUCKET_S)
        if number > self._number:
            self._turn(number)
        age = self._number - number
        return self._slots[-1 - age] if age < BUCKETS else _Slot()

    def _turn(self, number: int) -> None:
        self._slots.extend(_Slot() for _ in range(min(number - self._number, BUCKETS)))
        self._number, self._newest = number, self._slots[-1]
        self._from, self._until = float(number * BUCKET_S), float((number + 1) * BUCKET_S)

    def _let_go(self, now: float) -> None:
        while self._minute and self._minute[0] <= now - _MINUTE_S:
            self._minute.popleft()


def _histogram() -> Histogram:
    return [0] * (len(HISTOGRAM_MS) + 1)


def _place(duration_s: float) -> int:
    return bisect_left(HISTOGRAM_MS, duration_s * 1000)


def _sum(histograms: Iterable[Histogram]) -> Histogram:
    return [sum(counts) for counts in zip(*histograms, strict=True)]
