"""When to call, and for which coins: as tables, as laws, and against the best that anybody could do."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, pairwise, product
from math import ceil, inf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.batches import Trigger
from core.flush_policy import MOST_ID_CHARACTERS, Budget, Call, Plan, View, next_step, plan, ride_along

OUT_OF_REACH = 1_000
UNLIMITED = Budget(threshold=3, ride_along=True, max_ids=500)


def view(coin_id: str = "bitcoin", **known: object) -> View:
    """An open batch that is far from full and due, and waited for here, unless the test says otherwise."""
    given: dict[str, object] = {"batch_id": f"{coin_id}'s", "coin_id": coin_id, "due_at": 5.0, "size": 1}
    return View(**given | known)  # type: ignore[arg-type] # the test names what it changes


def coins(planned: Plan) -> list[list[str]]:
    return [[view.coin_id for view, _ in call.batches] for call in planned.calls]


@pytest.mark.parametrize(
    ("known", "step"),
    [
        (view(), 5),
        (view(size=3), "threshold"),
        (view(size=4), "threshold"),
        (view(due_at=1), "window"),
        (view(due_at=0.5), "window"),
        (view(draining=True), "drain"),
        (view(due_at=1, held_until=2), 2),
        (view(size=3, held_until=2), 2),
        (view(size=3, held_until=1), "threshold"),
        (view(claimed=True, held_until=2), 2),
        (view(claimed=True, held_until=1), "takeover"),
        (view(draining=True, held_until=2), 2),
        (view(size=3, flushing=True), inf),
        (view(draining=True, flushing=True), inf),
    ],
)
def test_the_policy_says_why_to_flush_now_or_when_to_look_again(known: View, step: Trigger | float) -> None:
    assert next_step(known, now=1, threshold=3) == step


def test_nothing_ripe_makes_no_call_and_looks_again_when_something_may_be() -> None:
    batches = [view("tether", due_at=4.0), view("bitcoin", due_at=3.0), view("solana", due_at=0.0, held_until=2.0)]
    assert plan(batches, UNLIMITED, now=1) == Plan([], look_again_at=2.0)
    assert plan([], UNLIMITED, now=1) == Plan([], look_again_at=inf)


def riders(call: Call, *others: View) -> list[str]:
    """Which of these ride along."""
    known = len(call.batches)
    ride_along(call, others)
    assert {trigger for _, trigger in call.batches[known:]} <= {"ride-along"}
    return [view.coin_id for view, _ in call.batches[known:]]


def test_what_is_ripe_goes_with_one_call_the_earliest_deadlines_first() -> None:
    [call] = plan([view("bitcoin", size=3), view("ethereum", due_at=1), view("tether")], UNLIMITED, now=1).calls
    assert [(view.coin_id, trigger) for view, trigger in call.batches] == [
        ("ethereum", "window"),
        ("bitcoin", "threshold"),
    ]


def test_what_is_not_ripe_rides_along_the_earliest_deadlines_first_as_far_as_there_is_room() -> None:
    others = [view("solana", due_at=4.0), view("tether", due_at=3.0), view("xrp", due_at=5.0)]
    [call] = plan([view(size=3)], replace(UNLIMITED, max_ids=3), now=1).calls
    assert riders(call, *others) == ["tether", "solana"]
    assert riders(call, *others) == []


@pytest.mark.parametrize("known", [view("tether", size=3, held_until=2.0), view("tether", size=3, flushing=True)])
def test_what_somebody_else_holds_or_is_being_flushed_is_not_called_for(known: View) -> None:
    assert coins(plan([view(size=3), known], UNLIMITED, now=1)) == [["bitcoin"]]


def test_without_ride_along_each_ripe_batch_has_a_call_of_its_own() -> None:
    batches = [view("tether", due_at=1), view("solana"), view("bitcoin", size=3)]
    planned = plan(batches, replace(UNLIMITED, ride_along=False), now=1)
    assert (coins(planned), planned.look_again_at) == ([["tether"], ["bitcoin"]], 5.0)
    assert [riders(call, view("solana"), view("bitcoin")) for call in planned.calls] == [[], []]


def test_a_full_call_leaves_the_latest_deadlines_to_the_next() -> None:
    ripe = [view(f"ripe-{due}", due_at=due) for due in (1, 0, -1)]
    others = [view(f"rider-{due}", due_at=due) for due in (4, 3, 2)]
    planned = plan(others + ripe, replace(UNLIMITED, max_ids=2), now=1)
    assert coins(planned) == [["ripe--1", "ripe-0"], ["ripe-1"]]
    assert planned.look_again_at == 2
    assert [riders(call, *others) for call in planned.calls] == [[], ["rider-2"]]


def test_two_batches_of_one_coin_need_the_room_of_one() -> None:
    abandoned = view(batch_id="older", claimed=True, held_until=1.0)
    planned = plan([view(size=3), abandoned], replace(UNLIMITED, max_ids=2), now=1)
    assert coins(planned) == [["bitcoin", "bitcoin"]]
    assert riders(planned.calls[0], view("tether"), view(batch_id="newer")) == ["tether", "bitcoin"]


def test_a_call_ends_before_its_address_is_too_long() -> None:
    long = MOST_ID_CHARACTERS // 2
    ripe = [view("a" * long, due_at=0), view("b" * long, due_at=1)]
    planned = plan(ripe, UNLIMITED, now=1)
    assert [[coin_id[0] for coin_id in call] for call in coins(planned)] == [["a"], ["b"]]
    assert riders(planned.calls[1], view("c" * long, due_at=2), view("d", due_at=3)) == ["d"]


def test_what_is_ripe_waits_for_the_next_permit() -> None:
    blocked = replace(UNLIMITED, next_call_at=3.0, interval_s=2.0)
    batches = [view("bitcoin", size=3), view("tether", due_at=2.0)]
    assert plan(batches, blocked, now=1) == Plan([], look_again_at=3.0)
    assert coins(plan(batches, blocked, now=3)) == [["tether", "bitcoin"]]


def test_a_permit_far_off_is_not_looked_for_before_something_is_ripe() -> None:
    assert plan([view(due_at=2.0)], replace(UNLIMITED, next_call_at=3.0), now=1).look_again_at == 2.0


@pytest.mark.parametrize("ride_along", [True, False])
def test_permits_come_one_by_one(ride_along: bool) -> None:
    paced = replace(UNLIMITED, max_ids=1, interval_s=2.0, ride_along=ride_along)
    planned = plan([view("bitcoin", due_at=1), view("tether", due_at=0)], paced, now=1)
    assert (coins(planned), planned.look_again_at) == ([["tether"]], 3.0)


COIN_IDS = st.sampled_from(["a", "b", "c", "d" * (MOST_ID_CHARACTERS - 2)])
TIMES = st.integers(0, 6).map(float)
VIEWS = st.builds(
    View,
    batch_id=st.uuids().map(str),
    coin_id=COIN_IDS,
    due_at=TIMES,
    size=st.integers(0, 4),
    flushing=st.booleans(),
    claimed=st.booleans(),
    held_until=st.just(-inf) | TIMES,
    draining=st.booleans(),
)
BUDGETS = st.builds(
    Budget,
    threshold=st.integers(1, 4),
    ride_along=st.booleans(),
    max_ids=st.integers(1, 3),
    next_call_at=st.just(-inf) | TIMES,
    interval_s=st.just(0.0) | st.integers(1, 3).map(float),
)


@given(st.lists(VIEWS, max_size=8), BUDGETS, TIMES)
def test_whatever_is_open_the_plan_keeps_its_laws(batches: list[View], budget: Budget, now: float) -> None:
    planned = plan(batches, budget, now)
    ripe = [view for view in batches if isinstance(next_step(view, now, budget.threshold), str)]
    called = [view for call in planned.calls for view, _ in call.batches]

    assert planned.look_again_at > now, "or it would be asked again and again"
    assert len({view.batch_id for view in called}) == len(called)
    assert not any(view.flushing or view.held_until > now for view in called)
    assert all(view in ripe for view in called)
    for call in planned.calls:
        coin_ids = {view.coin_id for view, _ in call.batches}
        assert call.batches
        assert len(coin_ids) <= budget.max_ids
        assert len(",".join(coin_ids)) <= MOST_ID_CHARACTERS
        if call is not planned.calls[-1] or (budget.interval_s and len(ripe) > len(called)):
            assert call.coins_left == 0, "what is ripe for the next call does not ride along with this one"
        elif budget.ride_along:
            assert call.coins_left == budget.max_ids - len(coin_ids)
            assert call.characters_left == MOST_ID_CHARACTERS - sum(len(coin_id) + 1 for coin_id in coin_ids)
        else:
            assert call.coins_left == 0, "what others have open does not ride along either"
    if now < budget.next_call_at:
        assert not planned.calls
    elif budget.interval_s:
        assert len(planned.calls) == bool(ripe)
    else:
        assert {view.batch_id for view in ripe} <= {view.batch_id for view in called}


# A small world: requests come, the policy is asked, the upstream answers at once. Times are whole numbers.

WINDOW = 4.0
Trace = Sequence[tuple[float, str]]  # (when, coin), in order


class Batch(msgspec.Struct, frozen=True):
    """What became of a batch: the instants of its requests, when it could have been flushed, and when it was."""

    coin_id: str
    asked_at: tuple[float, ...]
    ripe_at: float
    called_at: float

    @property
    def due_at(self) -> float:
        return self.asked_at[0] + WINDOW


class World:
    """The policy, run on a trace; `calls` are the batches of each call, in the order of the calls."""

    def __init__(self, trace: Trace, budget: Budget) -> None:
        self.calls: list[list[Batch]] = []
        self._budget = budget
        self._open: dict[str, tuple[View, list[float]]] = {}
        coming = list(trace)
        look_again_at = inf
        while coming or self._open:
            now = min([look_again_at] + [at for at, _ in coming[:1]])
            while coming and coming[0][0] == now:
                self._admit(*coming.pop(0))
            look_again_at = self._act(now)

    def _admit(self, now: float, coin_id: str) -> None:
        opened = view(coin_id, due_at=now + WINDOW, size=0)
        known, asked_at = self._open.setdefault(coin_id, (opened, []))
        known.size += 1
        asked_at.append(now)

    def _act(self, now: float) -> float:
        views = [view for view, _ in self._open.values()]
        planned = plan(views, self._budget, now)
        if planned.calls:
            ripe = [view for call in planned.calls for view, _ in call.batches]
            ride_along(planned.calls[-1], [view for view in views if view not in ripe])
        for call in planned.calls:
            self.calls.append([self._closed(view, now) for view, _ in call.batches])
            self._budget = replace(self._budget, next_call_at=now + self._budget.interval_s)
        return planned.look_again_at

    def _closed(self, view: View, now: float) -> Batch:
        _, asked_at = self._open.pop(view.coin_id)
        full_at = [*asked_at, *[inf] * self._budget.threshold][self._budget.threshold - 1]
        return Batch(view.coin_id, tuple(asked_at), min(view.due_at, full_at), now)

    @property
    def batches(self) -> list[Batch]:
        return [batch for call in self.calls for batch in call]


def traces(most: int = 7, until: int = 12, among: str = "abc") -> st.SearchStrategy[Trace]:
    request = st.tuples(st.integers(0, until).map(float), st.sampled_from(list(among)))
    return st.lists(request, max_size=most).map(sorted)


def fewest_calls(trace: Trace, max_ids: int) -> int:
    """The fewest calls that answer every request in its window, whoever knows the future; by trying all.

    A call may be put off to the first deadline of the requests that it answers, so no other instants need be tried. At
    an instant a coin answers all its requests whose windows hold it, and `max_ids` coins take one call.
    """
    instants = sorted({at + WINDOW for at, _ in trace})
    of_coin = [[at for at, coin in trace if coin == coin_id] for coin_id in {coin for _, coin in trace}]
    ways = [list(minimal(some for some in subsets(instants) if answers(some, asked_at))) for asked_at in of_coin]
    return min(
        sum(ceil(coins / max_ids) for coins in Counter(chain.from_iterable(choice)).values())
        for choice in product(*ways)
    )


def subsets(instants: Sequence[float]) -> Iterator[set[float]]:
    """The smallest first."""
    return (set(some) for size in range(len(instants) + 1) for some in combinations(instants, size))


def minimal(sets: Iterable[set[float]]) -> Iterator[set[float]]:
    """Those of which no part is among them too."""
    seen: list[set[float]] = []
    for some in sets:
        if not any(part <= some for part in seen):
            seen.append(some)
            yield some


def answers(called_at: set[float], asked_at: Sequence[float]) -> bool:
    return all(any(at <= called <= at + WINDOW for called in called_at) for at in asked_at)


def greedy(trace: Trace) -> int:
    """The textbook's fewest points such that every interval holds one: each at the first end not yet held."""
    calls, last = 0, -inf
    for at, _ in trace:
        if at > last:
            calls, last = calls + 1, at + WINDOW
    return calls


@given(traces())
def test_where_room_is_no_matter_it_makes_as_few_calls_as_one_who_knows_the_future(trace: Trace) -> None:
    world = World(trace, replace(UNLIMITED, threshold=OUT_OF_REACH))
    assert len(world.calls) == fewest_calls(trace, OUT_OF_REACH) == greedy(trace)


@given(traces(most=10, until=30), st.integers(1, 3))
def test_without_ride_along_each_coin_alone_gets_as_few_calls_as_it_can(trace: Trace, max_ids: int) -> None:
    world = World(trace, Budget(OUT_OF_REACH, ride_along=False, max_ids=max_ids))
    assert len(world.calls) == fewest_calls(trace, max_ids=1)


@given(traces(among="abcdefg").filter(lambda trace: len({coin for _, coin in trace}) == len(trace)), st.integers(1, 3))
def test_with_little_room_it_still_does_where_no_coin_is_asked_for_again(trace: Trace, max_ids: int) -> None:
    world = World(trace, Budget(OUT_OF_REACH, ride_along=True, max_ids=max_ids))
    assert len(world.calls) == fewest_calls(trace, max_ids)


@given(traces(most=9, until=16, among="abcde"), st.integers(2, 3))
def test_with_little_room_it_makes_never_three_times_as_many_as_it_must(trace: Trace, max_ids: int) -> None:
    """A coin rides early only in a call that takes all earlier deadlines too, so there is none before its own.

    Hence of three batches of one coin the first's window and the last's share no instant: the coin is in at most twice
    as many calls as it must be, and full calls are at most twice the optimum. A call with room to spare leaves nothing
    open, so what makes the next one necessary came later: such calls are at most as many as if room were no matter.
    """
    world = World(trace, Budget(OUT_OF_REACH, ride_along=True, max_ids=max_ids))
    for coin_id in {coin for _, coin in trace}:
        batches = [batch for batch in world.batches if batch.coin_id == coin_id]
        assert all(last.asked_at[0] > first.due_at for first, last in zip(batches, batches[2:], strict=False))
    assert sum(len(call) < max_ids for call in world.calls) <= greedy(trace)
    if trace:
        assert len(world.calls) < 3 * fewest_calls(trace, max_ids)


# At 4, when `x` must be called, there is room for `a` or for `b`; whichever goes is asked for again. (Should neither
# go, `d` alone at 4.5 makes a third call necessary.) So nobody who does not know the future always does as well.
X_A_B = [(0.0, "x"), (1.0, "a"), (2.0, "b")]


def test_with_little_room_a_coin_that_is_asked_for_again_may_cost_a_call_that_nobody_could_foresee() -> None:
    budget = Budget(OUT_OF_REACH, ride_along=True, max_ids=2)
    trace = [*X_A_B, (4.5, "a"), (4.75, "c")]
    assert [[batch.coin_id for batch in call] for call in World(trace, budget).calls] == [["x", "a"], ["b", "a"], ["c"]]
    assert fewest_calls(trace, max_ids=2) == 2
    other_choice = [*X_A_B, (4.5, "b"), (4.75, "c")]
    assert len(World(other_choice, budget).calls) == fewest_calls(other_choice, max_ids=2) == 2


ANY_BUDGET = st.builds(
    Budget,
    threshold=st.integers(1, 4),
    ride_along=st.booleans(),
    max_ids=st.integers(1, 3),
    next_call_at=st.integers(0, 6).map(float),
    interval_s=st.just(0.0) | st.integers(1, 6).map(float),
)
PACED = ANY_BUDGET.filter(lambda budget: budget.interval_s > 0)


@given(traces(most=12, among="abcd"), ANY_BUDGET)
def test_each_request_is_served_exactly_once_and_by_a_call_made_after_it_came(trace: Trace, budget: Budget) -> None:
    batches = World(trace, budget).batches
    assert sorted((at, batch.coin_id) for batch in batches for at in batch.asked_at) == list(trace)
    assert all(batch.called_at >= batch.asked_at[-1] for batch in batches)


@given(traces(most=12, among="abcd"), ANY_BUDGET)
def test_without_a_pace_nothing_waits_once_it_is_ripe(trace: Trace, budget: Budget) -> None:
    unpaced = replace(budget, interval_s=0.0, next_call_at=-inf)
    assert all(batch.called_at <= batch.ripe_at for batch in World(trace, unpaced).batches)


def permits(world: World, budget: Budget) -> Iterator[tuple[float, list[Batch], list[Batch]]]:
    """Of each call: from when it was permitted, its batches, and those that it left open."""
    permitted_at = budget.next_call_at
    for call in world.calls:
        now = call[0].called_at
        yield permitted_at, call, [batch for batch in world.batches if batch.asked_at[0] <= now < batch.called_at]
        permitted_at = now + budget.interval_s


@given(traces(most=12, among="abcd"), PACED)
def test_with_a_pace_no_two_calls_come_closer_than_it_allows(trace: Trace, budget: Budget) -> None:
    called_at = [call[0].called_at for call in World(trace, budget).calls]
    assert all(later - earlier >= budget.interval_s for earlier, later in pairwise(called_at))


@given(traces(most=12, among="abcd"), PACED)
def test_no_permit_is_left_unused_while_something_is_ripe(trace: Trace, budget: Budget) -> None:
    for permitted_at, call, left in permits(World(trace, budget), budget):
        assert call[0].called_at == max(permitted_at, min(batch.ripe_at for batch in call + left))


@given(traces(most=12, among="abcd"), PACED)
def test_a_permit_carries_all_that_is_open_or_as_much_as_there_is_room_for(trace: Trace, budget: Budget) -> None:
    most = budget.max_ids if budget.ride_along else 1
    for _, call, left in permits(World(trace, budget), budget):
        now = call[0].called_at
        assert len(call) == min(most, len(call + left))
        assert not left or max(turn(batch, now) for batch in call) <= min(turn(batch, now) for batch in left)


def turn(batch: Batch, now: float) -> tuple[bool, float]:
    """The ripe go first, and of equals the earliest deadline."""
    return batch.ripe_at > now, batch.due_at
