"""What becomes known of a request while it is answered, for its line in the log."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, cast

Scope = MutableMapping[str, Any]  # of ASGI

_KEY = "cryptopulse.notes"


@dataclass(slots=True)
class Notes:
    """Filled in by whoever learns it."""

    caller: str | None = None
    batch_id: str | None = None
    error: BaseException | None = None


def notes_of(scope: object) -> Notes:
    """The notes on the request that `scope` describes."""
    return cast("Notes", cast("Scope", scope).setdefault(_KEY, Notes()))
