"""What is known of coins; buckets have numbers."""

from decimal import Decimal

import pytest

from core import coin_tally
from core.batches import Result
from core.coin_tally import COIN_BUCKETS, CoinTally
from core.events import BUCKETS, MOST_COINS


@pytest.fixture
def coins() -> CoinTally:
    return CoinTally()


def result(at_ms: int, coin_id: str = "bitcoin", **prices: str | None) -> Result:
    known = {code: None if price is None else Decimal(price) for code, price in prices.items()}
    return Result("b", coin_id, "window", 1, at_ms, 2.5, prices=known)


def price_of(coins: CoinTally) -> tuple[str, str, str, int]:
    (view,) = coins.views(100)
    return view.vs_currency, view.price, view.before, view.fetched_at_ms


def test_requests_are_counted_in_twelve_buckets_the_newest_last(coins: CoinTally) -> None:
    for number in (100, 100, 103, 111):
        coins.note("bitcoin", number)
    (view,) = coins.views(111)
    assert view.requests == [2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("later", range(COIN_BUCKETS + 2))
def test_requests_move_on_with_time_also_when_none_come(coins: CoinTally, later: int) -> None:
    coins.note("bitcoin", 100)
    (view,) = coins.views(100 + later)
    expected = [0] * COIN_BUCKETS
    if later < COIN_BUCKETS:
        expected[-1 - later] = 1
    assert view.requests == expected


@pytest.mark.parametrize("pause", [1, 5, COIN_BUCKETS, COIN_BUCKETS + 1, 40])
def test_requests_after_a_pause_are_counted_alone_once_the_others_are_old(coins: CoinTally, pause: int) -> None:
    for number in range(100, 100 + COIN_BUCKETS):
        coins.note("bitcoin", number)
    coins.note("bitcoin", 100 + COIN_BUCKETS - 1 + pause)
    (view,) = coins.views(100 + COIN_BUCKETS - 1 + pause)
    left = max(0, COIN_BUCKETS - pause)
    assert view.requests == [1] * left + [0] * (COIN_BUCKETS - left - 1) + [1]


def test_the_most_asked_for_come_first(coins: CoinTally) -> None:
    for coin_id in ("solana", "bitcoin", "ethereum", "bitcoin", "bitcoin", "solana"):
        coins.note(coin_id, 100)
    assert [view.coin_id for view in coins.views(100)] == ["bitcoin", "solana", "ethereum"]


def test_of_many_coins_those_asked_for_last_are_told_and_the_others_counted(coins: CoinTally) -> None:
    coins.note("asked-again", 100)
    for number in range(MOST_COINS):
        coins.note(f"coin-{number}", 101)
    coins.note("asked-again", 102)
    told = {view.coin_id for view in coins.views(102)}
    assert len(told) == MOST_COINS
    assert "asked-again" in told
    assert len(coins) == MOST_COINS + 1


def test_however_many_are_asked_for_so_many_are_known_at_most(coins: CoinTally) -> None:
    for number in range(coin_tally._MOST_KEPT + 10):
        coins.note(f"coin-{number}", 100)
    assert len(coins) == coin_tally._MOST_KEPT


def test_a_coin_that_nobody_asks_for_in_five_minutes_is_forgotten(coins: CoinTally) -> None:
    coins.note("bitcoin", 100)
    assert len(coins.views(100 + BUCKETS - 1)) == 1
    assert (coins.views(100 + BUCKETS), len(coins)) == ([], 0)


def test_the_last_two_prices_are_known_digit_by_digit(coins: CoinTally) -> None:
    coins.note("bitcoin", 100)
    assert price_of(coins) == ("", "", "", 0)
    coins.hear(result(1000, usd="1E-12"))
    assert price_of(coins) == ("usd", "0.000000000001", "", 1000)
    coins.hear(result(2000, eur="5", usd="12345678.123456789"))
    assert price_of(coins) == ("usd", "12345678.123456789", "0.000000000001", 2000)


def test_a_price_that_is_heard_again_or_too_late_changes_nothing(coins: CoinTally) -> None:
    coins.note("bitcoin", 100)
    coins.hear(result(1000, usd="1"))
    coins.hear(result(3000, usd="3"))
    coins.hear(result(3000, usd="3"))
    coins.hear(result(2000, usd="2"))
    assert price_of(coins) == ("usd", "3", "1", 3000)


def test_without_usd_it_is_the_first_price_and_never_compared_with_another_currencys(coins: CoinTally) -> None:
    coins.note("bitcoin", 100)
    coins.hear(result(1000, usd="1"))
    coins.hear(result(2000, eur="5", gbp="6"))
    assert price_of(coins) == ("eur", "5", "", 2000)


def test_a_result_without_prices_leaves_the_last_one(coins: CoinTally) -> None:
    coins.note("bitcoin", 100)
    coins.hear(result(1000, usd="1"))
    coins.hear(result(2000, usd=None))
    coins.hear(result(3000))
    assert price_of(coins) == ("usd", "1", "", 1000)


def test_prices_of_coins_that_nobody_asks_for_here_are_not_kept(coins: CoinTally) -> None:
    coins.hear(result(1000, usd="1"))
    assert (coins.views(100), len(coins)) == ([], 0)
