"""HTTP's `Cache-Control`: what a request says of the age of prices, and what an answer does.

requested_freshness(["max-age=30, stale-if-error=600"])     # Freshness(max_age_s=30, stale_if_error_s=600)
freshness_headers([quote], honoured=False)                  # {"Cache-Control": "private, no-cache", "Age": "0"}
"""

import re
from collections.abc import Iterator, Sequence

from core.batches import Quote
from core.freshness import FETCH, Freshness

# What stands between commas; those inside of quotes do not count.
_DIRECTIVE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_SECONDS = re.compile(r'("?)([0-9]+)\1')
# RFC 9111, 1.2.2, for a number too large to be counted with.
LONGEST_S = 2**31

_Directive = tuple[str, str | None]  # a name in lower case, and what stands behind its '='


def requested_freshness(headers: Sequence[str]) -> Freshness:
    """What a request's `Cache-Control` headers allow (RFC 9111, 5.2.1, and RFC 5861, 4).

    A directive that is unknown, or whose number is none, counts as not given.
    """
    if not headers:
        return FETCH
    directives = [directive for header in headers for directive in _directives(header)]
    names = {name for name, _ in directives}
    no_cache = not names.isdisjoint({"no-cache", "no-store"})
    return Freshness(
        max_age_s=0 if no_cache else _seconds(directives, "max-age"),
        stale_if_error_s=_seconds(directives, "stale-if-error", without_number=LONGEST_S),
        only_if_cached="only-if-cached" in names,
    )


def freshness_headers(quotes: Sequence[Quote], *, honoured: bool) -> dict[str, str]:
    """How old the oldest of an answer's prices is, and how long all of them may be kept.

    `honoured` says whether the operator lets CoinGecko's own cache life count. Without a price nothing may be kept.
    """
    if not quotes:
        return {"Cache-Control": "private, no-cache"}
    age_s = max([quote.age_s for quote in quotes])
    fresh_for_s = min([quote.fresh_for_s for quote in quotes])
    # `max-age` counts from the fetch, as `Age` does.
    life = f"max-age={age_s + fresh_for_s}" if honoured and fresh_for_s > 0 else "no-cache"
    return {"Cache-Control": f"private, {life}", "Age": str(age_s)}


def _directives(header: str) -> Iterator[_Directive]:
    for text in _DIRECTIVE.findall(header):
        name, equals, argument = text.partition("=")
        yield name.strip().lower(), argument.strip() if equals else None


def _seconds(directives: Sequence[_Directive], name: str, *, without_number: int | None = None) -> int | None:
    """The number of the first directive of this name that has one."""
    for found, argument in directives:
        seconds = without_number if argument is None else _parse_seconds(argument)
        if found == name and seconds is not None:
            return seconds
    return None


def _parse_seconds(text: str) -> int | None:
    match = _SECONDS.fullmatch(text)
    if match is None:
        return None
    # Eleven digits are beyond the longest already, and Python reads no more than some thousand.
    return min(int(match[2].lstrip("0")[:11] or "0"), LONGEST_S)
