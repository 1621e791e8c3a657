from collections import Counter
from itertools import pairwise

import pytest
from msgspec.structs import replace

from benchmarks.trace import KNOWN_COINS, Traffic, coin_ids, make_trace

TRAFFIC = Traffic(rate=40, seconds=20, coins=20, skew=1.0, seed=1)


def test_the_same_seed_makes_the_same_trace_and_another_seed_another() -> None:
    assert make_trace(TRAFFIC) == make_trace(TRAFFIC)
    assert make_trace(TRAFFIC) != make_trace(replace(TRAFFIC, seed=2))


def test_requests_come_in_order_within_the_time_at_about_the_rate() -> None:
    trace = make_trace(TRAFFIC)
    assert all(earlier.at_s < later.at_s for earlier, later in pairwise(trace))
    assert trace[0].at_s > 0
    assert trace[-1].at_s < TRAFFIC.seconds
    assert len(trace) == pytest.approx(TRAFFIC.rate * TRAFFIC.seconds, rel=0.1)


def test_gaps_are_those_of_people_who_know_nothing_of_each_other() -> None:
    times = [arrival.at_s for arrival in make_trace(replace(TRAFFIC, seconds=500))]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / TRAFFIC.rate, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.05)


def test_with_skew_the_largest_coin_is_asked_for_as_zipf_says() -> None:
    asked = Counter(arrival.coin_id for arrival in make_trace(replace(TRAFFIC, seconds=500)))
    assert [coin_id for coin_id, _ in asked.most_common(2)] == list(KNOWN_COINS[:2])
    assert asked[KNOWN_COINS[0]] == pytest.approx(2 * asked[KNOWN_COINS[1]], rel=0.1)
    assert asked.keys() == set(KNOWN_COINS[:20])


def test_without_skew_all_coins_are_asked_for_about_equally() -> None:
    asked = Counter(arrival.coin_id for arrival in make_trace(replace(TRAFFIC, seconds=500, coins=4, skew=0)))
    assert list(asked.values()) == pytest.approx([5000] * 4, rel=0.1)


def test_a_time_too_short_for_a_request_makes_an_empty_trace() -> None:
    assert make_trace(replace(TRAFFIC, seconds=0.0001)) == []


def test_where_no_more_coins_are_known_there_are_made_up_ones() -> None:
    coins = coin_ids(len(KNOWN_COINS) + 2)
    assert coins[: len(KNOWN_COINS)] == list(KNOWN_COINS)
    assert coins[len(KNOWN_COINS) :] == [f"made-up-{len(KNOWN_COINS) + 1}", f"made-up-{len(KNOWN_COINS) + 2}"]
    assert coin_ids(2) == list(KNOWN_COINS[:2])
    trace = make_trace(replace(TRAFFIC, seconds=500, coins=len(coins), skew=0))
    assert {arrival.coin_id for arrival in trace} == set(coins)
