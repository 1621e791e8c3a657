"""The command line; the only file that knows both server and monitor.

Each command imports what it needs when it runs: `cryptopulse token` should not wait for a dashboard to load.
"""

# ruff: noqa: PLC0415 - see above

import os
from pathlib import Path
from typing import IO

import click

_LAST_PORT = 65_535
_STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".cryptopulse"),
    show_default=True,
    help="Where `cryptopulse dev` keeps everything.",
)


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
def monitor(redis_url: str | None, state_dir: Path) -> None:
    """Watch the servers work."""
    from monitor.app import run

    run(redis_url or _redis_url_of_dev(state_dir))


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
