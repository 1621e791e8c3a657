"""Who is measured: our server, and whatever is to stand beside it.

    peer("nest=node /somewhere/dist/main.js")

A peer is any server with the contract: docs/benchmarks.md has it.
"""

import shlex
import sys
from collections.abc import Sequence

import click
import msgspec

_CRYPTOPULSE = (sys.executable, "-P", "-m", "cryptopulse")


class Contestant(msgspec.Struct, frozen=True):
    """A server by its command line; `prepare` is run before, in the same environment."""

    name: str
    command: Sequence[str]
    prepare: Sequence[str] | None = None


OURS = Contestant("cryptopulse", (*_CRYPTOPULSE, "serve"), (*_CRYPTOPULSE, "migrate"))


def peer(text: str) -> Contestant:
    """Read NAME=COMMAND, or raise ValueError."""
    name, equals, command = text.partition("=")
    words = shlex.split(command)
    if not equals or not name.isidentifier() or not words or name == OURS.name:
        raise ValueError(f"{text!r} is not NAME=COMMAND, such as other='node main.js'")
    return Contestant(name, tuple(words))


def _peers(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> list[Contestant]:
    try:
        return [OURS, *map(peer, texts)]
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


PEERS = click.option(
    "--peer",
    "contestants",
    multiple=True,
    metavar="NAME=COMMAND",
    callback=_peers,
    help="A server to stand beside ours.",
)
