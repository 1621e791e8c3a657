"""The table of states, and what a result comes to for a request: pure."""

from decimal import Decimal

import pytest

from core.batches import TRANSITIONS, Failure, Result
from core.errors import (
    CryptoPulseError,
    RedisUnavailable,
    UnknownCoin,
    UnlistedCurrency,
    UpstreamFailed,
    UpstreamLimited,
)
from core.prices import Price


def result(**changes: object) -> Result:
    given: dict[str, object] = {
        "batch_id": "b",
        "coin_id": "bitcoin",
        "trigger": "window",
        "size": 1,
        "fetched_at_ms": 1,
        "upstream_ms": 1.0,
    }
    return Result(**given | changes)  # type: ignore[arg-type] # the test names what it changes


def test_every_state_is_reached_from_open_and_settled_ones_are_final() -> None:
    reached = {"open"}.union(*TRANSITIONS.values())
    assert reached == set(TRANSITIONS)
    assert [state for state, after in TRANSITIONS.items() if not after] == ["answered", "failed"]


def test_a_result_answers_in_each_currency_it_has() -> None:
    both = result(prices={"usd": Decimal("1.5"), "eur": Decimal("1.2")})
    assert both.price_in("eur") == Price("b", "bitcoin", "eur", Decimal("1.2"), 1)
    assert len(both.known_prices) == 2


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"prices": {"usd": Decimal(1)}, "unlisted": ["eur"]}, UnlistedCurrency),
        ({"prices": {"usd": Decimal(1)}}, RedisUnavailable),  # it lost its memory of who asked for it
        ({"prices": {"eur": None}}, UpstreamFailed),
        ({"failure": Failure("unknown_coin", "no")}, UnknownCoin),
        ({"failure": Failure("upstream_failed", "no")}, UpstreamFailed),
        ({"failure": Failure("upstream_limited", "no", 7)}, UpstreamLimited),
    ],
)
def test_a_result_without_the_price_says_what_the_request_is_to_be_told(
    changes: dict[str, object], error: type[CryptoPulseError]
) -> None:
    with pytest.raises(error):
        result(**changes).price_in("eur")


def test_a_price_that_could_not_be_read_is_not_kept() -> None:
    assert [price.vs_currency for price in result(prices={"usd": None, "eur": Decimal(1)}).known_prices] == ["eur"]
