from collections import Counter
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from benchmarks.trace import Traffic, make_trace
from core.simulation import Arrival, Call, Fate, Terms, optimum, simulate

OUT_OF_REACH = 1_000_000
# Numbers that come out even.
TERMS = Terms(
    window_s=4.0,
    threshold=3,
    result_timeout_s=8.0,
    ride_along=True,
    max_ids=500,
    calls_per_minute=None,
    upstream_latency_s=0.5,
)
EVERY_3_S = replace(TERMS, calls_per_minute=21, first_call_at_s=6.0)
INTERVAL_S = EVERY_3_S.interval_s

TRACE = make_trace(Traffic(rate=40, seconds=30, coins=50, skew=1.0, seed=1))
TIMES = st.integers(0, 60).map(lambda quarters: quarters / 4)
TRACES = st.lists(st.builds(Arrival, TIMES, st.sampled_from("abcd")), max_size=20).map(
    lambda trace: sorted(trace, key=lambda arrival: arrival.at_s)
)
ANY_TERMS = st.builds(
    Terms,
    window_s=st.sampled_from([0.5, 4.0]),
    threshold=st.integers(1, 4),
    result_timeout_s=st.sampled_from([5.0, 8.0]),
    ride_along=st.booleans(),
    max_ids=st.integers(1, 3),
    calls_per_minute=st.none() | st.sampled_from([7, 21, 63]),
    upstream_latency_s=st.sampled_from([0.0, 0.5, 3.0]),
    first_call_at_s=st.sampled_from([0.0, 4.0, 20.0]),
)


def trace(*arrivals: tuple[float, str]) -> list[Arrival]:
    return [Arrival(at_s, coin_id) for at_s, coin_id in arrivals]


def fates(*arrivals: tuple[float, str], terms: Terms = TERMS) -> list[tuple[str, float]]:
    return [(fate.outcome, fate.wait_s) for fate in simulate(trace(*arrivals), terms).fates]


def test_a_batch_is_called_when_its_window_ends_or_it_is_full_and_the_others_ride_along() -> None:
    simulated = simulate(trace((0, "a"), (1, "b"), (2, "b"), (3, "c"), (5, "d"), (6, "d"), (6, "d")), TERMS)
    assert simulated.calls == [Call(4, ("a", "b", "c"), 4), Call(6, ("d",), 3)]
    assert [fate.wait_s for fate in simulated.fates] == [4.5, 3.5, 2.5, 1.5, 1.5, 0.5, 0.5]


def test_at_one_instant_requests_come_before_calls() -> None:
    assert simulate(trace((0, "a"), (4, "b")), TERMS).calls == [Call(4, ("a", "b"), 2)]


def test_a_coin_whose_call_is_under_way_is_called_again_only_when_that_has_ended() -> None:
    simulated = simulate(trace(*[(0, "a")] * 3, *[(0.25, "a")] * 3, *[(0.3, "b")] * 3), TERMS)
    assert simulated.calls == [Call(0, ("a",), 3), Call(0.3, ("b",), 3), Call(0.5, ("a",), 3)]


def test_of_a_full_call_the_next_takes_the_rest() -> None:
    simulated = simulate(trace((0, "a"), (1, "b"), (2, "c")), replace(TERMS, max_ids=2))
    assert [(call.at_s, call.coin_ids) for call in simulated.calls] == [(4, ("a", "b")), (6, ("c",))]


def test_what_is_ripe_waits_for_the_first_permit_and_then_for_the_next() -> None:
    simulated = simulate(trace((0, "a"), (1, "b"), (6.5, "c"), (6.5, "c"), (6.5, "c")), EVERY_3_S)
    assert [(call.at_s, call.coin_ids) for call in simulated.calls] == [(6, ("a", "b")), (6 + INTERVAL_S, ("c",))]


def test_whoever_would_be_called_for_too_late_is_refused_at_once() -> None:
    late = replace(EVERY_3_S, first_call_at_s=9.0)
    assert fates((0, "a"), (1, "a"), (2, "a"), terms=late) == [("refused", 0), ("timed out", 8), ("answered", 7.5)]


def test_whoever_is_answered_too_late_timed_out() -> None:
    assert fates((0, "a"), (1, "a"), terms=replace(EVERY_3_S, first_call_at_s=8.0)) == [
        ("timed out", 8.0),
        ("answered", 7.5),
    ]


def test_whoever_is_answered_at_the_last_instant_is_answered() -> None:
    at_the_last = replace(EVERY_3_S, first_call_at_s=8.0, upstream_latency_s=0.0)
    assert fates((0, "a"), terms=at_the_last) == [("answered", 8)]


def test_a_batch_whose_requests_have_all_timed_out_is_not_called_for() -> None:
    every_7_s = replace(TERMS, calls_per_minute=9, first_call_at_s=2.0, max_ids=1)
    simulated = simulate(trace((0, "a"), *[(1.25, "b")] * 3), every_7_s)
    assert simulated.calls == [Call(2, ("b",), 3)]
    assert (simulated.fates[0].outcome, simulated.fates[0].wait_s) == ("timed out", 8)


def test_a_queue_of_full_calls_refuses_those_behind_it() -> None:
    crowd = [(0, "a"), (0.25, "b"), (0.5, "c"), (0.75, "d"), (0.75, "a")]
    each_second = replace(TERMS, calls_per_minute=63, first_call_at_s=6.0, upstream_latency_s=0.0)

    def outcomes(**room: object) -> str:
        return " ".join(outcome for outcome, _ in fates(*crowd, terms=replace(each_second, **room)))

    assert outcomes(max_ids=2) == "answered answered answered answered answered"
    assert outcomes(max_ids=1) == "answered answered answered refused answered"
    assert outcomes(ride_along=False) == "answered answered answered refused answered"


def test_without_threshold_and_latency_it_makes_as_few_calls_as_the_optimum() -> None:
    perfect = replace(TERMS, threshold=OUT_OF_REACH, upstream_latency_s=0.0)
    assert len(simulate(TRACE, perfect).calls) == optimum(TRACE, TERMS.window_s)


def test_without_ride_along_it_makes_a_call_a_batch() -> None:
    simulated = simulate(TRACE, replace(TERMS, ride_along=False))
    assert {len(call.coin_ids) for call in simulated.calls} == {1}
    batches = Counter((fate.arrival.coin_id, fate.called_at_s) for fate in simulated.fates)
    assert len(simulated.calls) == len(batches)
    assert sorted(batches.values()) == sorted(call.requests for call in simulated.calls)


def test_one_who_does_not_batch_calls_for_each_request() -> None:
    off = replace(TERMS, threshold=1, ride_along=False, upstream_latency_s=0.0)
    assert len(simulate(TRACE, off).calls) == len(TRACE)


def test_nothing_asked_makes_no_call() -> None:
    assert simulate([], TERMS).calls == []
    assert optimum([], 4.0) == 0


@pytest.mark.parametrize(("times", "calls"), [([0, 4], 1), ([0, 4.5], 2), ([0, 3, 5, 8.5], 2), ([0, 3, 5, 9.5], 3)])
def test_the_optimum_stabs_each_window_at_least_once(times: list[float], calls: int) -> None:
    assert optimum(trace(*[(at_s, "a") for at_s in times]), 4.0) == calls


@pytest.mark.parametrize(
    ("asked", "calls"),
    [
        ([(0, None), (20, 16.0)], 1),  # the first one's call at 4 s brings a price that is 16 s old at 20 s
        ([(0, None), (20, 15.75)], 2),
        ([(0, None), (20, 0.0)], 2),
        ([(0, 60.0), (20, None), (80, 60.0), (84, 60.0)], 2),
    ],
)
def test_the_optimum_answers_from_before_whoever_allows_an_older_price(
    asked: list[tuple[float, float | None]], calls: int
) -> None:
    assert optimum([Arrival(at_s, "a", max_age_s) for at_s, max_age_s in asked], 4.0) == calls


@given(st.lists(st.builds(Arrival, TIMES, st.sampled_from("ab"), st.none() | TIMES), max_size=20))
def test_nobody_does_better_than_the_optimum(arrivals: list[Arrival]) -> None:
    arrivals.sort(key=lambda arrival: arrival.at_s)
    unlimited = replace(TERMS, upstream_latency_s=0.0)
    assert len(simulate(arrivals, unlimited).calls) >= optimum(arrivals, TERMS.window_s)


@given(TRACES, ANY_TERMS)
def test_every_request_has_one_fate_and_no_call_is_made_before_it_came(arrivals: list[Arrival], terms: Terms) -> None:
    simulated = simulate(arrivals, terms)
    assert [fate.arrival.at_s for fate in simulated.fates] == [arrival.at_s for arrival in arrivals]
    assert Counter(fate.arrival for fate in simulated.fates) == Counter(arrivals)
    assert sum(call.requests for call in simulated.calls) == sum(map(was_called, simulated.fates))
    for fate in simulated.fates:
        assert fate.called_at_s is None or fate.called_at_s >= fate.arrival.at_s
        assert 0 <= fate.wait_s <= terms.result_timeout_s
        assert fate.outcome != "answered" or was_called(fate)


@given(TRACES, ANY_TERMS)
def test_calls_keep_to_the_pace_to_their_room_and_to_one_a_coin_at_a_time(
    arrivals: list[Arrival], terms: Terms
) -> None:
    calls = simulate(arrivals, terms).calls
    assert all(call.at_s >= terms.first_call_at_s for call in calls)
    assert all(later.at_s - earlier.at_s >= terms.interval_s for earlier, later in pairwise(calls))
    assert all(1 <= len(set(call.coin_ids)) == len(call.coin_ids) <= terms.max_ids for call in calls)
    ended_at: dict[str, float] = {}
    for call in calls:
        assert all(ended_at.get(coin_id, -inf) <= call.at_s for coin_id in call.coin_ids)
        ended_at |= dict.fromkeys(call.coin_ids, call.at_s + terms.upstream_latency_s)


def was_called(fate: Fate) -> bool:
    return fate.called_at_s is not None


def test_a_price_at_hand_that_is_fresh_enough_answers_at_once_with_its_age() -> None:
    asked = [Arrival(0, "a"), Arrival(4.25, "a", 30), Arrival(10, "a", 30), Arrival(35, "a", 30)]
    simulated = simulate(asked, TERMS)
    # The second comes while the call is under way: nothing is at hand yet.
    assert [(fate.wait_s, fate.age_s) for fate in simulated.fates] == [(4.5, 0.5), (4.5, 0.5), (0, 1.75), (0, 26.75)]
    assert [call.at_s for call in simulated.calls] == [4, 8.25]


def test_an_upstream_refuses_above_its_limit_and_the_next_call_waits_as_long_as_it_says() -> None:
    limited = replace(TERMS, threshold=1, upstream_limit_a_minute=1)
    simulated = simulate(trace((0, "a"), (1, "b"), (2, "c"), (55, "d")), limited)
    assert [(call.at_s, call.refused) for call in simulated.calls] == [(0, False), (1, True), (60, False)]
    assert [fate.outcome for fate in simulated.fates] == ["answered", "refused upstream", "refused", "answered"]


def test_whoever_cannot_wait_until_an_upstream_lets_calls_in_again_is_refused_when_that_is_known() -> None:
    limited = replace(TERMS, upstream_limit_a_minute=1)
    simulated = simulate(
        trace((0, "b"), *[(1, "a")] * 3, (2, "c"), *[(3, "a")] * 3), replace(limited, ride_along=False)
    )
    assert [fate.outcome for fate in simulated.fates][1:4] == ["answered"] * 3
    assert simulated.fates[0].outcome == "refused"
    assert [(call.at_s, call.refused) for call in simulated.calls] == [(1, False), (3, True)]
