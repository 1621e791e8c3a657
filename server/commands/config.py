"""`cryptopulse config`: whether the settings can be used, and which are in effect."""

# ruff: noqa: PLC0415 - `cryptopulse --help` should not wait for this

import json
import os
from typing import TYPE_CHECKING, Any

import click

from server.commands.simulate import MADE_UP
from server.commands.wrong_settings import WrongSettings, missing_of, told_if_wrong

if TYPE_CHECKING:
    from core.environment import Found
    from core.settings import Settings

_WHERE = (
    "set what is missing in the environment, as .env.example shows; "
    "a running dev has made up its own, with which `cryptopulse doctor` works"
)
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

    problems, missing = [], set()
    try:
        load_settings()
    except SettingsError as error:
        problems, missing = error.problems, missing_of(error)
    if as_json:
        click.echo(json.dumps({"ok": not problems, "problems": [asdict(problem) for problem in problems]}, indent=2))
    else:
        click.echo("\n".join(map(str, problems)) or "All settings can be used.")
    if missing:
        click.echo(_WHERE, err=True)
    if problems:
        raise SystemExit(1)


@config.command()
@_AS_JSON
def show(*, as_json: bool) -> None:
    """List all settings in effect, secrets masked, and where each comes from; exit status 2 if any is missing."""
    from core.shown_settings import shown

    with told_if_wrong():
        settings, found, missing = _known()
    rows: list[dict[str, Any]] = [
        {"name": name, "value": None, "from": "missing"}
        if name in missing
        else {"name": name, "value": value, "from": found.origins.get(name.lower(), "default")}
        for name, value in ((name.upper(), value) for name, value in shown(settings).items())
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        width = max(len(each["name"]) for each in rows)
        click.echo("\n".join(f"{row['name']:<{width}}  {_text(row['value'])}  ({row['from']})" for row in rows))
    if missing:
        raise WrongSettings(_WHERE)


def _known() -> "tuple[Settings, Found, set[str]]":
    """The settings, where they come from, and those for which something stands in, since they are missing."""
    from core.environment import SettingsError
    from core.settings import settings_found

    try:
        return *settings_found(os.environ), set()
    except SettingsError as error:
        missing = missing_of(error)
        if len(missing) < len(error.problems):
            raise
    return *settings_found({**os.environ, **{name: MADE_UP[name] for name in missing}}), missing


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
