"""One request for the prices of coins, from when it is asked to what came of each coin.

No task waits for it: whoever asks may be told when it is over. Whoever would rather wait, does.

    with desk.ask([Wanted("bitcoin", ("usd",))], caller="user:ann") as request:
        await request.over()
        quote = request.admitted()[0].quote("usd")
"""

from collections.abc import Callable, Sequence
from typing import Self

import trio

from core.admissions import Ask
from core.bell import Bell
from core.limits import Charge
from core.waiters import Waiter


class PriceRequest:
    """What was asked, who waits for it, and why not where nobody does; leaving its block gives it up."""

    __slots__ = ("_bell", "_let_go", "_refusal", "_tell", "_unsettled", "ask", "asked_at", "charge", "left", "waiters")

    def __init__(
        self, ask: Ask, let_go: "Callable[[PriceRequest], None]", tell: Callable[[], None] | None = None
    ) -> None:
        """`let_go` hears when it was left; `tell` when it is over, amid the settling of windows: it must not raise."""
        self.ask = ask
        self.asked_at = trio.current_time()
        self.charge: Charge | None = None  # as it stands, once it is known
        self.waiters: Sequence[Waiter] = ()  # one for each coin, in the order asked, as soon as it was let in
        self.left = False
        self._let_go = let_go
        self._bell = Bell()
        self._tell = tell or self._bell.ring
        self._refusal: Exception | None = None
        self._unsettled = len(ask.wanted) + 1  # coins, and the admission

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    @property
    def is_over(self) -> bool:
        """Whether it is known what came of every coin."""
        return not self._unsettled

    def admitted(self) -> Sequence[Waiter]:
        """Who waits, or raise why nobody does."""
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)  # others may have raised it, and it would hold on to their frames
        return self.waiters

    async def over(self) -> None:
        """Wait until it is over, unless another is told."""
        if not self.is_over:
            await self._bell.wait()

    def admit(self, charge: Charge, waiters: Sequence[Waiter]) -> None:
        """Hear that it was let in, and who waits for each coin."""
        self.charge = charge
        self.waiters = waiters
        self.settle_one()

    def refuse(self, refusal: Exception) -> None:
        """Hear that it was not let in."""
        self._refusal = refusal
        self._unsettled = 0
        self._tell()

    def settle_one(self) -> None:
        """Hear that it is known what came of one more coin."""
        self._unsettled -= 1
        if not self._unsettled:
            self._tell()

    def leave(self) -> None:
        """Give it up, if it still goes on; to be done at its end, too."""
        if not self.left:
            self.left = True
            self._tell = _nothing  # here and below: whoever holds this request is let go, or is searched for as garbage
            self._let_go(self)
            self.waiters = ()


def _nothing() -> None: ...
