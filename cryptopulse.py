"""The command line; the only file that knows both server and monitor.

Each command imports what it needs when it runs: `cryptopulse token` should not wait for a dashboard to load.
"""

# ruff: noqa: PLC0415 - see above

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from server.commands.config import config
from server.commands.doctor import doctor
from server.commands.simulate import simulate
from server.commands.state_dir import state_dir_option
from server.commands.token import token
from server.commands.wrong_settings import NOT_GIVEN, WrongSettings, told_if_wrong

_LAST_PORT = 65_535
_A_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cryptopulse", message="%(prog)s %(version)s", prog_name="cryptopulse")
def main() -> None:
    """A price API that answers many clients with few CoinGecko calls."""


for _command in (config, doctor, simulate, token):
    main.add_command(_command)


@main.command()
@click.option("--port", type=click.IntRange(1, _LAST_PORT), default=3000, show_default=True, envvar="PORT")
@click.option(
    "--instances", type=click.IntRange(1, 64), default=1, show_default=True, help="Servers, on ports from --port up."
)
@click.option("--live", is_flag=True, help="Ask CoinGecko itself, not the bundled simulator.")
@state_dir_option
def dev(port: int, instances: int, *, live: bool, state_dir: Path) -> None:
    """Run everything on this machine: Valkey, Postgres, CoinGecko's stand-in, servers."""
    from server.dev import DevError, Options, run

    if port + instances - 1 > _LAST_PORT:
        raise click.UsageError(f"{instances} servers from port {port} up go beyond port {_LAST_PORT}.")
    try:
        with told_if_wrong():
            run(Options(state_folder=state_dir, port=port, instances=instances, live=live), os.environ)
    except DevError as error:
        raise click.ClickException(str(error)) from None


@main.command()
def serve() -> None:
    """Serve, configured by the environment."""
    from core.settings import load_settings

    with told_if_wrong():
        settings = load_settings()
    # Only now: what is wrong was told before a server was loaded.
    from server.main import run

    run(settings)


@main.command()
@click.option(
    "--redis-url", envvar="REDIS_URL", help="The Redis of the servers to watch.  [default: that of a running dev]"
)
@state_dir_option
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
        redis_url = redis_url or _redis_url_in_file() or _redis_url_of_dev(state_dir)
    if once:
        _look_once(redis_url, replay, at_s, as_json=as_json)
    elif web:
        _serve_monitor(redis_url, replay, at_s, speed, port or 8000)
    else:
        _watch(redis_url, record, replay, at_s or 0.0, speed or 1.0)


@main.command()
def migrate() -> None:
    """Bring the database schema up to date."""
    from core.environment import read_one
    from core.migrate import MigrationError, upgrade

    with told_if_wrong():
        database_url = read_one(os.environ, "database_url")
    if not database_url:
        raise WrongSettings(f"DATABASE_URL: {NOT_GIVEN}")
    try:
        upgrade(database_url)
    except MigrationError as error:
        raise click.ClickException(str(error)) from None


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
        raise click.ClickException("--web needs textual-serve: pip install '.[web]' in the program's folder") from None

    given = {"--replay": replay and replay.absolute(), "--at": at_s, "--speed": speed}
    arguments = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    try:
        serve(arguments, port, {"REDIS_URL": redis_url} if redis_url else {})
    except OSError as error:
        raise click.ClickException(f"the monitor cannot be served: {error.strerror}") from None


def _redis_url_in_file() -> str | None:
    from core.environment import read_one

    with told_if_wrong():
        return read_one(os.environ, "redis_url")


def _redis_url_of_dev(state_dir: Path) -> str:
    from server.local.state import StateError, StateFolder

    try:
        running = StateFolder(state_dir).running()
    except StateError as error:
        raise click.ClickException(str(error)) from None
    if running is None:
        raise click.ClickException(f"no dev runs in {state_dir}: start one with `make dev`, or give --redis-url")
    return running.redis_url


if __name__ == "__main__":
    main()
