"""Values are checked once, at the edge."""

from decimal import Decimal

import pytest

from core.errors import BadCoin, BadCurrency
from core.prices import from_unix_ms, is_sane, iso_ms, parse_coin_id, parse_currency


@pytest.mark.parametrize("text", ["bitcoin", "0-5x-long", "a", "-", "x" * 128])
def test_a_coin_id_has_the_form_of_coingeckos(text: str) -> None:
    assert parse_coin_id(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "Bitcoin", "bit coin", "bitcoin\n", "../bitcoin", "a,b", "x" * 129, "bit\x00coin", "₿", "\uff42tc", "a%2fb"],
)
def test_any_other_text_is_no_coin_id(text: str) -> None:
    with pytest.raises(BadCoin):
        parse_coin_id(text)


def test_a_currency_is_one_that_coingecko_supports() -> None:
    assert parse_currency("eur") == "eur"
    for text in ("EUR", "", "doge", "usd,eur"):
        with pytest.raises(BadCurrency):
            parse_currency(text)


@pytest.mark.parametrize(
    ("text", "sane"),
    [
        ("0", True),
        ("1e-12", True),
        ("12345678.123456789", True),
        ("1e29", True),
        ("1e30", False),
        ("1e400", False),
        ("1e-61", False),
        ("-0.01", False),
        ("NaN", False),
        ("Infinity", False),
    ],
)
def test_a_price_is_finite_not_negative_and_of_bounded_size(text: str, sane: bool) -> None:
    assert is_sane(Decimal(text)) is sane


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert iso_ms(from_unix_ms(1_772_250_900_007)) == "2026-02-28T03:55:00.007Z"
    assert iso_ms(from_unix_ms(1_772_250_900_000)) == "2026-02-28T03:55:00.000Z"
