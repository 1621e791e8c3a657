from hypothesis import given
from hypothesis import strategies as st

from simulator.limit import WINDOW_S, SlidingWindow


def test_a_limit_of_zero_lets_everybody_in() -> None:
    window = SlidingWindow()
    assert [window.charge(0, 0) for _ in range(1000)] == [0] * 1000


def test_a_refusal_tells_when_a_call_is_let_in_again() -> None:
    window = SlidingWindow()
    assert [window.charge(now, 2) for now in (0, 10, 20, 59.5)] == [0, 0, 40, 1]
    assert window.charge(60, 2) == 0
    assert window.charge(60, 2) == 10


def test_a_limit_lowered_on_the_way_waits_for_enough_calls_to_leave() -> None:
    window = SlidingWindow()
    for now in (0, 10, 20):
        window.charge(now, 5)
    assert window.charge(30, 1) == 50


def test_a_cleared_window_is_a_fresh_minute() -> None:
    window = SlidingWindow()
    window.charge(0, 1)
    window.clear()
    assert window.charge(0, 1) == 0


@given(st.lists(st.floats(min_value=0, max_value=300)), st.integers(min_value=1, max_value=5))
def test_no_window_of_that_length_ever_holds_more_than_the_limit(arrivals: list[float], limit: int) -> None:
    window = SlidingWindow()
    let_in = [now for now in sorted(arrivals) if window.charge(now, limit) == 0]
    assert all(sum(start <= now < start + WINDOW_S for now in let_in) <= limit for start in let_in)
