"""What becomes known of a request while it is answered, for its line in the log and for its answer."""

from dataclasses import dataclass
from typing import cast

from core.limits import Charge
from server.http1.asgi import Scope

_KEY = "cryptopulse.notes"


@dataclass(slots=True)
class Notes:
    """Filled in by whoever learns it."""

    caller: str | None = None
    batch_id: str | None = None
    error: BaseException | None = None
    charge: Charge | None = None
    route: str = "other"  # its pattern, where it is one of ours


def notes_of(scope: Scope) -> Notes:
    """The notes on the request that `scope` describes."""
    notes = scope.get(_KEY)
    if notes is None:
        notes = scope[_KEY] = Notes()
    return cast("Notes", notes)
