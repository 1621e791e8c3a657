"""`cryptopulse doctor`: whether all that a server needs is there."""

# ruff: noqa: PLC0415 - `cryptopulse --help` should not wait for this

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.commands.state_dir import state_dir_option

if TYPE_CHECKING:
    from core.settings import Settings


@click.command()
@click.option("--upstream", is_flag=True, help="Ask CoinGecko too, when the budget has a call, which it may cost.")
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(state_dir: Path, *, upstream: bool, as_json: bool) -> None:
    """Look at Redis, Postgres and CoinGecko, and say what to do.

    Where neither REDIS_URL nor DATABASE_URL is set, those of a running dev are looked at.

    Exit status 0: all is well, warnings aside; 1: there is trouble; 2: settings are wrong.
    """
    from functools import partial

    import msgspec
    import trio

    from server.doctor import Finding, examine
    from server.logs import configure_logs

    settings, whose = _settings(state_dir)
    configure_logs("error")
    found = trio.run(partial(examine, settings, ask_upstream=upstream))
    findings = [Finding("Settings", "well", f"those of {whose}"), *found]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        for finding in findings:
            to_do = f": {finding.to_do}" if finding.to_do else ""
            click.echo(f"{finding.state:<8} {finding.about:<10} {finding.told}{to_do}")
    if any(finding.state == "trouble" for finding in findings):
        raise SystemExit(1)


def _settings(state_dir: Path) -> "tuple[Settings, str]":
    """The settings to look at, and whose they are."""
    from core.environment import FILE, without_files
    from core.settings import SECRETS, load_settings
    from server.commands.wrong_settings import told_if_wrong
    from server.local.state import StateError, StateFolder

    state = StateFolder(state_dir)
    urls = {"redis_url", "database_url"}
    where = [name for name, value in os.environ.items() if value and name.lower().removesuffix(FILE) in urls]
    try:
        running = state.running()
        if running is None or where:
            with told_if_wrong(_if_missing(state_dir, where, dev_runs=running is not None)):
                return load_settings(), "the environment"
        with told_if_wrong():
            given = {**state.secrets(), **without_files(os.environ, SECRETS), **running.settings}
            return load_settings(given), f"the dev that runs in {state.path}"
    except StateError as error:
        raise click.ClickException(str(error)) from None


def _if_missing(state_dir: Path, where: Sequence[str], *, dev_runs: bool) -> str:
    if not where:
        return f"no dev runs in {state_dir}: start one with `make dev`, or set these, as .env.example shows"
    if not dev_runs:
        return ""
    return (
        f"the environment was read, since it has {' and '.join(where)}: "
        f"`unset {' '.join(where)}` to look at the dev that runs in {state_dir}"
    )
