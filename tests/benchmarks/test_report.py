from datetime import UTC, datetime

from benchmarks.figures import Summary
from benchmarks.machine import this_machine
from benchmarks.reduction import users_within_limit
from benchmarks.report import Options, Report, Run, described, table
from benchmarks.trace import Traffic
from benchmarks.variants import chosen

SUMMARY = Summary(
    variant="off",
    requests=4,
    answered=0,
    other={"504": 2, "429": 1, "no answer": 1},
    calls=0,
    calls_refused=0,
    calls_in_a_minute=0,
    requests_per_call=None,
    reduction=None,
    wait_ms=None,
    late_ms=0.0,
)


def test_what_was_not_answered_is_told_by_status() -> None:
    assert "1 x 429, 2 x 504, 1 x no answer" in table([SUMMARY])


def test_a_figure_that_there_is_not_is_a_dash() -> None:
    assert "reduction                              -" in table([SUMMARY])


def test_a_report_says_what_each_variant_sets_and_what_would_be_best() -> None:
    traffic = Traffic(rate=300, seconds=60, coins=500, skew=1.0, seed=1)
    runs = [Run(variant, SUMMARY, []) for variant in chosen("original,budget", limit_per_minute=30)]
    report = Report(datetime.now(UTC), Options(traffic, 100, 2, 30), 900, 12, this_machine(), runs)
    text = described(report)
    assert "upstream latency 100 ms, 30 calls a minute" in text
    assert "would need 12 calls" in text
    assert "\noriginal:   BATCH_RIDE_ALONG=false: " in text
    assert "\nbudget:     UPSTREAM_CALLS_PER_MINUTE=30: " in text


def test_no_user_comes_to_the_limit_as_shipped() -> None:
    assert [users_within_limit(requests) for requests in (0, 1, 20, 21, 800)] == [1, 1, 1, 2, 40]
