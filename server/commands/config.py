"""`cryptopulse config`: whether the settings can be used, and which are in effect."""

# ruff: noqa: PLC0415 - `cryptopulse --help` should not wait for this

import json
import os
from typing import Any

import click

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
def config() -> None:
    """Check and show the settings of the environment."""


@config.command()
@_AS_JSON
def check(*, as_json: bool) -> None:
    """Say what is wrong with each setting; exit status 1 if anything is."""
    from dataclasses import asdict

    from core.environment import SettingsError
    from core.settings import load_settings

    problems = []
    try:
        load_settings()
    except SettingsError as error:
        problems = error.problems
    if as_json:
        click.echo(json.dumps({"ok": not problems, "problems": [asdict(problem) for problem in problems]}, indent=2))
    else:
        click.echo("\n".join(map(str, problems)) or "All settings can be used.")
    if problems:
        raise SystemExit(1)


@config.command()
@_AS_JSON
def show(*, as_json: bool) -> None:
    """List all settings in effect, secrets masked, and where each comes from."""
    from core.settings import settings_found
    from core.shown_settings import shown
    from server.commands.wrong_settings import told_if_wrong

    with told_if_wrong():
        settings, found = settings_found(os.environ)
    rows: list[dict[str, Any]] = [
        {"name": name.upper(), "value": value, "from": found.origins.get(name, "default")}
        for name, value in shown(settings).items()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']:<{max(len(each['name']) for each in rows)}}  {_text(row['value'])}  ({row['from']})")


def _text(value: object) -> str:
    match value:
        case None | []:
            return "-"
        case bool():
            return str(value).lower()
        case list():
            return ",".join(map(str, value))
        case _:
            return str(value)
