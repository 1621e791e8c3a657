"""What traffic would cost: a recorded trace, as JSON lines, run through the simulation on the service's own settings.

    forecast = foretell(read_trace(lines), terms_of(settings, latency_ms=300))
    forecast.calls, forecast.calls_a_month, forecast.saved

A line is a request: `{"at": 0.25, "coin": "bitcoin", "maxAge": 30}`. `at` is seconds, or a time as ISO 8601 writes it;
`maxAge`, in seconds, and `vsCurrency` need not be given. A call carries all currencies: which ones changes nothing.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Annotated

import msgspec

from core.errors import BadInput
from core.prices import parse_coin_id, parse_currency
from core.settings import Settings
from core.simulation import Arrival, Call, Fate, Simulated, Terms, optimum, simulate

_MINUTE_S = 60.0
_TELLING_S = 3600.0  # less of a trace is no sample of a month
_MONTH_S = 30 * 86_400.0


class TraceError(Exception):
    """A trace cannot be read; str() says in which line, and why."""


class _Line(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    at: float | datetime
    coin: str
    vs_currency: str = "usd"
    max_age: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Waits(msgspec.Struct, frozen=True):
    """How long those who were answered had waited, in milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a trace comes to."""

    requests: int
    answered: int
    refused: int  # at once, since no call could be made in time
    timed_out: int
    seconds: float  # from the first request to the last
    calls: int
    optimum: int  # the fewest that could have answered all within the window
    most_calls_a_minute: int  # in any 60 s
    calls_a_month: int | None  # in 30 days like this; None: the trace is too short to tell
    saved: float | None  # the share of calls, compared with one call an answer; None: nothing was answered
    wait_ms: Waits | None


def read_trace(lines: Iterable[str]) -> list[Arrival]:
    """The requests in the order of time, from the first one on; or raise TraceError."""
    read = [_read(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not read:
        raise TraceError("there is no request in it")
    kinds = Counter(isinstance(line.at, datetime) for line in read)
    if len(kinds) > 1:
        raise TraceError("`at` is seconds in some lines and a time in others")
    read.sort(key=lambda line: _seconds(line.at))
    began_at = _seconds(read[0].at)
    return [Arrival(_seconds(line.at) - began_at, line.coin, line.max_age) for line in read]


def _read(number: int, text: str) -> _Line:
    try:
        line = msgspec.json.decode(text, type=_Line)
        parse_coin_id(line.coin)
        parse_currency(line.vs_currency)
    except (msgspec.MsgspecError, BadInput) as error:
        raise TraceError(f"line {number}: {error}") from None
    return line


def _seconds(at: float | datetime) -> float:
    if not isinstance(at, datetime):
        return at
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def terms_of(settings: Settings, *, latency_ms: float) -> Terms:
    """The terms on which servers with these settings answer, if a call takes so long upstream."""
    return Terms(
        window_s=settings.batch_window_ms / 1000,
        threshold=settings.batch_threshold,
        result_timeout_s=settings.batch_result_timeout_ms / 1000,
        ride_along=settings.batch_ride_along,
        max_ids=settings.upstream_max_ids,
        calls_per_minute=settings.upstream_calls_per_minute,
        upstream_latency_s=latency_ms / 1000,
        upstream_timeout_s=settings.upstream_timeout_ms / 1000,
    )


def foretell(trace: Sequence[Arrival], terms: Terms) -> Forecast:
    """Run the simulation, and count."""
    simulated = simulate(trace, terms)
    answered = [fate for fate in simulated.fates if fate.outcome == "answered"]
    seconds = trace[-1].at_s - trace[0].at_s
    calls = len(simulated.calls)
    return Forecast(
        requests=len(trace),
        answered=len(answered),
        refused=_count(simulated, "refused"),
        timed_out=_count(simulated, "timed out"),
        seconds=seconds,
        calls=calls,
        optimum=optimum(trace, terms.window_s),
        most_calls_a_minute=_most_a_minute(simulated.calls),
        calls_a_month=round(calls / seconds * _MONTH_S) if seconds >= _TELLING_S else None,
        saved=1 - calls / len(answered) if answered else None,
        wait_ms=_waits(answered),
    )


def _count(simulated: Simulated, outcome: str) -> int:
    return sum(fate.outcome == outcome for fate in simulated.fates)


def _waits(answered: Sequence[Fate]) -> Waits | None:
    waits = sorted(round(fate.wait_s * 1000, 1) for fate in answered)
    return Waits(*(waits[ceil(share * len(waits)) - 1] for share in (0.5, 0.95, 0.99, 1))) if waits else None


def _most_a_minute(calls: Sequence[Call]) -> int:
    times = [call.at_s for call in calls]
    return max((place + 1 - bisect_right(times, at_s - _MINUTE_S) for place, at_s in enumerate(times)), default=0)
