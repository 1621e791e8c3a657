"""A request for one coin that was admitted, and waits on this instance for its batch."""

from collections.abc import Callable

import trio

from core.batches import Quote, Result
from core.errors import (
    CryptoPulseError,
    OverBudget,
    ResultTimeout,
    Unavailable,
    UnlistedCurrency,
    UpstreamFailed,
    UpstreamLimited,
)
from core.freshness import AtHand, Latest
from core.prices import Price

# Where an older price may stand in, if the request allows one (RFC 5861, 4).
_TROUBLE = (UpstreamFailed, UpstreamLimited, OverBudget, ResultTimeout, Unavailable)


class Waiter:
    """One admitted request for a coin, and the quotes it will get; `tell` hears once when it is settled.

    Should the upstream fail, prices `at_hand` stand in for up to `stale_if_error_s` seconds after they were fetched.
    """

    def __init__(
        self,
        coin_id: str,
        deadline: float,
        tell: Callable[[], None],
        batch_id: str | None = None,
        at_hand: AtHand | None = None,
        stale_if_error_s: int = 0,
    ) -> None:
        self.batch_id = batch_id
        self.deadline = deadline  # on trio's clock
        self._coin_id = coin_id
        self._at_hand = at_hand or {}
        self._stale_if_error_s = stale_if_error_s
        self.admitted_at = trio.current_time()
        self._settled_at: float | None = None
        self._outcome: Result | AtHand | CryptoPulseError | None = None
        self._tell = tell

    def __lt__(self, other: "Waiter") -> bool:
        """Whether its deadline is earlier."""
        return self.deadline < other.deadline

    def settle(self, outcome: Result | AtHand | CryptoPulseError) -> None:
        """Hand over what the batch came to; only the first outcome counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._settled_at = trio.current_time()
            self._tell()

    @property
    def is_answered(self) -> bool:
        """Whether there are prices."""
        if isinstance(self._outcome, Result):
            return self._outcome.failure is None
        return isinstance(self._outcome, dict)

    @property
    def waited_s(self) -> float:
        """How long it took to come to an outcome, or has taken so far."""
        until = trio.current_time() if self._settled_at is None else self._settled_at
        return until - self.admitted_at

    def quote(self, vs_currency: str) -> Quote:
        """This request's quote in a currency that it asked for, once it is settled.

        Raises what the request is to be told: why there is no price, or none by the deadline.
        """
        try:
            return self._quote(vs_currency)
        except _TROUBLE:
            latest = self._stand_in(vs_currency)
            if latest is None:
                raise
            return self._quote_at_hand(vs_currency, latest)

    def _quote(self, vs_currency: str) -> Quote:
        match self._outcome:
            case Result() as result:
                return self._quote_from(result, vs_currency)
            case dict() as at_hand:
                return self._quote_at_hand(vs_currency, at_hand[vs_currency])
            case CryptoPulseError() as error:
                raise error.with_traceback(None)  # others may have raised it, and it would hold on to their frames
            case None:
                raise AssertionError("a waiter is asked before it is settled")

    def _quote_from(self, result: Result, vs_currency: str) -> Quote:
        return Quote(
            price=result.price_in(vs_currency),
            size=result.size,
            trigger=result.trigger,
            batch_ms=self.waited_s * 1000,
            upstream_ms=result.upstream_ms,
            age_s=int(result.upstream_ms // 1000),
            fresh_for_s=result.fresh_for_s,
        )

    def _quote_at_hand(self, vs_currency: str, latest: Latest) -> Quote:
        if latest.price is None:
            raise UnlistedCurrency(f"CoinGecko lists no price of '{self._coin_id}' in '{vs_currency}'.")
        return Quote(
            price=Price(latest.batch_id, self._coin_id, vs_currency, latest.price, latest.fetched_at_ms),
            size=latest.size,
            trigger="fresh",
            batch_ms=self.waited_s * 1000,
            upstream_ms=0,
            age_s=int(latest.age_s + self.waited_s),
            fresh_for_s=max(0, int(latest.fresh_for_s - self.waited_s)),
        )

    def _stand_in(self, vs_currency: str) -> Latest | None:
        latest = self._at_hand.get(vs_currency)
        return latest if latest and latest.age_s + self.waited_s <= self._stale_if_error_s else None
