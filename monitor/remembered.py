"""What was chosen, from one run to the next: the tab, and the order of each table. Never anything that was heard.

chosen = load(path); save(path, chosen)         # a file that is broken or cannot be written harms nothing
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from monitor.widgets.arrange import Sort

_MOST_BYTES = 100_000


class Chosen(msgspec.Struct, frozen=True):
    """What a reader chose."""

    tab: str = ""
    sorts: dict[str, Sort] = {}


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """$XDG_STATE_HOME, or ~/.local/state."""
    told = environment.get("XDG_STATE_HOME", "")
    # The specification of XDG: a path that is not absolute is no path.
    home = Path(told) if told.startswith("/") else Path(environment.get("HOME") or "~").expanduser() / ".local/state"
    return home / "cryptopulse" / "monitor.json"


def load(path: Path) -> Chosen:
    """What was chosen last; nothing, where that cannot be read."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MOST_BYTES), type=Chosen)
    except (OSError, ValueError, msgspec.MsgspecError):
        return Chosen()


def save(path: Path, chosen: Chosen) -> None:
    """Keep it, whole or not at all; in place of a file, but never of a device or a pipe."""
    if path.exists() and not path.is_file():
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(chosen)))
        new.replace(path)
