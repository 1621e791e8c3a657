"""What becomes known of a request while it is answered, for its line in the log and for its answer."""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TypeVar, cast

from core.limits import Charge
from server.http1.asgi import Scope

_KEY = "cryptopulse.notes"

_HeldT = TypeVar("_HeldT")


@dataclass(slots=True)
class Notes:
    """Filled in by whoever learns it."""

    caller: str | None = None
    batch_id: str | None = None
    error: BaseException | None = None
    charge: Charge | None = None
    route: str = "other"  # its pattern, where it is one of ours
    _held: ExitStack | None = None

    def hold(self, block: AbstractContextManager[_HeldT]) -> _HeldT:
        """Enter a block that ends with the request, at the latest, however that ends."""
        if self._held is None:
            self._held = ExitStack()
        return self._held.enter_context(block)

    def release(self) -> None:
        """End the blocks that were entered; the request is over."""
        if self._held is not None:
            self._held.close()


def notes_of(scope: Scope) -> Notes:
    """The notes on the request that `scope` describes."""
    notes = scope.get(_KEY)
    if notes is None:
        notes = scope[_KEY] = Notes()
    return cast("Notes", notes)
