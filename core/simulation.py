"""The simulation: the flush policy run on a trace and a virtual clock; pure, and faster than the time it tells of.

    simulated = simulate([Arrival(0.0, "bitcoin"), Arrival(0.4, "ethereum")], terms)
    len(simulated.calls), optimum(trace, terms.window_s)

`core.flush_policy` decides, as it does in the server. Around it stands what Redis would do, without faults: a coin
has one open batch and at most one call under way, permits are evenly spaced, and a request whose earliest call lies
beyond its deadline is refused, unless a price at hand is as fresh as it asks. All instances are one, and Redis takes no
time. The upstream answers every call, or refuses those above its limit a minute, which is known at once.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from math import ceil, inf
from typing import Literal

import msgspec

from core.flush_policy import Budget, Plan, View, next_step, plan, ride_along
from core.flush_policy import Call as PlannedCall
from core.permits import interval_ms

_MINUTE_S = 60.0


class Arrival(msgspec.Struct, frozen=True):
    """One request: when, after the beginning, for which coin, and how old its price may be."""

    at_s: float
    coin_id: str
    max_age_s: float | None = None  # None: fetched after the request came


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """On what terms requests are answered; times in seconds."""

    window_s: float
    threshold: int
    result_timeout_s: float
    ride_along: bool
    max_ids: int
    calls_per_minute: int | None
    upstream_latency_s: float
    upstream_timeout_s: float = 2.5
    upstream_limit_a_minute: int | None = None  # what it refuses beyond, whatever our own budget is
    first_call_at_s: float = 0.0  # one `interval_s` where Redis starts with the trace

    @property
    def interval_s(self) -> float:
        """Between two permits."""
        return interval_ms(self.calls_per_minute, round(self.upstream_timeout_s * 1000)) / 1000


class Call(msgspec.Struct, frozen=True):
    """One upstream call, how many requests were in its batches, and whether the upstream refused it."""

    at_s: float
    coin_ids: tuple[str, ...]
    requests: int
    refused: bool = False


class Fate(msgspec.Struct, frozen=True):
    """What became of one request; `called_at_s` is when the call was made that brought its price, or was to."""

    arrival: Arrival
    outcome: Literal["answered", "timed out", "refused", "refused upstream"]
    wait_s: float
    called_at_s: float | None = None

    @property
    def age_s(self) -> float | None:
        """How old the price was that answered."""
        if self.outcome != "answered" or self.called_at_s is None:
            return None
        return self.arrival.at_s + self.wait_s - self.called_at_s


class Simulated(msgspec.Struct, frozen=True):
    """What a trace came to: calls in their order, and a fate a request, in the order in which they came."""

    calls: Sequence[Call]
    fates: Sequence[Fate]


def simulate(trace: Iterable[Arrival], terms: Terms) -> Simulated:
    """Run the policy on a trace, which is in the order of time."""
    simulation = _Simulation(terms)
    for arrival in trace:
        simulation.run_until(arrival.at_s)
        simulation.admit(arrival)
    simulation.run_until(inf)
    return Simulated(simulation.calls, sorted(simulation.fates, key=lambda fate: fate.arrival.at_s))


def optimum(trace: Iterable[Arrival], window_s: float) -> int:
    """The fewest calls, of any coins each, with which somebody who knows the future answers all within the window.

    A call answers a request from as long before it as its price may be old, until the end of a window of its own. So
    these are the fewest points that stab all such intervals: each at the end of the first that holds none yet.
    """
    calls, last_at_s = 0, -inf
    for arrival in trace:
        if arrival.at_s - (arrival.max_age_s or 0) > last_at_s:
            calls, last_at_s = calls + 1, arrival.at_s + window_s
    return calls


class _Batch(msgspec.Struct):
    """An open batch: what the policy sees of it, and the requests in it."""

    view: View
    arrivals: list[Arrival]


class _Upstream:
    """Its own limit: so many calls in any minute, or any number."""

    def __init__(self, limit_a_minute: int | None) -> None:
        self._limit = limit_a_minute
        self._let_in: deque[float] = deque()

    def refuses_for(self, now: float) -> int:
        """Let a call in, 0, or say in how many seconds to come back."""
        if self._limit is None:
            return 0
        while self._let_in and self._let_in[0] <= now - _MINUTE_S:
            self._let_in.popleft()
        if len(self._let_in) >= self._limit:
            return ceil(self._let_in[0] + _MINUTE_S - now)
        self._let_in.append(now)
        return 0


class _Prices:
    """The latest calls for a coin: one that may be under way, and the one before, whose price is at hand till then."""

    def __init__(self) -> None:
        self.ends_at = -inf  # of the latest, whether or not it brings a price
        self._fetched_at = -inf
        self._before = -inf

    def fetch(self, now: float, ends_at: float, *, refused: bool) -> None:
        self._before = self._fetched_at
        if not refused:
            self._fetched_at = now
        self.ends_at = ends_at

    def at_hand(self, now: float) -> float:
        """When the latest known price was fetched."""
        return self._fetched_at if self.ends_at <= now else self._before


class _Simulation:
    def __init__(self, terms: Terms) -> None:
        self.calls: list[Call] = []
        self.fates: list[Fate] = []
        self._terms = terms
        self._open: dict[str, _Batch] = {}  # {coin_id: batch}
        self._prices: dict[str, _Prices] = {}  # {coin_id: prices}
        self._upstream = _Upstream(terms.upstream_limit_a_minute)
        self._next_call_at = terms.first_call_at_s
        self._look_again_at = inf

    def run_until(self, at_s: float) -> None:
        """Make every call that is due before an instant; at one instant requests come before calls."""
        while self._look_again_at < at_s:
            now = self._look_again_at
            self._forget_the_abandoned(now)
            planned = self._plan(now)
            all_let_in = all(self._make(call, now) for call in planned.calls)  # after a refusal the rest must wait
            self._look_again_at = planned.look_again_at if all_let_in else now

    def _plan(self, now: float) -> Plan:
        views = [batch.view for batch in self._open.values()]
        planned = plan(views, self._budget(), now)
        if planned.calls:
            ripe = {view.coin_id for call in planned.calls for view, _ in call.batches}
            riders = [view for view in views if view.coin_id not in ripe and view.held_until <= now]
            ride_along(planned.calls[-1], riders)
        return planned

    def admit(self, arrival: Arrival) -> None:
        """Answer a request from what is at hand, let it join its coin's batch, or refuse it."""
        now, coin_id = arrival.at_s, arrival.coin_id
        fetched_at = self._prices_of(coin_id).at_hand(now)
        if arrival.max_age_s is not None and now - fetched_at <= arrival.max_age_s:
            self.fates.append(Fate(arrival, "answered", 0.0, fetched_at))
            return
        if self._earliest_call_at(arrival) > now + self._terms.result_timeout_s:
            self.fates.append(Fate(arrival, "refused", 0.0))
            return
        batch = self._open.get(coin_id) or self._opened(arrival)
        batch.view.size += 1
        batch.arrivals.append(arrival)
        step = next_step(batch.view, now, self._terms.threshold)
        self._look_again_at = min(self._look_again_at, now if isinstance(step, str) else step)

    def _opened(self, arrival: Arrival) -> _Batch:
        coin_id = arrival.coin_id
        held_until = self._prices_of(coin_id).ends_at
        view = View(coin_id, coin_id, arrival.at_s + self._terms.window_s, held_until=held_until)
        self._open[coin_id] = _Batch(view, [])
        return self._open[coin_id]

    def _earliest_call_at(self, arrival: Arrival) -> float:
        """As `admit.lua` reckons: the next permit, or a later one if earlier batches fill those before."""
        permit_at = max(arrival.at_s, self._next_call_at)
        room = self._terms.max_ids if self._terms.ride_along else 1
        own = self._open.get(arrival.coin_id)
        due_at = own.view.due_at if own else inf
        before = sum(batch.view.due_at < due_at for batch in self._open.values())
        return permit_at + before // room * self._terms.interval_s

    def _forget_the_abandoned(self, now: float) -> None:
        """A batch is not fetched when its last request has timed out."""
        timeout_s = self._terms.result_timeout_s
        for coin_id, batch in list(self._open.items()):
            if batch.arrivals[-1].at_s + timeout_s < now:
                del self._open[coin_id]
                self.fates += [Fate(arrival, "timed out", timeout_s) for arrival in batch.arrivals]

    def _make(self, call: PlannedCall, now: float) -> bool:
        """Make a call; whether the upstream let it in."""
        batches = [self._open.pop(view.coin_id) for view, _ in call.batches]
        arrivals = [arrival for batch in batches for arrival in batch.arrivals]
        ends_at = now + self._terms.upstream_latency_s
        retry_after_s = self._upstream.refuses_for(now)
        refused = retry_after_s > 0
        for view, _ in call.batches:
            self._prices_of(view.coin_id).fetch(now, ends_at, refused=refused)
        self._next_call_at = now + self._terms.interval_s
        self.calls.append(Call(now, tuple(view.coin_id for view, _ in call.batches), len(arrivals), refused))
        self.fates += [self._fate(arrival, now, ends_at, refused=refused) for arrival in arrivals]
        if refused:
            self._put_off(now, now + retry_after_s)
        return not refused

    def _put_off(self, now: float, next_call_at: float) -> None:
        """The upstream says when to come back; whoever cannot wait so long is refused."""
        self._next_call_at = max(self._next_call_at, next_call_at)
        for coin_id, batch in list(self._open.items()):
            lasting = [
                each for each in batch.arrivals if self._next_call_at <= each.at_s + self._terms.result_timeout_s
            ]
            gone = batch.arrivals[: len(batch.arrivals) - len(lasting)]  # those who came first
            self.fates += [Fate(arrival, "refused", now - arrival.at_s) for arrival in gone]
            batch.arrivals = lasting
            if not lasting:
                del self._open[coin_id]

    def _fate(self, arrival: Arrival, called_at: float, answered_at: float, *, refused: bool) -> Fate:
        wait_s, timeout_s = answered_at - arrival.at_s, self._terms.result_timeout_s
        if wait_s > timeout_s:
            return Fate(arrival, "timed out", timeout_s, called_at)
        return Fate(arrival, "refused upstream" if refused else "answered", wait_s, called_at)

    def _prices_of(self, coin_id: str) -> _Prices:
        return self._prices.setdefault(coin_id, _Prices())

    def _budget(self) -> Budget:
        terms = self._terms
        return Budget(terms.threshold, terms.ride_along, terms.max_ids, self._next_call_at, terms.interval_s)
