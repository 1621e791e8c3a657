from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.month import month_ends_ms, month_of, projected

moments = st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given UTC


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "month", "end"),
    [
        ("2026-11-22T12:00:00Z", date(2026, 11, 1), "2026-12-01T00:00Z"),
        ("2026-12-31T23:59:59.999Z", date(2026, 12, 1), "2027-01-01T00:00Z"),
        ("2027-01-01T00:00:00.000Z", date(2027, 1, 1), "2027-02-01T00:00Z"),
        ("2028-02-29T23:59:59.999Z", date(2028, 2, 1), "2028-03-01T00:00Z"),
        ("2027-02-28T23:59:59.999Z", date(2027, 2, 1), "2027-03-01T00:00Z"),
        ("2027-03-01T00:00:00.000Z", date(2027, 3, 1), "2027-04-01T00:00Z"),
    ],
)
def test_a_month_goes_from_its_first_millisecond_to_that_of_the_next_in_utc(moment: str, month: date, end: str) -> None:
    assert (month_of(ms(moment)), month_ends_ms(ms(moment))) == (month, ms(end))


@given(moments)
def test_every_moment_is_in_its_month_and_its_end_is_in_the_next(moment: datetime) -> None:
    now_ms = round(moment.timestamp() * 1000)
    ends_ms = month_ends_ms(now_ms)
    assert now_ms < ends_ms
    assert month_of(ends_ms - 1) == month_of(now_ms)
    assert month_of(ends_ms) == (month_of(now_ms) + timedelta(days=31)).replace(day=1)


@pytest.mark.parametrize("unix_ms", [10**18, -(10**18)])
def test_a_moment_outside_of_all_years_has_no_month(unix_ms: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        month_of(unix_ms)


@pytest.mark.parametrize(
    ("now", "calls", "expected"),
    [
        ("2026-11-16T00:00Z", 5000, 10_000),
        ("2026-11-30T23:59:59.999Z", 5000, 5000),
        ("2026-12-11T00:00Z", 1000, 3100),
        ("2028-02-02T00:00Z", 100, 2900),
        ("2026-11-16T00:00Z", 0, 0),
    ],
)
def test_a_month_is_projected_by_the_share_of_it_that_is_over(now: str, calls: int, expected: int) -> None:
    assert projected(calls, ms(now)) == expected


@pytest.mark.parametrize("now", ["2026-11-01T00:00Z", "2026-11-01T00:00:00.001Z", "2026-11-01T23:59:59.999Z"])
def test_the_first_day_of_a_month_counts_as_a_whole_one(now: str) -> None:
    assert projected(10, ms(now)) == 300
