"""Which coins were asked for lately, how often, and their last two prices; bounded, whatever is asked for.

Times come as the number of a bucket: how many times BUCKET_S seconds have gone by.
"""

from collections import OrderedDict
from itertools import islice

from core.batches import Result
from core.events import BUCKETS, MOST_COINS, CoinView

# Of each coin as many buckets as make a minute.
COIN_BUCKETS = BUCKETS // 5
# More than monitors are told, so that they can be told how many there are. Some 400 bytes a coin.
_MOST_KEPT = 10 * MOST_COINS


class _Coin:
    """One coin; its counts are a ring that ends at the bucket in which it was last asked for."""

    __slots__ = ("before", "counts", "fetched_at_ms", "number", "price", "vs_currency")

    def __init__(self, number: int) -> None:
        self.counts = [0] * COIN_BUCKETS
        self.number = number
        self.vs_currency = self.price = self.before = ""
        self.fetched_at_ms = 0

    def turn(self, number: int) -> None:
        """Come to a later bucket; those in between were empty."""
        for empty in range(max(self.number, number - COIN_BUCKETS) + 1, number + 1):
            self.counts[empty % COIN_BUCKETS] = 0
        self.number = number

    def requests(self, number: int) -> list[int]:
        """The counts as of a bucket, the newest last."""
        oldest = (self.number + 1) % COIN_BUCKETS
        age = min(number - self.number, COIN_BUCKETS)
        return [*self.counts[oldest:], *self.counts[:oldest]][age:] + [0] * age


class CoinTally:
    """The coins that requests here asked for; those of the latest bucket at the end."""

    def __init__(self) -> None:
        self._coins: OrderedDict[str, _Coin] = OrderedDict()

    def note(self, coin_id: str, number: int) -> None:
        """A coin was asked for."""
        coin = self._coins.get(coin_id)
        if coin is None:
            coin = self._take_in(coin_id, number)
        elif coin.number != number:
            self._coins.move_to_end(coin_id)
            coin.turn(number)
        coin.counts[number % COIN_BUCKETS] += 1

    def hear(self, result: Result) -> None:
        """A batch was settled, here or elsewhere; the same may be heard several times."""
        coin = self._coins.get(result.coin_id)
        if coin is None or result.fetched_at_ms <= coin.fetched_at_ms:
            return
        prices = {code: price for code, price in result.prices.items() if price is not None}
        if not prices:
            return
        vs_currency = "usd" if "usd" in prices else next(iter(prices))
        coin.before = coin.price if coin.vs_currency == vs_currency else ""
        coin.vs_currency, coin.price = vs_currency, format(prices[vs_currency], "f")
        coin.fetched_at_ms = result.fetched_at_ms

    def __len__(self) -> int:
        return len(self._coins)

    def views(self, number: int) -> list[CoinView]:
        """What monitors see of those asked for last, the most asked for first."""
        self._forget(number - BUCKETS)
        latest = islice(reversed(self._coins.items()), MOST_COINS)
        views = [_view(coin_id, coin, number) for coin_id, coin in latest]
        return sorted(views, key=lambda view: sum(view.requests), reverse=True)

    def _take_in(self, coin_id: str, number: int) -> _Coin:
        coin = self._coins[coin_id] = _Coin(number)
        if len(self._coins) > _MOST_KEPT:
            self._coins.popitem(last=False)
        return coin

    def _forget(self, number: int) -> None:
        while self._coins and next(iter(self._coins.values())).number <= number:
            self._coins.popitem(last=False)


def _view(coin_id: str, coin: _Coin, number: int) -> CoinView:
    return CoinView(coin_id, coin.requests(number), coin.vs_currency, coin.price, coin.before, coin.fetched_at_ms)
