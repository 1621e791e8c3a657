import pytest

from benchmarks.figures import Waits, most_within, percentile, summarize
from benchmarks.replay import Outcome
from simulator import Call


def outcome(status: int | None = 200, wait_ms: float = 1.0, late_ms: float = 0.0) -> Outcome:
    return Outcome(0.0, "bitcoin", "http://test", status, wait_ms, late_ms)


def call(status: int = 200, at_s: float = 0.0) -> Call:
    ids, codes = ("bitcoin",), ("usd",)
    return Call(at=at_s, monotonic=at_s, path="/", ids=ids, vs_currencies=codes, status=status, api_key=None)


def test_the_reduction_is_the_share_of_answers_that_took_no_call() -> None:
    summary = summarize("on", [outcome()] * 10, [call()] * 4)
    assert (summary.requests, summary.answered, summary.calls) == (10, 10, 4)
    assert summary.requests_per_call == 2.5
    assert summary.reduction == pytest.approx(0.6)


def test_what_was_not_answered_saves_nothing_and_is_told_by_status() -> None:
    outcomes = [outcome(), outcome(), outcome(504), outcome(504), outcome(429), outcome(None)]
    summary = summarize("on", outcomes, [call()] * 2)
    assert (summary.requests, summary.answered, summary.reduction) == (6, 2, 0.0)
    assert summary.other == {"504": 2, "429": 1, "no answer": 1}


def test_calls_that_the_upstream_refused_are_calls_and_are_told_apart() -> None:
    summary = summarize("original", [outcome()] * 4, [call(), call(429), call(429)])
    assert (summary.calls, summary.calls_refused) == (3, 2)


def test_the_busiest_minute_is_found_wherever_it_begins() -> None:
    calls = [call(at_s=at_s) for at_s in (0, 50, 70, 80, 105, 109.9)]
    assert summarize("original", [outcome()], calls).calls_in_a_minute == 5


@pytest.mark.parametrize(
    ("instants", "most"), [([], 0), ([0], 1), ([0, 60], 1), ([0, 59.9], 2), ([0, 0, 60, 60, 60], 3)]
)
def test_what_comes_a_minute_after_another_is_in_another_minute(instants: list[float], most: int) -> None:
    assert most_within(60, instants) == most


def test_waits_are_those_of_the_answered() -> None:
    outcomes = [outcome(wait_ms=float(wait)) for wait in range(1, 101)] + [outcome(504, wait_ms=8000.0)]
    assert summarize("on", outcomes, [call()]).wait_ms == Waits(p50=50, p95=95, p99=99, max=100)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.51, 3), (0.99, 4), (1, 4)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value


def test_a_sender_that_fell_behind_is_told() -> None:
    assert summarize("on", [outcome(late_ms=3.0), outcome(late_ms=12.0)], [call()]).late_ms == 12.0


def test_nothing_answered_makes_no_figure_up() -> None:
    summary = summarize("off", [], [])
    assert (summary.requests_per_call, summary.reduction, summary.wait_ms) == (None, None, None)
