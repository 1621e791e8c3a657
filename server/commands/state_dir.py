"""`--state-dir`, which means the same to every command that has it."""

from pathlib import Path

import click

state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".cryptopulse"),
    show_default=True,
    help="Where `cryptopulse dev` keeps everything.",
)
