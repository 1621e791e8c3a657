import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.decimal_text import json_number, significant, with_places


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("76975", "76975"),
        ("76975.00", "76975"),
        ("1115480000", "1115480000"),
        ("0.5273", "0.5273"),
        ("0.0001", "0.0001"),
        ("0.00001177", "1.177e-05"),
        ("0.00001", "1.0e-05"),
        ("1.2E-12", "1.2e-12"),
        ("-0.00005", "-5.0e-05"),
        ("0", "0"),
        ("0E-9", "0"),
    ],
)
def test_numbers_are_written_as_coingecko_writes_them(value: str, text: str) -> None:
    assert json_number(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15))
def test_a_written_number_is_json_and_has_lost_no_digit(value: Decimal) -> None:
    assert json.loads(json_number(value), parse_float=Decimal, parse_int=Decimal) == value


def test_significant_digits_are_counted_from_the_first_that_is_not_zero() -> None:
    assert significant(Decimal("0.000012345678"), 6) == Decimal("0.0000123457")


def test_more_places_than_a_value_has_leave_it_alone() -> None:
    assert with_places(Decimal("12345678901234.5"), 18) == Decimal("12345678901234.5")


def test_fewer_places_than_a_value_has_round_it() -> None:
    assert with_places(Decimal("71039.127738996449"), 2) == Decimal("71039.13")
