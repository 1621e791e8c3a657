"""Streams hear each new price of their coins once, in order, and know when some may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from core.batches import Failure, Result
from core.coordinator import Coordinator
from core.errors import RedisUnavailable, ShuttingDown, TooManyStreams
from core.prices import Price
from core.streams import NOWHERE, Stream, Streams, tick_id

AT_MS = 1_772_250_900_000
BITCOIN = ["bitcoin"]
USD = ["usd"]


@dataclass
class Kept:
    """What Redis has at hand."""

    prices: list[Price] = field(default_factory=list)
    asked: list[tuple[Sequence[str], Sequence[str]]] = field(default_factory=list)
    refusal: Exception | None = None
    silent: bool = False

    async def latest(self, coin_ids: Sequence[str], vs_currencies: Sequence[str]) -> list[Price]:
        await trio.lowlevel.checkpoint()
        self.asked.append((coin_ids, vs_currencies))
        if self.silent:
            await trio.sleep_forever()
        if self.refusal is not None:
            raise self.refusal
        return self.prices


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def streams(kept: Kept) -> Streams:
    return Streams(cast("Coordinator", kept), most_of_a_caller=2)


def price(number: int, coin_id: str = "bitcoin", vs_currency: str = "usd") -> Price:
    return Price(f"{number:032x}", coin_id, vs_currency, Decimal(number), AT_MS + number)


def result(number: int, coin_id: str = "bitcoin", *vs_currencies: str) -> Result:
    prices: dict[str, Decimal | None] = {code: Decimal(number) for code in vs_currencies or USD}
    return Result(f"{number:032x}", coin_id, "window", 1, AT_MS + number, 1.0, prices=prices)


async def told(stream: Stream) -> list[str]:
    """What there is to tell, at once: coins with their prices, behind 'reset' if it says so."""
    with trio.fail_after(1):
        news = await stream.news()
    assert news is not None
    ticks = [f"{tick.price.coin_id} {tick.price.vs_currency} {tick.price.price}" for tick in news.ticks]
    return ["reset"] * news.is_reset + ticks


async def is_silent(stream: Stream) -> bool:
    """Whether it has nothing to tell, and whoever waits for it goes on waiting."""
    with trio.CancelScope() as waiting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.news)
            await wait_all_tasks_blocked()
            if nursery.child_tasks:
                waiting.cancel()
    return waiting.cancelled_caught


async def test_each_new_price_of_its_coins_and_currencies_is_told_and_no_other(streams: Streams) -> None:
    with streams.open("ann", ["bitcoin", "ethereum"], ["usd", "eur"]) as stream:
        assert await is_silent(stream)
        streams.hear_results([result(1), result(2, "dogecoin"), result(3, "ethereum", "eur", "gbp")])
        assert await told(stream) == ["bitcoin usd 1", "ethereum eur 3"]
        streams.hear_results([result(4)])
        assert await told(stream) == ["bitcoin usd 4"]
        assert await is_silent(stream)


async def test_what_came_to_no_price_is_not_told(streams: Streams) -> None:
    with streams.open("ann", BITCOIN, USD) as stream:
        failed = Result("f", "bitcoin", "window", 1, AT_MS, 1.0, failure=Failure("upstream_failed", "It failed."))
        unread = Result("u", "bitcoin", "window", 1, AT_MS, 1.0, prices={"usd": None})
        streams.hear_results([failed, unread])
        assert await is_silent(stream)


async def test_who_does_not_listen_is_told_only_the_latest_price_of_each_pair(streams: Streams) -> None:
    with streams.open("ann", ["bitcoin", "ethereum"], USD) as stream:
        streams.hear_results([result(1), result(2, "ethereum")])
        for number in range(3, 1000):
            streams.hear_results([result(number)])
        assert len(stream._untold) == 2
        assert await told(stream) == ["ethereum usd 2", "bitcoin usd 999"]


async def test_much_news_is_told_in_parts_so_that_what_is_not_sent_yet_may_still_be_overtaken(streams: Streams) -> None:
    coin_ids = [f"coin-{number}" for number in range(250)]
    with streams.open("ann", coin_ids, USD) as stream:
        streams.hear_results([result(1, coin_id) for coin_id in coin_ids])
        assert [len(await told(stream)) for _ in range(2)] == [100, 100]
        streams.hear_results([result(2, "coin-249")])
        assert (await told(stream))[-2:] == ["coin-248 usd 1", "coin-249 usd 2"]
        assert await is_silent(stream)


async def test_whoever_knows_the_last_id_is_told_what_came_since_whichever_instance_it_asks(kept: Kept) -> None:
    here, there = (Streams(cast("Coordinator", kept), most_of_a_caller=2) for _ in range(2))
    for each in (here, there):
        for number in range(1, 5):
            each.hear_results([result(number, "bitcoin" if number % 2 else "ethereum")])
    with here.open("ann", ["bitcoin", "ethereum"], USD) as stream:
        await here.resume(stream, tick_id(price(1)))
        assert await told(stream) == ["bitcoin usd 3", "ethereum usd 4"]
    with there.open("ann", BITCOIN, USD) as stream:
        await there.resume(stream, tick_id(price(1)))
        assert await told(stream) == ["bitcoin usd 3"]
        await there.resume(stream, tick_id(price(4, "ethereum")))
        assert await is_silent(stream)
    assert kept.asked == []


async def test_news_that_come_while_a_stream_is_resumed_are_told_once_and_in_their_order(streams: Streams) -> None:
    for number, coin_id in enumerate(["bitcoin", "ethereum"]):
        streams.hear_results([result(number, coin_id)])
    with streams.open("ann", ["bitcoin", "ethereum", "dogecoin"], USD) as stream:
        streams.hear_results([result(2, "dogecoin")])
        await streams.resume(stream, tick_id(price(0)))
        assert await told(stream) == ["ethereum usd 1", "dogecoin usd 2"]


async def test_a_new_stream_knows_the_price_before_its_first(streams: Streams) -> None:
    with streams.open("ann", BITCOIN, USD) as stream:
        assert (stream.began_at, streams.latest_id) == (NOWHERE, NOWHERE)
    streams.hear_results([result(1, "ethereum", "eur")])
    with streams.open("ann", BITCOIN, USD) as stream:
        assert stream.began_at == streams.latest_id == tick_id(price(1, "ethereum", "eur"))


@pytest.mark.parametrize("last_id", [NOWHERE, "of another world", tick_id(price(9))])
async def test_whoever_asks_to_go_on_where_nobody_knows_is_reset_and_told_what_is_at_hand(
    streams: Streams, kept: Kept, last_id: str
) -> None:
    kept.prices = [price(7), price(8, vs_currency="eur")]
    with streams.open("ann", BITCOIN, USD) as stream:
        await streams.resume(stream, last_id)
        assert await told(stream) == ["reset", "bitcoin usd 7"]
        assert await is_silent(stream)
    assert kept.asked == [(BITCOIN, USD)]


async def test_what_was_forgotten_is_no_place_to_go_on(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.streams.MOST_REMEMBERED", 2)
    streams = Streams(cast("Coordinator", Kept()), most_of_a_caller=2)
    streams.hear_results([result(number) for number in (1, 2, 3)])
    with streams.open("ann", BITCOIN, USD) as one, streams.open("ann", BITCOIN, USD) as other:
        await streams.resume(one, tick_id(price(1)))
        assert await told(one) == ["reset"]
        await streams.resume(other, tick_id(price(2)))
        assert await told(other) == ["bitcoin usd 3"]


async def test_when_results_may_have_been_missed_all_are_reset_and_told_what_is_at_hand(
    streams: Streams, kept: Kept
) -> None:
    kept.prices = [price(5), price(6, "ethereum", "eur")]
    streams.hear_results([result(1)])
    with streams.open("ann", BITCOIN, USD) as ann, streams.open("bob", ["ethereum"], ["eur"]) as bob:
        streams.hear_results([result(2)])
        await streams.look()
        assert await told(ann) == ["reset", "bitcoin usd 5"]
        assert await told(bob) == ["reset", "ethereum eur 6"]
        assert streams.latest_id == NOWHERE
        await streams.resume(ann, tick_id(price(1)))
        assert (await told(ann))[0] == "reset"
    assert kept.asked[0] == (["bitcoin", "ethereum"], ["eur", "usd"])


async def test_what_was_at_hand_is_not_told_again_when_the_feed_tells_it(streams: Streams, kept: Kept) -> None:
    kept.prices = [price(5)]
    with streams.open("ann", BITCOIN, USD) as stream:
        await streams.look()
        assert await told(stream) == ["reset", "bitcoin usd 5"]
        streams.hear_results([result(5)])
        assert await is_silent(stream)
        streams.hear_results([result(6)])
        assert await told(stream) == ["bitcoin usd 6"]


async def test_what_is_older_than_what_was_at_hand_is_not_told_after_it(streams: Streams, kept: Kept) -> None:
    kept.prices = [price(5)]
    with streams.open("ann", BITCOIN, USD) as stream:
        await streams.look()
        assert await told(stream) == ["reset", "bitcoin usd 5"]
        streams.hear_results([result(4)])
        assert await is_silent(stream)
        streams.hear_results([result(5)])
        assert await is_silent(stream)
        streams.hear_results([result(6)])
        assert await told(stream) == ["bitcoin usd 6"]


async def test_what_was_at_hand_is_forgotten_once_the_feed_tells_of_it_or_of_what_is_newer(
    streams: Streams, kept: Kept
) -> None:
    kept.prices = [price(5), price(5, "ethereum")]
    with streams.open("ann", ["bitcoin", "ethereum"], USD) as stream:
        await streams.look()
        streams.hear_results([result(5), result(6, "ethereum")])
        assert stream._at_hand == {}


async def test_what_is_at_hand_goes_before_newer_prices_and_takes_no_place_of_theirs(
    streams: Streams, kept: Kept
) -> None:
    kept.prices = [price(5), price(6, "ethereum")]
    with streams.open("ann", ["bitcoin", "ethereum"], USD) as stream:
        stream.reset()
        streams.hear_results([result(7)])
        stream.catch_up(kept.prices)
        assert await told(stream) == ["reset", "ethereum usd 6", "bitcoin usd 7"]


async def test_of_many_coins_some_are_looked_up_at_a_time(streams: Streams, kept: Kept) -> None:
    with streams.open("ann", [f"a-{number}" for number in range(250)], USD), streams.open("bob", BITCOIN, USD):
        await streams.look()
    assert [len(coin_ids) for coin_ids, _ in kept.asked] == [250, 1]


async def test_without_redis_a_reset_is_told_all_the_same(streams: Streams, kept: Kept) -> None:
    kept.refusal = RedisUnavailable()
    with streams.open("ann", BITCOIN, USD) as stream:
        await streams.look()
        assert await told(stream) == ["reset"]


async def test_a_redis_that_says_nothing_holds_the_feed_up_for_a_second(
    streams: Streams, kept: Kept, autojump_clock: MockClock
) -> None:
    kept.silent = True
    with streams.open("ann", BITCOIN, USD) as stream:
        await streams.look()
        assert trio.current_time() == 1
        assert await told(stream) == ["reset"]


async def test_a_caller_has_so_many_streams_until_one_ends(streams: Streams) -> None:
    with streams.open("ann", BITCOIN, USD), streams.open("bob", BITCOIN, USD):
        with streams.open("ann", BITCOIN, USD):
            with pytest.raises(TooManyStreams) as refused, streams.open("ann", BITCOIN, USD):
                pass
            assert (refused.value.status, refused.value.retry_after_s) == (429, 10)
        with streams.open("ann", BITCOIN, USD):
            pass
    assert (streams._of_caller, streams._of_coin) == ({}, {})


async def test_a_stream_that_is_over_hears_no_more(streams: Streams) -> None:
    with streams.open("ann", BITCOIN, USD) as over, streams.open("ann", BITCOIN, USD) as stream:
        pass
    with streams.open("ann", BITCOIN, USD) as stream:
        streams.hear_results([result(1)])
        assert await told(stream) == ["bitcoin usd 1"]
    assert await is_silent(over)


async def test_a_drain_ends_all_at_once_and_opens_no_more(streams: Streams) -> None:
    with streams.open("ann", BITCOIN, USD) as stream:
        streams.hear_results([result(1)])
        streams.drain()
        assert await stream.news() is None
        with pytest.raises(ShuttingDown), streams.open("ann", BITCOIN, USD):
            pass
