"""How old a price may be that answers a request, in virtual time: as the client says, and as the operator does."""

from collections.abc import Collection, Sequence

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from core.batches import Quote, Wanted
from core.coingecko import Fetched
from core.errors import (
    CryptoPulseError,
    NotAtHand,
    OverBudget,
    RedisUnavailable,
    ResultTimeout,
    UnknownCoin,
    UnlistedCurrency,
    UpstreamFailed,
    UpstreamLimited,
)
from core.freshness import FETCH, Freshness
from core.limits import OverLimit
from core.price_desk import PriceDesk
from core.waiters import Waiter
from tests.core.model import START_MS, Fleet, ModelUpstream, settings_for_tests

Answer = Quote | CryptoPulseError


class WithoutEuro(ModelUpstream):
    """An upstream that lists no coin in euro."""

    async def fetch(
        self, coin_ids: Collection[str], vs_currencies: Collection[str], *, start_by: float = float("inf")
    ) -> Fetched:
        fetched = await super().fetch(coin_ids, vs_currencies, start_by=start_by)
        listed = {
            coin: {code: price for code, price in of_coin.items() if code != "eur"}
            for coin, of_coin in fetched.prices.items()
        }
        return replace(fetched, prices=listed)


class Client:
    """Asks, and remembers what is left of its limit; -1 where nothing was charged."""

    def __init__(self, desk: PriceDesk) -> None:
        self.desk = desk
        self.remaining = 20

    async def ask(self, freshness: Freshness = FETCH, coin: str = "bitcoin", code: str = "usd") -> Answer:
        return (await self.ask_all([coin], freshness, code))[0]

    async def ask_all(self, coins: Sequence[str], freshness: Freshness = FETCH, *codes: str) -> list[Answer]:
        """The answer for each coin, in the last of the currencies."""
        codes = codes or ("usd",)
        wanted = [Wanted(coin, codes) for coin in coins]
        with self.desk.ask(wanted, caller="user:a", freshness=freshness) as request:
            await request.over()
            self.remaining = request.charge.remaining if request.charge else -1
            return [answer_of(waiter, codes[-1]) for waiter in request.admitted()]


def answer_of(waiter: Waiter, code: str) -> Answer:
    try:
        return waiter.quote(code)
    except CryptoPulseError as error:
        return error


def kind(answer: Answer) -> str:
    """Whether a price was `fresh` or `fetched`, or which error came instead."""
    if isinstance(answer, CryptoPulseError):
        return type(answer).__name__
    return "fresh" if answer.trigger == "fresh" else "fetched"


def number(answer: Answer) -> int:
    """Which call the price is of."""
    assert isinstance(answer, Quote), answer
    return int(answer.price.price)


# Batches that are full with one request, so that a fetch takes 0.1 s and nothing else.
@pytest.fixture
async def fleet(nursery: trio.Nursery) -> Fleet:
    return Fleet(nursery, settings_for_tests(batch_threshold=1))


@pytest.fixture
async def client(fleet: Fleet) -> Client:
    return Client(await fleet.start_instance("a"))


# What the client allows


async def test_a_price_at_hand_that_is_young_enough_answers_at_once_and_tells_its_age(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    other = Client(await fleet.start_instance("b"))
    fetched = await client.ask()
    await trio.sleep_until(10)
    fresh = await other.ask(Freshness(max_age_s=10))

    assert isinstance(fresh, Quote)
    assert isinstance(fetched, Quote)
    assert trio.current_time() == 10
    assert fresh.price == fetched.price
    assert fresh.price.fetched_at_ms == START_MS
    assert (fresh.trigger, fresh.age_s, fresh.size, fresh.upstream_ms) == ("fresh", 10, 1, 0)
    assert other.remaining == 18
    assert len(fleet.upstream.calls) == 1
    assert fleet.instances["b"].tally.totals.answered == 1


async def test_a_price_at_hand_that_is_too_old_is_fetched_anew(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    await trio.sleep_until(10.001)
    assert number(await client.ask(Freshness(max_age_s=10))) == 2
    assert trio.current_time() == pytest.approx(10.101)


async def test_a_currency_that_is_not_at_hand_is_fetched(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    assert kind(await client.ask(Freshness(max_age_s=60), code="eur")) == "fetched"
    assert fleet.upstream.calls[-1][1:] == ({"bitcoin"}, {"eur"})


async def test_of_two_currencies_one_that_is_not_at_hand_has_both_fetched(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    [both] = await client.ask_all(["bitcoin"], Freshness(max_age_s=60), "eur", "usd")
    assert number(both) == 2
    assert fleet.upstream.calls[-1][1:] == ({"bitcoin"}, {"usd", "eur"})


async def test_prices_at_hand_may_come_of_several_calls(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask(code="usd")
    await trio.sleep(5)
    await client.ask(code="eur")
    with client.desk.ask(
        [Wanted("bitcoin", ("usd", "eur"))], caller="user:a", freshness=Freshness(max_age_s=60)
    ) as request:
        await request.over()
        answers = [answer_of(request.admitted()[0], code) for code in ("usd", "eur")]
    assert [number(answer) for answer in answers] == [1, 2]


async def test_that_a_currency_is_not_listed_is_at_hand_too(autojump_clock: MockClock, fleet: Fleet) -> None:
    fleet.upstream = WithoutEuro()
    client = Client(await fleet.start_instance("a"))
    assert isinstance(await client.ask(code="eur"), UnlistedCurrency)
    await trio.sleep_until(60)
    assert isinstance(await client.ask(Freshness(max_age_s=60), code="eur"), UnlistedCurrency)
    assert trio.current_time() == 60
    assert len(fleet.upstream.calls) == 1


async def test_a_client_that_says_nothing_gets_a_price_that_was_fetched_after_it_asked(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    fleet.upstream.fresh_for_s = 30
    assert [number(await client.ask()) for _ in range(3)] == [1, 2, 3]


async def test_a_request_that_allows_no_call_gets_the_price_at_hand_or_none(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    at_most = Freshness(max_age_s=10, only_if_cached=True)
    assert isinstance(await client.ask(at_most), NotAtHand)
    assert (trio.current_time(), client.remaining) == (0, 19)
    await client.ask()
    assert number(await client.ask(at_most)) == 1
    await trio.sleep_until(10.5)
    assert isinstance(await client.ask(at_most), NotAtHand)
    assert len(fleet.upstream.calls) == 1
    assert fleet.redis.open == {}


# What the operator allows


@pytest.fixture
async def honouring(nursery: trio.Nursery) -> Fleet:
    fleet = Fleet(nursery, settings_for_tests(batch_threshold=1, upstream_honour_cache=True))
    fleet.upstream.fresh_for_s = 30
    return fleet


async def test_as_long_as_coingecko_calls_an_answer_fresh_it_answers_that_coin_at_once(
    autojump_clock: MockClock, honouring: Fleet
) -> None:
    client = Client(await honouring.start_instance("a"))
    first = await client.ask()
    assert isinstance(first, Quote)
    assert first.fresh_for_s == 30
    await trio.sleep_until(29.5)
    other = await client.ask(coin="ethereum")
    fresh = await client.ask()

    assert isinstance(fresh, Quote)
    assert (fresh.trigger, fresh.age_s, fresh.fresh_for_s) == ("fresh", 29, 0)
    assert number(other) == 2
    await trio.sleep_until(30)
    assert number(await client.ask()) == 3


async def test_a_max_age_of_zero_is_a_fetch_whatever_the_operator_allows(
    autojump_clock: MockClock, honouring: Fleet
) -> None:
    client = Client(await honouring.start_instance("a"))
    honouring.upstream.latency_s = 0  # so that its price is of this very millisecond
    await client.ask()
    assert number(await client.ask(Freshness(max_age_s=0))) == 2


async def test_a_max_age_of_the_client_beats_what_the_operator_allows(
    autojump_clock: MockClock, honouring: Fleet
) -> None:
    client = Client(await honouring.start_instance("a"))
    await client.ask()
    await trio.sleep_until(5)
    assert number(await client.ask(Freshness(max_age_s=5))) == 1
    assert number(await client.ask(Freshness(max_age_s=4))) == 2


# When there is trouble

TEN = Freshness(stale_if_error_s=10)


@pytest.mark.parametrize("failure", [UpstreamFailed("no"), UpstreamLimited("slow down", retry_after_s=1)])
@pytest.mark.parametrize(("asked_at", "answer"), [(9.9, "fresh"), (9.901, "error")])
async def test_when_the_upstream_fails_an_older_price_stands_in_if_it_is_young_enough_then(
    autojump_clock: MockClock, fleet: Fleet, client: Client, failure: CryptoPulseError, asked_at: float, answer: str
) -> None:
    await client.ask()
    fleet.upstream.failure = failure
    await trio.sleep_until(asked_at)
    told = await client.ask(TEN)

    assert trio.current_time() == pytest.approx(asked_at + 0.1), "it was fetched first"
    assert kind(told) == (answer if answer == "fresh" else type(failure).__name__)
    if isinstance(told, Quote):
        assert (number(told), told.age_s) == (1, 10)


async def test_without_leave_no_older_price_stands_in(autojump_clock: MockClock, fleet: Fleet, client: Client) -> None:
    await client.ask()
    fleet.upstream.failure = UpstreamFailed("no")
    assert isinstance(await client.ask(), UpstreamFailed)
    await trio.sleep(2)
    assert isinstance(await client.ask(Freshness(max_age_s=1)), UpstreamFailed)


async def test_a_price_that_can_be_fetched_is_fetched_whatever_may_stand_in(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    assert number(await client.ask(TEN)) == 2


async def test_an_older_price_does_not_stand_in_for_a_coin_that_is_unknown(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    fleet.upstream.unknown = {"bitcoin"}
    assert isinstance(await client.ask(TEN), UnknownCoin)


async def test_an_older_price_stands_in_when_no_result_comes_in_time(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    fleet.upstream.latency_s = 60
    async with trio.open_nursery() as nursery:
        answers: list[Answer] = []

        async def ask(freshness: Freshness) -> None:
            answers.append(await client.ask(freshness))

        nursery.start_soon(ask, TEN)
        nursery.start_soon(ask, FETCH)

    assert trio.current_time() == pytest.approx(8.1)
    assert sorted(kind(answer) for answer in answers) == [ResultTimeout.__name__, "fresh"]


async def test_an_older_price_stands_in_when_redis_goes_away_while_a_request_waits(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    fleet.upstream.latency_s = 5
    told: dict[str, Answer] = {}

    async def ask(name: str, freshness: Freshness) -> None:
        told[name] = await client.ask(freshness)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "with leave", TEN)
        nursery.start_soon(ask, "without", FETCH)
        await trio.sleep(1)
        fleet.instances["a"].link.cut()
        await trio.sleep(1.1)
        assert {name: kind(answer) for name, answer in told.items()} == {
            "with leave": "fresh",
            "without": RedisUnavailable.__name__,
        }


async def test_an_older_price_stands_in_at_once_when_no_call_may_be_made_in_time(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = Fleet(nursery, settings_for_tests(batch_threshold=1, upstream_calls_per_minute=6))
    client = Client(await fleet.start_instance("a"))
    await trio.sleep(10.5)
    assert number(await client.ask()) == 1
    await trio.sleep_until(11)  # the next call is at 20.667
    assert number(await client.ask(TEN)) == 1
    assert client.remaining == 18
    assert isinstance(await client.ask(FETCH), OverBudget)
    assert isinstance(await client.ask(Freshness(stale_if_error_s=0)), OverBudget)
    assert client.remaining == 18
    assert trio.current_time() == 11


async def test_an_older_price_stands_in_when_the_next_call_is_put_off_while_a_request_waits(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    told: list[tuple[float, str]] = []

    async def ask() -> None:
        answer = await client.ask(TEN)
        told.append((round(trio.current_time(), 3), kind(answer)))

    async with trio.open_nursery() as nursery:
        fleet.upstream.latency_s = 2
        nursery.start_soon(client.ask, FETCH, "bitcoin")
        await trio.sleep(0.5)
        nursery.start_soon(ask)  # its batch is held back by the call before it
        await trio.sleep(0.5)
        fleet.upstream.latency_s, fleet.upstream.failure = 0.1, UpstreamLimited("slow down", retry_after_s=60)
        nursery.start_soon(client.ask, FETCH, "ethereum")

    assert told == [(1.2, "fresh")]


async def test_in_known_trouble_an_older_price_stands_in_at_once(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    other = Client(await fleet.start_instance("b"))
    await client.ask()
    fleet.upstream.failure = UpstreamFailed("no")
    await client.ask(coin="ethereum")
    after_one = await other.ask(TEN)
    asked_at = trio.current_time()
    after_two = await other.ask(TEN)

    assert (kind(after_one), kind(after_two)) == ("fresh", "fresh")
    assert trio.current_time() == asked_at == pytest.approx(0.3)
    assert len(fleet.upstream.calls) == 3
    fleet.upstream.failure = None
    await trio.sleep(1)  # the pause is over, and who comes now is the probe
    assert number(await other.ask(TEN)) == 4


async def test_in_known_trouble_a_price_that_is_too_old_does_not_stand_in(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    await client.ask()
    fleet.upstream.failure = UpstreamFailed("no")
    await trio.sleep(11)
    for _ in range(2):
        await client.ask()
    fleet.upstream.failure = None
    assert number(await client.ask(TEN)) == 4
    assert trio.current_time() == pytest.approx(12.4)


# Many coins


@pytest.mark.parametrize(("coins", "units"), [(1, 1), (50, 1), (51, 2), (101, 3)])
async def test_many_coins_are_charged_one_unit_for_each_started_fifty(
    autojump_clock: MockClock, fleet: Fleet, client: Client, coins: int, units: int
) -> None:
    answers = await client.ask_all([f"coin-{at}" for at in range(coins)])
    assert {kind(answer) for answer in answers} == {"fetched"}
    assert client.remaining == 20 - units


async def test_beyond_the_limit_many_coins_are_refused_all_of_them_and_uncharged(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    for _ in range(19):
        await client.ask()
    with pytest.raises(OverLimit):
        await client.ask_all([f"coin-{at}" for at in range(51)])
    assert fleet.redis.open == {}

    await client.ask_all([f"coin-{at}" for at in range(50)])
    assert client.remaining == 0


async def test_each_coin_of_many_has_an_outcome_of_its_own(
    autojump_clock: MockClock, fleet: Fleet, client: Client
) -> None:
    fleet.upstream.unknown = {"nocoin", "nowhere"}
    await client.ask()
    await client.ask(coin="nocoin")
    asked_at = trio.current_time()
    coins = ["ethereum", "nocoin", "bitcoin", "nowhere", "solana"]
    answers = await client.ask_all(coins, Freshness(max_age_s=60))

    assert [kind(answer) for answer in answers] == ["fetched", "UnknownCoin", "fresh", "UnknownCoin", "fetched"]
    assert [answer.price.coin_id for answer in answers if isinstance(answer, Quote)] == [
        "ethereum",
        "bitcoin",
        "solana",
    ]
    assert trio.current_time() == pytest.approx(asked_at + 0.1)
    assert fleet.upstream.calls[-1][1] == {"ethereum", "nowhere", "solana"}
    assert client.remaining == 17


async def test_of_many_coins_those_at_hand_are_answered_though_no_call_may_be_made(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = Fleet(nursery, settings_for_tests(batch_threshold=1, upstream_calls_per_minute=6))
    client = Client(await fleet.start_instance("a"))
    await trio.sleep(10.5)
    await client.ask()
    answers = await client.ask_all(["bitcoin", "ethereum"], Freshness(max_age_s=60))

    assert [kind(answer) for answer in answers] == ["fresh", "OverBudget"]
    assert client.remaining == 18
    assert fleet.redis.open == {}


async def test_a_currency_that_redis_forgot_was_asked_for_is_not_said_to_be_unlisted(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = Fleet(nursery)
    client = Client(await fleet.start_instance("a"))
    answers: dict[str, Answer] = {}

    async def ask(code: str) -> None:
        answers[code] = await client.ask(code=code)

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, "usd")
        await trio.sleep(0.1)
        asking.start_soon(ask, "eur")
        await trio.sleep(0.1)
        [batch] = fleet.redis.batches.values()
        batch.currencies.discard("eur")  # as a restart that loses the last writes does

    assert {code: kind(answer) for code, answer in answers.items()} == {"usd": "fetched", "eur": "RedisUnavailable"}
