import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from simulator.coins import COINS, Coin, by_name, by_symbol
from simulator.currencies import PER_USD
from simulator.market import Market

BITCOIN = COINS["bitcoin"]
instants = st.floats(min_value=0, max_value=4e9)


def test_a_few_hundred_coins_have_ids_that_coingecko_would_give() -> None:
    assert len(COINS) > 300
    assert all(re.fullmatch(r"[a-z0-9-]{1,128}", coin_id) for coin_id in COINS)


def test_levels_reach_from_a_billionth_to_a_hundred_thousand_dollars() -> None:
    levels = sorted(coin.usd for coin in COINS.values())
    assert Decimal("1e-9") <= levels[0] < Decimal("2e-9")
    assert Decimal(50_000) < levels[-1] <= Decimal(100_000)


def test_of_coins_with_one_symbol_the_largest_comes_first() -> None:
    assert [coin.id for coin in by_symbol("DOGE")] == ["dogecoin", "binance-peg-dogecoin"]


def test_a_name_is_found_in_any_case() -> None:
    assert [coin.id for coin in by_name("bitcoin cash")] == ["bitcoin-cash"]


def test_there_are_the_63_currencies_of_coingecko_in_its_order() -> None:
    assert len(PER_USD) == 63
    assert [*PER_USD][:3] == ["btc", "eth", "ltc"]
    assert [*PER_USD][-2:] == ["bits", "sats"]


def test_a_price_is_the_same_on_every_machine() -> None:
    assert Market(seed=7).price(BITCOIN, "usd", 1_795_365_600) == Decimal("57741.375790061726")


def test_another_seed_is_another_course() -> None:
    assert Market(seed=1).price(BITCOIN, "usd", 0) != Market(seed=2).price(BITCOIN, "usd", 0)


@given(instants)
def test_a_price_holds_for_an_update_period_and_moves_with_the_next(now: float) -> None:
    market = Market(update_period_s=60)
    start = market.updated_at(now)
    assert market.price(BITCOIN, "usd", start) == market.price(BITCOIN, "usd", start + 59.9)
    assert market.price(BITCOIN, "usd", start) != market.price(BITCOIN, "usd", start + 60)


@given(instants, st.sampled_from([*COINS.values()]))
def test_a_price_stays_around_its_level(now: float, coin: Coin) -> None:
    listed = structs.replace(coin, unlisted=frozenset())
    price = Market().price(listed, "usd", now)
    assert price is not None
    assert abs(price / coin.usd - 1) < Decimal("0.3")


@pytest.mark.parametrize(
    ("coin_id", "currency"),
    [
        ("baby-doge-coin", "btc"),
        ("dogelon-mars", "xau"),
        ("kishu-inu", "eur"),
        ("safemoon-2", "usd"),
        ("terrausd", "usd"),
        ("bitcoin", "not-a-currency"),
    ],
)
def test_there_is_no_price_where_a_coin_is_not_listed(coin_id: str, currency: str) -> None:
    assert Market().price(COINS[coin_id], currency, 0) is None


def test_the_change_of_a_day_is_that_of_the_price() -> None:
    market, now, day_s = Market(), 1_795_365_600, 86_400
    today, yesterday = (market.price(BITCOIN, "usd", instant) for instant in (now, now - day_s))
    assert today is not None
    assert yesterday is not None
    assert abs(market.change_24h(BITCOIN, now) - (today / yesterday - 1) * 100) < Decimal("1e-9")
