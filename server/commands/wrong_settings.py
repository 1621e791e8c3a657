"""How commands tell of settings that cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import click


class WrongSettings(click.ClickException):
    """The environment holds what cannot be used: one line a variable, exit status 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        """Write the lines, and nothing around them."""
        click.echo(self.message, file=file, err=True)


@contextmanager
def told_if_wrong() -> Iterator[None]:
    """A block in which SettingsError ends the command."""
    from core.environment import SettingsError  # noqa: PLC0415 - only for who reads settings

    try:
        yield
    except SettingsError as error:
        raise WrongSettings(str(error)) from None
