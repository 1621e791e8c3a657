"""The command line; the only file that knows both server and monitor.

Each command imports what it needs when it runs: `cryptopulse token` should not wait for a dashboard to load.
"""

# ruff: noqa: PLC0415 - see above

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from core.forecast import Forecast
    from core.settings import Settings

_LAST_PORT = 65_535
_STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".cryptopulse"),
    show_default=True,
    help="Where `cryptopulse dev` keeps everything.",
)
_A_FILE = click.Path(path_type=Path, dir_okay=False)


class _WrongSettings(click.ClickException):
    """The environment holds what cannot be used: one line a variable, exit status 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        click.echo(self.message, file=file, err=True)


class _Seconds(click.ParamType[int]):
    """A duration as in JWT_EXPIRES_IN, in seconds."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from core.settings import parse_duration

        try:
            return value if isinstance(value, int) else parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} is not {error}.", param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cryptopulse", message="%(prog)s %(version)s", prog_name="cryptopulse")
def main() -> None:
    """A price API that answers many clients with few CoinGecko calls."""


@main.command()
@click.option("--port", type=click.IntRange(1, _LAST_PORT), default=3000, show_default=True, envvar="PORT")
@click.option(
    "--instances", type=click.IntRange(1, 64), default=1, show_default=True, help="Servers, on ports from --port up."
)
@click.option("--live", is_flag=True, help="Ask CoinGecko itself, not the bundled simulator.")
@_STATE_DIR
def dev(port: int, instances: int, *, live: bool, state_dir: Path) -> None:
    """Run everything on this machine: Valkey, Postgres, CoinGecko's stand-in, servers."""
    from server.dev import DevError, Options, run

    if port + instances - 1 > _LAST_PORT:
        raise click.UsageError(f"{instances} servers from port {port} up go beyond port {_LAST_PORT}.")
    try:
        run(Options(state_folder=state_dir, port=port, instances=instances, live=live), os.environ)
    except DevError as error:
        raise click.ClickException(str(error)) from None


@main.command()
def serve() -> None:
    """Serve, configured by the environment."""
    from core.settings import SettingsError, load_settings

    try:
        load_settings()
    except SettingsError as error:
        raise _WrongSettings(str(error)) from None
    # Only now: what is wrong was told before a server was loaded.
    from server.main import run

    run()


@main.command()
@click.option(
    "--redis-url", envvar="REDIS_URL", help="The Redis of the servers to watch.  [default: that of a running dev]"
)
@_STATE_DIR
@click.option("--record", type=_A_FILE, help="Write down all that is heard; .gz: compressed.")
@click.option("--replay", type=_A_FILE, help="Show what was recorded, without any Redis.")
@click.option("--at", "at_s", type=click.FloatRange(0), help="Where to begin a replay; with --once: what to show.")
@click.option("--speed", type=click.FloatRange(0.1, 100), help="How fast to replay.  [default: 1]")
@click.option("--once", is_flag=True, help="Print the main screen, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --once: everything, as JSON.")
@click.option("--web", is_flag=True, help="Show it in browsers on this machine.")
@click.option("--port", type=click.IntRange(1, _LAST_PORT), help="With --web: where.  [default: 8000]")
def monitor(
    redis_url: str | None,
    state_dir: Path,
    *,
    record: Path | None,
    replay: Path | None,
    at_s: float | None,
    speed: float | None,
    once: bool,
    as_json: bool,
    web: bool,
    port: int | None,
) -> None:
    """Watch the servers work."""
    _one_makes_sense_only_with(
        {
            "--at": (at_s is not None, "--replay", replay is not None),
            "--speed": (speed is not None, "--replay", replay is not None),
            "--json": (as_json, "--once", once),
            "--port": (port is not None, "--web", web),
        }
    )
    _only_one_of({"--record": record is not None, "--replay": replay is not None, "--once": once, "--web": web})
    if replay is None:
        redis_url = redis_url or _redis_url_of_dev(state_dir)
    if once:
        _look_once(redis_url, replay, at_s, as_json=as_json)
    elif web:
        _serve_monitor(redis_url, replay, at_s, speed, port or 8000)
    else:
        _watch(redis_url, record, replay, at_s or 0.0, speed or 1.0)


@main.command()
def migrate() -> None:
    """Bring the database schema up to date."""
    from core.migrate import MigrationError, upgrade

    database_url = os.environ.get("DATABASE_URL")
    if not database_url:
        raise _WrongSettings("DATABASE_URL: not given; it is required")
    try:
        upgrade(database_url)
    except MigrationError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@click.option("--sub", required=True, help="Whom the token speaks for; limits are counted by it.")
@click.option("--username", help="A name to read.  [default: that of --sub]")
@click.option("--expires", type=_Seconds(), default="30d", show_default=True, help="As 1h, 30m, 7d, or seconds.")
@_STATE_DIR
def token(sub: str, username: str | None, expires: int, state_dir: Path) -> None:
    """Print a signed access token."""
    from core.settings import SHORTEST_SECRET_BYTES
    from server.auth import LONGEST_SUBJECT, issue_token

    secret = os.environ.get("JWT_SECRET") or _secret_of_dev(state_dir)
    if len(secret.encode()) < SHORTEST_SECRET_BYTES:
        raise click.ClickException(f"JWT_SECRET is too short: servers want at least {SHORTEST_SECRET_BYTES} bytes")
    if not 0 < len(sub) <= LONGEST_SUBJECT:
        raise click.ClickException(f"--sub is 1 to {LONGEST_SUBJECT} characters")
    click.echo(issue_token(secret, subject=sub, username=username or sub, expires_s=expires))


@main.command()
@click.argument("trace", type=click.File(encoding="utf-8"))
@click.option(
    "--latency-ms", type=click.FloatRange(0, 60_000), default=300, show_default=True, help="What a call takes upstream."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def simulate(trace: TextIO, latency_ms: float, *, as_json: bool) -> None:
    """Say what recorded traffic would cost, with the settings of the environment.

    TRACE is a file of JSON lines, or - for what comes in: {"at": 0.25, "coin": "bitcoin"} is a request. "at" is seconds
    or an ISO time; "vsCurrency" and "maxAge", in seconds, may be added. Nothing is asked for, no server runs.
    """
    import msgspec

    from core.forecast import TraceError, foretell, read_trace, terms_of

    settings = _settings_without_secrets()
    try:
        arrivals = read_trace(trace)
    except (TraceError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{trace.name} cannot be read: {error}") from None
    forecast = foretell(arrivals, terms_of(settings, latency_ms=latency_ms))
    click.echo(msgspec.json.encode(forecast) if as_json else _told(forecast, settings.upstream_calls_per_month))


def _settings_without_secrets() -> "Settings":
    """The settings as a server reads them, but for what only a server needs."""
    from pydantic import ValidationError

    from core.settings import SHORTEST_SECRET_BYTES, Settings

    made_up: dict[str, Any] = {
        **dict.fromkeys(("admin_user", "admin_pass"), "-"),
        "jwt_secret": "-" * SHORTEST_SECRET_BYTES,
        "database_url": "postgresql://-",
        "redis_url": "redis://-",
    }
    try:
        return Settings(**made_up)
    except ValidationError as error:
        problems = [
            (".".join(map(str, each["loc"])).upper(), each["msg"].removeprefix("Value error, "))
            for each in error.errors()
        ]
        raise _WrongSettings("\n".join(f"{name}: {why}" if name else why for name, why in problems)) from None


def _told(forecast: "Forecast", calls_per_month: int | None) -> str:
    """A forecast as a table."""
    month = f"{forecast.calls_a_month:,}"
    if calls_per_month:
        month += f", {forecast.calls_a_month / calls_per_month:.0%} of UPSTREAM_CALLS_PER_MONTH={calls_per_month}"
    rows = {
        "requests": f"{forecast.requests:,} in {forecast.seconds:,.1f} s",
        "answered": f"{forecast.answered:,}",
        "refused, timed out": f"{forecast.refused:,}, {forecast.timed_out:,}",
        "upstream calls": f"{forecast.calls:,}; the fewest possible: {forecast.optimum:,}",
        "calls in 60 s at most": f"{forecast.most_calls_a_minute:,}",
        "calls in 30 such days": month,
        "saved": "-" if forecast.saved is None else f"{forecast.saved:.1%}, compared with one call an answer",
    }
    if waits := forecast.wait_ms:
        rows["wait p50, p95, p99, max"] = f"{waits.p50:.0f}, {waits.p95:.0f}, {waits.p99:.0f}, {waits.max:.0f} ms"
    return "\n".join(f"{name:<26}{value}" for name, value in rows.items())


def _one_makes_sense_only_with(options: Mapping[str, tuple[bool, str, bool]]) -> None:
    for name, (given, other, other_given) in options.items():
        if given and not other_given:
            raise click.UsageError(f"{name} needs {other}.")


def _only_one_of(options: Mapping[str, bool]) -> None:
    """Of these, only a replay goes together with looking once or in a browser."""
    given = [name for name, is_given in options.items() if is_given]
    if len(given) > 1 and set(given) not in ({"--replay", "--once"}, {"--replay", "--web"}):
        raise click.UsageError(f"{' and '.join(given)} do not go together.")


def _watch(redis_url: str | None, record: Path | None, replay: Path | None, at_s: float, speed: float) -> None:
    from monitor.app import run
    from monitor.recording import RecordedSource, Recorder, Recording, RecordingError, ReplaySource
    from monitor.source import RedisSource

    try:
        if replay is not None:
            run(ReplaySource(Recording(replay), start_s=at_s, speed=speed))
        elif record is not None:
            run(RecordedSource(RedisSource(redis_url or ""), Recorder(record)))
        else:
            run(RedisSource(redis_url or ""))
    except RecordingError as error:
        raise click.ClickException(str(error)) from None


def _look_once(redis_url: str | None, replay: Path | None, at_s: float | None, *, as_json: bool) -> None:
    import asyncio

    from monitor import once
    from monitor.recording import Recording, RecordingError
    from monitor.source import RedisSource

    try:
        recording = Recording(replay) if replay is not None else None
        picture = once.look_back(recording, at_s) if recording else asyncio.run(once.look(RedisSource(redis_url or "")))
    except (RecordingError, once.NobodyAnswers) as error:
        raise click.ClickException(str(error)) from None
    if recording is not None and recording.problem:
        click.echo(f"This recording is not whole: {recording.problem}.", err=True)
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    click.echo(once.as_json(picture) if as_json else asyncio.run(once.as_text(picture, colours=colours)), color=colours)


def _serve_monitor(
    redis_url: str | None, replay: Path | None, at_s: float | None, speed: float | None, port: int
) -> None:
    try:
        from monitor.web import serve
    except ImportError:
        raise click.ClickException("--web needs textual-serve: pip install 'cryptopulse[web]'") from None

    given = {"--replay": replay and replay.absolute(), "--at": at_s, "--speed": speed}
    arguments = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    try:
        serve(arguments, port, {"REDIS_URL": redis_url} if redis_url else {})
    except OSError as error:
        raise click.ClickException(f"the monitor cannot be served: {error.strerror}") from None


def _redis_url_of_dev(state_dir: Path) -> str:
    from server.local.state import StateError, StateFolder

    state = StateFolder(state_dir)
    try:
        running = state.recorded() if state.is_in_use() else None
    except StateError as error:
        raise click.ClickException(str(error)) from None
    if running is None:
        raise click.ClickException(f"no dev runs in {state_dir}: start one with `make dev`, or give --redis-url")
    return running.redis_url


def _secret_of_dev(state_dir: Path) -> str:
    from server.local.state import StateError, StateFolder

    try:
        secret = StateFolder(state_dir).jwt_secret()
    except StateError as error:
        raise click.ClickException(str(error)) from None
    if secret is None:
        raise click.ClickException(
            f"JWT_SECRET is not set, and no dev ever ran in {state_dir}: set it, or run `make dev`"
        )
    return secret


if __name__ == "__main__":
    main()
