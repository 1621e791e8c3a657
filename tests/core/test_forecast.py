import pytest
from msgspec.structs import replace

from core.forecast import TraceError, foretell, read_trace, terms_of
from core.simulation import Arrival, Terms
from tests.core.model import settings_for_tests

TERMS = Terms(
    window_s=4.0,
    threshold=3,
    result_timeout_s=8.0,
    ride_along=True,
    max_ids=500,
    calls_per_minute=None,
    upstream_latency_s=0.5,
)


def test_a_trace_begins_with_its_first_request_whatever_the_order_of_its_lines() -> None:
    lines = ['{"at": 12.5, "coin": "ethereum", "vsCurrency": "eur", "maxAge": 30}', "", '{"at": 10, "coin": "bitcoin"}']
    assert read_trace(lines) == [Arrival(0.0, "bitcoin"), Arrival(2.5, "ethereum", 30)]


def test_times_may_be_those_of_a_log() -> None:
    lines = [
        '{"at": "2026-11-22T10:00:00Z", "coin": "bitcoin"}',
        '{"at": "2026-11-22T11:00:01+01:00", "coin": "solana"}',
    ]
    assert read_trace(lines) == [Arrival(0.0, "bitcoin"), Arrival(1.0, "solana")]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2: "),
        ('{"at": 1}', "line 2: .*coin"),
        ('{"at": 1, "coin": "Bit Coin"}', "line 2: A coin id is"),
        ('{"at": 1, "coin": "bitcoin", "vsCurrency": "xyz"}', "line 2: vsCurrency: 'xyz' is not supported"),
        ('{"at": 1, "coin": "bitcoin", "maxAge": -1}', "line 2: .*maxAge"),
        ('{"at": 1, "coin": "bitcoin", "max_age": 1}', "line 2: .*max_age"),
        ('{"at": "2026-11-22T10:00:00Z", "coin": "bitcoin"}', "seconds in some lines and a time in others"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(line: str, why: str) -> None:
    with pytest.raises(TraceError, match=why):
        read_trace(['{"at": 0, "coin": "bitcoin"}', line])


def test_a_trace_without_a_request_is_none() -> None:
    with pytest.raises(TraceError, match="there is no request in it"):
        read_trace(["", "\n"])


def test_what_it_comes_to_is_counted() -> None:
    forecast = foretell([Arrival(at_s, "bitcoin") for at_s in (0, 0, 0, 3600, 3600, 3600)], TERMS)
    assert (forecast.requests, forecast.answered, forecast.calls, forecast.optimum) == (6, 6, 2, 2)
    assert (forecast.most_calls_a_minute, forecast.calls_a_month) == (1, 1440)
    assert forecast.saved == pytest.approx(4 / 6)
    assert forecast.wait_ms is not None
    assert forecast.wait_ms.max == 500


def test_less_than_an_hour_does_not_tell_of_a_month() -> None:
    assert foretell([Arrival(0, "bitcoin"), Arrival(3599, "bitcoin")], TERMS).calls_a_month is None


def test_nothing_answered_saves_nothing() -> None:
    late = replace(TERMS, calls_per_minute=21, first_call_at_s=100.0)
    forecast = foretell([Arrival(0, "bitcoin")], late)
    assert (forecast.refused, forecast.saved, forecast.wait_ms) == (1, None, None)


def test_the_terms_are_those_of_the_settings() -> None:
    settings = settings_for_tests(batch_window_ms=2000, batch_threshold=7, upstream_calls_per_minute=30)
    terms = terms_of(settings, latency_ms=250)
    assert (terms.window_s, terms.threshold, terms.calls_per_minute, terms.upstream_latency_s) == (2, 7, 30, 0.25)
    assert (terms.ride_along, terms.result_timeout_s, terms.upstream_timeout_s) == (True, 8, 2.5)
