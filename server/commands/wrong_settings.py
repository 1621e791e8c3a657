"""How commands tell of settings that cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from core.environment import SettingsError

NOT_GIVEN = "not given; it is required"


class WrongSettings(click.ClickException):
    """The environment holds what cannot be used: one line a variable, exit status 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        """Write the lines, and nothing around them."""
        click.echo(self.message, file=file, err=True)


@contextmanager
def told_if_wrong(if_missing: str = "") -> Iterator[None]:
    """A block in which SettingsError ends the command; `if_missing` is said where a required one is not given."""
    from core.environment import SettingsError  # noqa: PLC0415 - only for who reads settings

    try:
        yield
    except SettingsError as error:
        lines = [str(error), *([if_missing] if if_missing and missing_of(error) else [])]
        raise WrongSettings("\n".join(lines)) from None


def missing_of(error: "SettingsError") -> set[str]:
    """The names of those that are required and not given."""
    return {problem.name for problem in error.problems if problem.wrong == NOT_GIVEN}
