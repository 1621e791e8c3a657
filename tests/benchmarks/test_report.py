import pytest

from benchmarks.reduction import users_within_limit
from benchmarks.replay import Outcome
from benchmarks.report import Waits, percentile, summarize, table


def outcome(status: int | None = 200, wait_ms: float = 1.0, late_ms: float = 0.0) -> Outcome:
    return Outcome(0.0, "bitcoin", "http://test", status, wait_ms, late_ms)


def test_the_reduction_is_the_share_of_answers_that_took_no_call() -> None:
    summary = summarize("on", [outcome()] * 10, calls=4)
    assert (summary.requests, summary.answered, summary.calls) == (10, 10, 4)
    assert summary.requests_per_call == 2.5
    assert summary.reduction == pytest.approx(0.6)


def test_what_was_not_answered_saves_nothing_and_is_told_by_status() -> None:
    outcomes = [outcome(), outcome(), outcome(504), outcome(504), outcome(429), outcome(None)]
    summary = summarize("on", outcomes, calls=2)
    assert (summary.requests, summary.answered, summary.reduction) == (6, 2, 0.0)
    assert summary.other == {"504": 2, "429": 1, "no answer": 1}
    assert "1 x 429, 2 x 504, 1 x no answer" in table([summary])


def test_waits_are_those_of_the_answered() -> None:
    outcomes = [outcome(wait_ms=float(wait)) for wait in range(1, 101)] + [outcome(504, wait_ms=8000.0)]
    assert summarize("on", outcomes, calls=1).wait_ms == Waits(p50=50, p95=95, p99=99, max=100)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.51, 3), (0.99, 4), (1, 4)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value


def test_a_sender_that_fell_behind_is_told() -> None:
    assert summarize("on", [outcome(late_ms=3.0), outcome(late_ms=12.0)], calls=1).late_ms == 12.0


def test_nothing_answered_makes_no_figure_up() -> None:
    summary = summarize("off", [], calls=0)
    assert (summary.requests_per_call, summary.reduction, summary.wait_ms) == (None, None, None)
    assert "reduction                              -" in table([summary])


def test_no_user_comes_to_the_limit_as_shipped() -> None:
    assert [users_within_limit(requests) for requests in (0, 1, 20, 21, 800)] == [1, 1, 1, 2, 40]
