"""What is counted, and for how long it is known; times are made up."""

import pytest

from core.events import BUCKETS, HISTOGRAM_MS, Bucket
from core.tally import Tally

NOTHING = Bucket(0, 0, 0, 0)


@pytest.fixture
def tally() -> Tally:
    return Tally()


def test_an_instance_that_did_nothing_tells_five_minutes_of_nothing(tally: Tally) -> None:
    assert tally.buckets(1000.0) == [NOTHING] * BUCKETS
    assert tally.waits(1000.0) == [0] * (len(HISTOGRAM_MS) + 1)


def test_the_newest_bucket_is_the_last_and_holds_five_seconds(tally: Tally) -> None:
    for now in (10.0, 14.9, 15.0):
        tally.requested("bitcoin", now)
    tally.answered(15.1, waited_s=1)
    tally.failed(15.2)
    tally.call_began(19.9)
    assert tally.buckets(19.9)[-3:] == [NOTHING, Bucket(2, 0, 0, 0), Bucket(1, 1, 1, 1)]


def test_what_is_older_than_five_minutes_is_forgotten_and_the_totals_are_not(tally: Tally) -> None:
    tally.requested("bitcoin", 1.0)
    tally.answered(1.0, waited_s=1)
    tally.call_began(1.0)
    tally.call_ended(1.0, took_s=1)
    assert tally.buckets(299.9)[0] == Bucket(1, 1, 0, 1)
    assert (sum(tally.waits(299.9)), sum(tally.upstream(299.9))) == (1, 1)
    assert tally.buckets(300.0) == [NOTHING] * BUCKETS
    assert (sum(tally.waits(300.0)), sum(tally.upstream(300.0))) == (0, 0)
    assert (tally.totals.requests, tally.totals.answered, tally.totals.calls) == (1, 1, 1)


def test_a_long_silence_leaves_as_many_buckets_as_ever(tally: Tally) -> None:
    tally.requested("bitcoin", 1.0)
    assert tally.buckets(1e9) == [NOTHING] * BUCKETS


@pytest.mark.parametrize(
    ("waited_s", "place"),
    [(0, 0), (0.001, 0), (0.0011, 1), (5.0, HISTOGRAM_MS.index(5000)), (10.0, -2), (10.001, -1), (1e6, -1)],
)
def test_a_wait_is_counted_up_to_the_upper_end_of_its_place(tally: Tally, waited_s: float, place: int) -> None:
    tally.answered(1.0, waited_s)
    tally.call_ended(1.0, waited_s)
    expected = [0] * (len(HISTOGRAM_MS) + 1)
    expected[place] = 1
    assert tally.waits(1.0) == tally.upstream(1.0) == expected


def test_calls_of_every_kind_count_for_sixty_seconds_and_those_for_flushes_in_the_totals(tally: Tally) -> None:
    tally.call_began(10.0)
    tally.spent(30.0)
    assert (tally.minute_calls(69.9), tally.minute_calls(70.0), tally.minute_calls(90.0)) == (2, 1, 0)
    assert tally.totals.calls == 1


def test_a_call_that_was_not_made_is_taken_back_also_from_a_bucket_that_is_over(tally: Tally) -> None:
    tally.call_began(14.8)
    tally.requested("bitcoin", 15.1)
    tally.call_lapsed(14.8)
    assert tally.buckets(15.2)[-2:] == [NOTHING, Bucket(1, 0, 0, 0)]
    assert (tally.minute_calls(15.2), tally.totals.calls) == (0, 0)


def test_a_call_that_turns_out_not_made_when_all_is_forgotten_harms_nothing(tally: Tally) -> None:
    tally.call_began(10.0)
    tally.spent(1000.0)
    tally.failed(1000.0)
    tally.call_lapsed(10.0)
    assert tally.buckets(1000.0) == [*[NOTHING] * (BUCKETS - 1), Bucket(0, 0, 1, 0)]
    assert (tally.minute_calls(1000.0), tally.totals.calls) == (1, 0)
