"""How old a price may be that answers a request, as the request itself says; and the prices that are at hand."""

from decimal import Decimal

import msgspec


class Freshness(msgspec.Struct, frozen=True):
    """What a request allows, in the words of HTTP's `Cache-Control` (RFC 9111, 5.2.1, and RFC 5861, 4); seconds.

    By default nothing: a price must be fetched after the request was admitted.
    """

    max_age_s: int | None = None  # 0: none but a fetched one, whatever the operator says
    stale_if_error_s: int | None = None  # when the upstream fails or cannot be asked in time
    only_if_cached: bool = False  # no fetch at all

    @property
    def is_silent(self) -> bool:
        """Whether it leaves the age of prices to the operator's UPSTREAM_HONOUR_CACHE."""
        return self.max_age_s is None


FETCH = Freshness()


class Latest(msgspec.Struct, frozen=True):
    """The latest known price of a coin in one currency, and the flush that brought it."""

    batch_id: str
    size: int
    price: Decimal | None  # None: CoinGecko lists none
    fetched_at_ms: int  # unix time, by Redis' clock
    age_s: float  # since then
    fresh_for_s: float  # how long it may yet be taken for the current one, as CoinGecko says


AtHand = dict[str, Latest]  # {vs_currency: its latest price}
