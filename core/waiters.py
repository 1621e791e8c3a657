"""A request that was admitted and waits on this instance for its batch."""

import trio

from core.batches import Quote, Result
from core.errors import CryptoPulseError, ResultTimeout
from core.limits import Charge


class Waiter:
    """One admitted request: what it was charged, and the quote it will get."""

    def __init__(self, charge: Charge, batch_id: str | None, vs_currency: str, deadline: float) -> None:
        self.charge = charge
        self.batch_id = batch_id
        self._vs_currency = vs_currency
        self._admitted_at = trio.current_time()
        self._deadline = deadline  # on trio's clock
        self._outcome: Result | CryptoPulseError | None = None
        self._settled = trio.Event()

    def settle(self, outcome: Result | CryptoPulseError) -> None:
        """Hand over what the batch came to; only the first outcome counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._settled.set()

    @property
    def is_answered(self) -> bool:
        """Whether its batch came to prices."""
        return isinstance(self._outcome, Result) and self._outcome.failure is None

    async def quote(self) -> Quote:
        """Wait for the batch and return this request's quote.

        Raises what the request is to be told: ResultTimeout at its deadline, or why there is no price.
        """
        with trio.move_on_at(self._deadline):
            await self._settled.wait()
        if self._outcome is None:
            raise ResultTimeout("No price arrived in time. Try again.")
        if isinstance(self._outcome, CryptoPulseError):
            raise self._outcome
        return self._quote(self._outcome)

    def _quote(self, result: Result) -> Quote:
        return Quote(
            price=result.price_in(self._vs_currency),
            size=result.size,
            trigger=result.trigger,
            batch_ms=(trio.current_time() - self._admitted_at) * 1000,
            upstream_ms=result.upstream_ms,
        )
