"""The months that CoinGecko's credits are counted by: from the 1st, 00:00 UTC, to the next. Pure.

month_of(1_772_280_000_000)         # date(2026, 2, 1)
"""

from datetime import UTC, date, datetime, timedelta

import msgspec

from core.prices import from_unix_ms

_DAY_MS = 86_400_000


class MonthCount(msgspec.Struct, frozen=True):
    """How many upstream calls a month has seen."""

    month: date  # its first day
    calls: int


def month_of(unix_ms: int) -> date:
    """The month that this moment is in, as its first day; or raise ValueError or OverflowError outside of all years."""
    return from_unix_ms(unix_ms).date().replace(day=1)


def month_ends_ms(unix_ms: int) -> int:
    """When the month of this moment ends, which is when the next one begins, in unix milliseconds."""
    return _starts_ms((month_of(unix_ms) + timedelta(days=31)).replace(day=1))


def projected(calls: int, now_ms: int) -> int:
    """How many calls the month will have seen in the end if they go on as they did.

    The first day counts as a whole one from its start: of less nothing can be foretold.
    """
    starts_ms = _starts_ms(month_of(now_ms))
    elapsed_ms = max(now_ms - starts_ms, _DAY_MS)
    return calls * (month_ends_ms(now_ms) - starts_ms) // elapsed_ms


def _starts_ms(month: date) -> int:
    return int(datetime(month.year, month.month, 1, tzinfo=UTC).timestamp()) * 1000
