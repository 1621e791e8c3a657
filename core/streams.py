"""Live prices: what is fetched for anybody, told to every stream that is open for the coin.

    with streams.open("user:ann", ["bitcoin"], ["usd"]) as stream:
        await streams.resume(stream, last_id)
        news = await stream.news()          # None once this instance is on its way out

Results are heard from the feed alone, so all instances hear the same ones in the same order: whoever knows the id of
the last price that it was told can go on after it, here or elsewhere. A stream that does not listen keeps one place a
coin and currency, for the latest price.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import msgspec
import trio

from core.batches import Result
from core.coordinator import Coordinator
from core.errors import RedisUnavailable, ShuttingDown, TooManyStreams
from core.prices import Price

# Prices that a client which comes back may have missed: 5 MB of them at most.
MOST_REMEMBERED = 10_000
# The id of a stream that was told nothing which others know of.
NOWHERE = "0"

_MOST_AT_ONCE = 100
_COINS_A_LOOK = 250
_LOOK_S = 1.0

_Pair = tuple[str, str]  # coin, currency


class Tick(msgspec.Struct, frozen=True, eq=False):
    """A price, and where it stands among all that were told; one that was at hand stands nowhere."""

    price: Price
    id: str | None

    @property
    def pair(self) -> _Pair:
        """What is priced, and in what."""
        return self.price.coin_id, self.price.vs_currency


class News(msgspec.Struct, frozen=True):
    """What a stream has to tell; after a reset some may be missing before it."""

    is_reset: bool
    ticks: Sequence[Tick]


class Stream:
    """One client's: the latest price of each pair that it was not told yet, in the order in which they came."""

    def __init__(self, coin_ids: Collection[str], vs_currencies: Collection[str], began_at: str) -> None:
        self.coin_ids = frozenset(coin_ids)
        self.vs_currencies = frozenset(vs_currencies)
        self.began_at = began_at  # the id of the price before its first
        self._untold: dict[_Pair, Tick] = {}
        self._at_hand: dict[_Pair, Price] = {}  # what was, while the feed may yet tell of it, or of what is older
        self._was_reset = False
        self._ended = False
        self._stirred = trio.Event()

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell, or the stream ends."""
        return self._stirred.is_set()

    async def news(self) -> News | None:
        """Wait for something to tell; None if the stream ends."""
        await self._stirred.wait()
        if self._ended:
            return None
        pairs = list(islice(self._untold, _MOST_AT_ONCE))
        news = News(self._was_reset, [self._untold.pop(pair) for pair in pairs])
        self._was_reset = False
        if not self._untold:
            self._stirred = trio.Event()
        return news

    def put(self, tick: Tick) -> None:
        """Take in a price, in the place of an older one."""
        if tick.price.coin_id not in self.coin_ids or tick.price.vs_currency not in self.vs_currencies:
            return
        if self._at_hand and self._was_at_hand(tick):
            return
        self._untold.pop(tick.pair, None)
        self._untold[tick.pair] = tick
        self._stirred.set()

    def reset(self) -> None:
        """Prices may have been missed."""
        self._untold.clear()
        self._at_hand.clear()
        self._was_reset = True
        self._stirred.set()

    def catch_up(self, prices: Iterable[Price]) -> None:
        """Take in, after a reset, what is at hand of pairs that nothing newer was heard of.

        It goes first: who has heard of what came since has heard of this too.
        """
        at_hand: dict[_Pair, Tick] = {}
        for price in prices:
            tick = Tick(price, None)
            if price.vs_currency in self.vs_currencies and tick.pair not in self._untold:
                at_hand[tick.pair] = tick
                self._at_hand[tick.pair] = price
        if at_hand:
            self._untold = at_hand | self._untold
            self._stirred.set()

    def end(self) -> None:
        """Have no more to tell."""
        self._ended = True
        self._stirred.set()

    def _was_at_hand(self, tick: Tick) -> bool:
        """Whether it is what was at hand, or older: results may have queued up while that was looked for."""
        at_hand = self._at_hand.get(tick.pair)
        if at_hand is None:
            return False
        is_newer = tick.price.fetched_at_ms > at_hand.fetched_at_ms
        if is_newer or tick.id == tick_id(at_hand):
            del self._at_hand[tick.pair]
        return not is_newer


class Streams:
    """The streams of this instance, by coin and by caller."""

    def __init__(self, coordinator: Coordinator, most_of_a_caller: int) -> None:
        self._coordinator = coordinator
        self._most_of_a_caller = most_of_a_caller
        self._recent: deque[Tick] = deque(maxlen=MOST_REMEMBERED)
        self._of_coin: dict[str, set[Stream]] = {}
        self._of_caller: Counter[str] = Counter()
        self._draining = False

    @property
    def latest_id(self) -> str:
        """The id of the latest price that was heard, of whatever coin."""
        return self._recent[-1].id or NOWHERE if self._recent else NOWHERE

    @property
    def count(self) -> int:
        """How many are open."""
        return self._of_caller.total()

    @contextmanager
    def open(self, caller: str, coin_ids: Collection[str], vs_currencies: Collection[str]) -> Iterator[Stream]:
        """A block in which a stream hears of each new price; raises TooManyStreams or ShuttingDown."""
        if self._draining:
            raise ShuttingDown
        if self._of_caller[caller] >= self._most_of_a_caller:
            raise TooManyStreams(self._most_of_a_caller)
        stream = Stream(coin_ids, vs_currencies, self.latest_id)
        self._of_caller[caller] += 1
        for coin_id in stream.coin_ids:
            self._of_coin.setdefault(coin_id, set()).add(stream)
        try:
            yield stream
        finally:
            self._forget(caller, stream)

    async def resume(self, stream: Stream, last_id: str) -> None:
        """Have a stream tell what came after the price of this id; or, if that is not known, reset it."""
        missed = self._since(last_id)
        if missed is None:
            stream.reset()
            await self._catch_up({stream})
            return
        for tick in missed:
            stream.put(tick)

    def hear_results(self, results: Sequence[Result]) -> None:
        """Batches were settled, here or elsewhere."""
        for result in results:
            for price in result.known_prices:
                tick = Tick(price, tick_id(price))
                self._recent.append(tick)
                for stream in self._of_coin.get(price.coin_id, ()):
                    stream.put(tick)

    async def look(self) -> None:
        """Reset every stream, since results may have been missed, and tell what is at hand."""
        self._recent.clear()
        streams = set[Stream]().union(*self._of_coin.values())
        for stream in streams:
            stream.reset()
        await self._catch_up(streams)

    def drain(self) -> None:
        """End every stream, and open no more."""
        self._draining = True
        for stream in set[Stream]().union(*self._of_coin.values()):
            stream.end()

    def _since(self, last_id: str) -> Iterable[Tick] | None:
        missed: list[Tick] = []
        for tick in reversed(self._recent):
            if tick.id == last_id:
                return reversed(missed)
            missed.append(tick)
        return None

    async def _catch_up(self, streams: Collection[Stream]) -> None:
        coin_ids = sorted(frozenset[str]().union(*(stream.coin_ids for stream in streams)))
        vs_currencies = sorted(frozenset[str]().union(*(stream.vs_currencies for stream in streams)))
        of_coin: dict[str, list[Price]] = {}
        try:
            with trio.move_on_after(_LOOK_S):
                for first in range(0, len(coin_ids), _COINS_A_LOOK):
                    some = coin_ids[first : first + _COINS_A_LOOK]
                    for price in await self._coordinator.latest(some, vs_currencies):
                        of_coin.setdefault(price.coin_id, []).append(price)
        except RedisUnavailable:
            return  # a reset says that prices may be missing; those to come are told all the same
        for stream in streams:
            stream.catch_up(price for coin_id in stream.coin_ids for price in of_coin.get(coin_id, ()))

    def _forget(self, caller: str, stream: Stream) -> None:
        self._of_caller[caller] -= 1
        if not self._of_caller[caller]:
            del self._of_caller[caller]
        for coin_id in stream.coin_ids:
            self._of_coin[coin_id].discard(stream)
            if not self._of_coin[coin_id]:
                del self._of_coin[coin_id]


def tick_id(price: Price) -> str:
    """The same on every instance, and of no other price: they are kept under the same key."""
    return f"{price.fetched_at_ms}-{price.batch_id}-{price.vs_currency}"
