import pytest

from benchmarks.figures import Seen, Spread, Summary, most_within, percentile, spread, summarize


def summary(seen: list[Seen], calls_at: list[float], refused: int = 0) -> Summary:
    return summarize(seen, calls_at, refused=refused, fewest=1)


def answers(count: int) -> list[Seen]:
    return [Seen("200", 1.0, age_s=0.5)] * count


def test_the_reduction_is_the_share_of_answers_that_took_no_call() -> None:
    figures = summary(answers(10), [0.0] * 4)
    assert (figures.requests, figures.answered, figures.calls, figures.share) == (10, 10, 4, 1.0)
    assert figures.requests_per_call == 2.5
    assert figures.reduction == pytest.approx(0.6)


def test_what_was_not_answered_saves_nothing_and_is_told_by_its_outcome() -> None:
    figures = summary([*answers(2), Seen("504", 8000.0), Seen("504", 8000.0), Seen("429", 0.0)], [0.0] * 2)
    assert (figures.requests, figures.answered, figures.reduction, figures.share) == (5, 2, 0.0, 0.4)
    assert figures.other == {"504": 2, "429": 1}


def test_waits_and_ages_are_those_of_the_answered() -> None:
    figures = summary([Seen("200", 3.0, age_s=20.0), Seen("504", 8000.0)], [0.0], refused=1)
    assert (figures.wait_ms, figures.age_s) == (Spread(3, 3, 3, 3, 3), Spread(20, 20, 20, 20, 20))
    assert figures.calls_refused == 1


def test_a_spread_tells_quantiles_and_mean() -> None:
    assert spread([float(value) for value in range(1, 101)]) == Spread(50, 95, 99, 100, 50.5)


def test_nothing_answered_makes_no_figure_up() -> None:
    figures = summary([], [])
    assert (figures.requests_per_call, figures.reduction, figures.wait_ms, figures.age_s) == (None, None, None, None)


@pytest.mark.parametrize(
    ("instants", "most"), [([], 0), ([0], 1), ([0, 60], 1), ([0, 59.9], 2), ([0, 0, 60, 60, 60], 3)]
)
def test_what_comes_a_minute_after_another_is_in_another_minute(instants: list[float], most: int) -> None:
    assert most_within(60, instants) == most


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.51, 3), (0.99, 4), (1, 4)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value
