"""Where settings come from: environment variables, and files that environment variables name.

    found = read(os.environ, names={"port", "jwt_secret"}, secrets={"jwt_secret"})
    found.values        # {"port": "3000", "jwt_secret": "…"}
    found.origins       # {"port": "environment", "jwt_secret": "file"}
    found.problems      # of both at once, and of files that cannot be read

A secret may be in a file, of which `JWT_SECRET_FILE` tells: what is in the environment is seen by more than it should.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

FILE = "_file"
_LONGEST = 65_536

Origin = Literal["default", "environment", "file"]


class SettingsError(Exception):
    """The environment holds values that cannot be used; str() is one line a variable."""

    def __init__(self, problems: Collection["Problem"]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a variable, and what is allowed, if it is not just anything; never the value of a secret."""

    name: str
    wrong: str
    allowed: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.wrong}" + (f"; allowed: {self.allowed}" if self.allowed else "")


@dataclass(frozen=True)
class Found:
    """What is given, by the names of settings, in small letters."""

    values: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(environment: Mapping[str, str], names: Collection[str], secrets: Collection[str]) -> Found:
    """Look for these settings; what is set to nothing is not set, and names may be in any case."""
    given = {name.lower(): value for name, value in environment.items() if value}
    found = Found()
    for name in names:
        path = given.get(name + FILE) if name in secrets else None
        if name in given and path is not None:
            found.problems.append(Problem(name.upper(), "given, and so is its file", f"one of it and {_file_of(name)}"))
        elif path is not None:
            _read_file(name, path, found)
        elif name in given:
            found.values[name], found.origins[name] = given[name], "environment"
    return found


def read_one(environment: Mapping[str, str], name: str) -> str | None:
    """A single secret, for a command that needs no other setting; raises SettingsError if its file is no good."""
    found = read(environment, [name], [name])
    if found.problems:
        raise SettingsError(found.problems)
    return found.values.get(name)


def without_files(environment: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """The same environment with secrets in place of the names of their files; raises SettingsError."""
    found = read(environment, secrets, secrets)
    if found.problems:
        raise SettingsError(found.problems)
    files = {name + FILE for name in secrets}
    rest = {name: value for name, value in environment.items() if name.lower() not in files}
    return rest | {name.upper(): value for name, value in found.values.items() if found.origins[name] == "file"}


def _read_file(name: str, path: str, found: Found) -> None:
    # The path is not told either: it may be a secret that was put into the wrong variable.
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            text = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        found.problems.append(Problem(_file_of(name), f"names what cannot be read ({reason})", "the path of a file"))
        return
    try:
        value = text.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        value = ""
    if value and len(text) <= _LONGEST:
        found.values[name], found.origins[name] = value, "file"
    else:
        found.problems.append(
            Problem(_file_of(name), "names a file that holds no such thing", f"a text of up to {_LONGEST} bytes")
        )


def _open_at_once(path: str, flags: int) -> int:
    # A pipe that nobody writes to is empty; only to open it would wait for ever.
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    # One that somebody does write to may be slow to tell its secret.
    os.set_blocking(descriptor, True)
    return descriptor


def _file_of(name: str) -> str:
    return (name + FILE).upper()
