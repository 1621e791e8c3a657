"""`cryptopulse simulate`: what recorded traffic would cost."""

# ruff: noqa: PLC0415 - `cryptopulse --help` should not wait for this

import os
from typing import TYPE_CHECKING, NoReturn, TextIO

import click

from server.commands.wrong_settings import told_if_wrong

if TYPE_CHECKING:
    from core.forecast import Forecast
    from core.settings import Settings

# What only a server needs.
MADE_UP = {
    "ADMIN_USER": "-",
    "ADMIN_PASS": "-",
    "JWT_SECRET": "-" * 32,
    "DATABASE_URL": "postgresql://-",
    "REDIS_URL": "redis://-",
}
_WITHOUT_CACHE = (
    "UPSTREAM_HONOUR_CACHE is left out: a trace does not tell for how long CoinGecko calls prices fresh. "
    "As a rule servers make fewer calls than this."
)


class _Trace(click.File):
    """A file, of whose form the help tells."""

    def fail(self, message: str, param: click.Parameter | None = None, ctx: click.Context | None = None) -> NoReturn:
        """Say where to read what it is to be."""
        super().fail(f"{message}. `cryptopulse simulate --help` says what a trace is.", param, ctx)


@click.command()
@click.argument("trace", type=_Trace(encoding="utf-8"))
@click.option(
    "--latency-ms", type=click.FloatRange(0, 60_000), default=300, show_default=True, help="What a call takes upstream."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def simulate(trace: TextIO, latency_ms: float, *, as_json: bool) -> None:
    """Say what recorded traffic would cost, with the settings of the environment.

    TRACE is a file of JSON lines, or - for what comes in: {"at": 0.25, "coin": "bitcoin"} is a request. "at" is seconds
    or an ISO time; "vsCurrency" and "maxAge", in seconds, may be added. Nothing is asked for, no server runs.

    Two settings are left out, since a trace does not say to what they apply: UPSTREAM_HONOUR_CACHE, as it does not tell
    for how long CoinGecko calls prices fresh, and COMPAT_MAX_AGE_S. Give requests on the drop-in that "maxAge".
    """
    import msgspec

    from core.forecast import TraceError, foretell, read_trace, terms_of

    with told_if_wrong():
        settings = _settings_without_secrets()
    try:
        arrivals = read_trace(trace)
    except (TraceError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{trace.name} cannot be read: {error}") from None
    forecast = foretell(arrivals, terms_of(settings, latency_ms=latency_ms))
    click.echo(msgspec.json.encode(forecast) if as_json else _told(forecast, settings.upstream_calls_per_month))
    if settings.upstream_honour_cache:
        click.echo(_WITHOUT_CACHE, err=True)


def _settings_without_secrets() -> "Settings":
    from core.settings import load_settings

    given = {name: value for name, value in os.environ.items() if not name.upper().startswith(tuple(MADE_UP))}
    return load_settings(given | MADE_UP)


def _told(forecast: "Forecast", calls_per_month: int | None) -> str:
    """A forecast as a table."""
    month = "-, the trace is too short to tell" if forecast.calls_a_month is None else f"{forecast.calls_a_month:,}"
    if calls_per_month and forecast.calls_a_month is not None:
        month += f", {forecast.calls_a_month / calls_per_month:,.0%} of UPSTREAM_CALLS_PER_MONTH={calls_per_month}"
    rows = {
        "requests": f"{forecast.requests:,} in {forecast.seconds:,.1f} s",
        "answered": f"{forecast.answered:,}",
        "refused, timed out": f"{forecast.refused:,}, {forecast.timed_out:,}",
        "upstream calls": f"{forecast.calls:,}; the fewest that answer all within the window: {forecast.optimum:,}",
        "calls in 60 s at most": f"{forecast.most_calls_a_minute:,}",
        "calls in 30 such days": month,
        "saved": "-" if forecast.saved is None else f"{forecast.saved:.1%}, compared with one call an answer",
    }
    if waits := forecast.wait_ms:
        rows["wait p50, p95, p99, max"] = f"{waits.p50:.0f}, {waits.p95:.0f}, {waits.p99:.0f}, {waits.max:.0f} ms"
    return "\n".join(f"{name:<26}{value}" for name, value in rows.items())
