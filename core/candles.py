"""Candles: what prices did in each interval of a stretch of time. Pure.

stretch = stretch_of("1h", since, until, now)       # raises BadInput where it would be too many
candles = await history.candles("bitcoin", "usd", stretch)

Intervals begin at whole multiples of their length since 1970, so by UTC: days at 00:00, hours at the full hour. A
candle is always of a whole interval, whatever stretch was asked for: it is the same in every answer.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

import msgspec

from core.errors import BadInput

Interval = Literal["1m", "5m", "15m", "1h", "4h", "1d"]

INTERVALS: Mapping[Interval, timedelta] = MappingProxyType(
    {
        "1m": timedelta(minutes=1),
        "5m": timedelta(minutes=5),
        "15m": timedelta(minutes=15),
        "1h": timedelta(hours=1),
        "4h": timedelta(hours=4),
        "1d": timedelta(days=1),
    }
)
MOST_CANDLES = 1000  # of one answer: some 120 kB of JSON
USUAL_CANDLES = 100  # where nobody says from when on

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 1, 1, tzinfo=UTC)


class Candle(msgspec.Struct, frozen=True):
    """The prices of one interval: the first, the highest, the lowest, the last, and how many there were."""

    opened_at: datetime  # when the interval began
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    count: int


class Stretch(msgspec.Struct, frozen=True):
    """Whole intervals, one after the other; the moment at which the last one ends is not of it."""

    interval: timedelta
    begins: datetime
    ends: datetime


def stretch_of(interval: Interval, since: datetime | None, until: datetime | None, now: datetime) -> Stretch:
    """The intervals from that of `since` to that of `until`, or raise BadInput if they are too many.

    Until now, unless said otherwise; so many as are usual, unless it is said since when.
    """
    length = INTERVALS[interval]
    last = _begin(until or max(now, since or now), length)
    first = _begin(since, length) if since else max(last - (USUAL_CANDLES - 1) * length, _EPOCH)
    count = (last - first) // length + 1
    if count > MOST_CANDLES:
        raise BadInput(
            f"from: {count} intervals of {interval} from there to the end; an answer has at most {MOST_CANDLES}. "
            "Ask for less time at once, or for a longer interval."
        )
    return Stretch(length, first, last + length)


def _begin(moment: datetime, length: timedelta) -> datetime:
    """When the interval that holds a moment began; no price was fetched outside of the years that count here."""
    inside = min(max(moment, _EPOCH), _LAST)
    return inside - (inside - _EPOCH) % length
