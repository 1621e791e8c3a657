"""`cryptopulse token`: a token without a login."""

# ruff: noqa: PLC0415 - `cryptopulse --help` should not wait for this

import os
from pathlib import Path

import click

from server.commands.state_dir import state_dir_option


class _Seconds(click.ParamType[int]):
    """A duration as in JWT_EXPIRES_IN, in seconds."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or say what it might be."""
        from core.setting_rules import parse_duration

        try:
            return value if isinstance(value, int) else parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} is not {error}.", param, ctx)


@click.command()
@click.option("--sub", required=True, help="Whom the token speaks for; limits are counted by it.")
@click.option("--username", help="A name to read.  [default: that of --sub]")
@click.option("--expires", type=_Seconds(), default="30d", show_default=True, help="As 1h, 30m, 7d, or seconds.")
@state_dir_option
def token(sub: str, username: str | None, expires: int, state_dir: Path) -> None:
    """Print a signed access token."""
    from core.environment import read_one
    from core.setting_rules import SHORTEST_SECRET_BYTES
    from server.auth import LONGEST_SUBJECT, issue_token
    from server.commands.wrong_settings import told_if_wrong

    with told_if_wrong():
        secret = read_one(os.environ, "jwt_secret") or _secret_of_dev(state_dir)
    if len(secret.encode()) < SHORTEST_SECRET_BYTES:
        raise click.ClickException(f"JWT_SECRET is too short: servers want at least {SHORTEST_SECRET_BYTES} bytes")
    if not 0 < len(sub) <= LONGEST_SUBJECT:
        raise click.ClickException(f"--sub is 1 to {LONGEST_SUBJECT} characters")
    click.echo(
        issue_token(
            secret,
            subject=sub,
            username=username or sub,
            expires_s=expires,
            issuer=os.environ.get("JWT_ISSUER") or None,
            audience=os.environ.get("JWT_AUDIENCE") or None,
        )
    )


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
