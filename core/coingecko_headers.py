"""What the headers of CoinGecko's answers say of time: how long one may be kept, and how long to stay away. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil

# CoinGecko's limit is by the minute, and it was seen to say 7, 60 and 119. What it says is trusted up to an hour.
WAIT_S = 60
LONGEST_WAIT_S = 3600

# Like `max-age=30, public, must-revalidate, s-maxage=60` (RFC 9111, 5.2.2); s-maxage is for caches of many users.
_DIRECTIVE = re.compile(r'([^\s,="]+)(?:=("[^"]*"|[^\s,"]*))?')
_NEVER_FRESH = frozenset({"no-store", "no-cache"})
_LONGEST_FRESH_S = 3600


def fresh_for_s(headers: Mapping[str, str]) -> int:
    """Seconds for which a private cache may keep the answer: `max-age` less `Age`, up to an hour.

    0 where that is absent, senseless, or forbidden; so is what is told twice (RFC 9111, 4.2.1).
    """
    directives = _DIRECTIVE.findall(headers.get("cache-control", "").lower())
    names = [name for name, _ in directives]
    if not _NEVER_FRESH.isdisjoint(names) or names.count("max-age") != 1:
        return 0
    try:
        left_s = _seconds(dict(directives)["max-age"].strip('"')) - _seconds(headers.get("age", "0"))
    except ValueError:
        return 0
    return max(0, min(left_s, _LONGEST_FRESH_S))


def retry_after_s(headers: Mapping[str, str], default_s: int = WAIT_S) -> int:
    """Seconds to stay away, from `Retry-After` as seconds or date; the default where it is absent or senseless."""
    text = headers.get("retry-after", "")
    try:
        wait_s = int(text) if text.isdecimal() else _seconds_until(text, headers.get("date"))
    except (ValueError, OverflowError):
        return default_s
    return max(1, min(wait_s, LONGEST_WAIT_S))


def _seconds(text: str) -> int:
    if re.fullmatch("[0-9]{1,19}", text) is None:
        raise ValueError(f"no seconds: {text[:40]!r}")
    return int(text)


def _seconds_until(date: str, now: str | None) -> int:
    # By the clock that wrote the date, if it tells: ours may be wrong.
    current = parsedate_to_datetime(now) if now else datetime.now(UTC)
    wait = parsedate_to_datetime(date).replace(tzinfo=UTC) - current.replace(tzinfo=UTC)
    return ceil(wait.total_seconds())
