"""`Cache-Control`, both ways."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.freshness import FETCH, Freshness
from server.cache_control import LONGEST_S, freshness_headers, requested_freshness
from tests.server.fakes import make_quote

NAMES = ["max-age", "no-cache", "no-store", "only-if-cached", "stale-if-error", "max-stale", "min-fresh", "x-other"]
TOKENS = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=8)
QUOTED = st.text(string.printable, max_size=12).map(lambda text: f'"{text}"'.replace("\\", "\\\\"))
NUMBERS = st.integers(0, 10**12).map(str)
DIRECTIVES = st.one_of(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(NAMES), NUMBERS | TOKENS | QUOTED).map("=".join),
)
HEADERS = st.lists(st.lists(DIRECTIVES, max_size=6).map(", ".join) | st.text(string.printable), max_size=3)


@pytest.mark.parametrize(
    ("headers", "freshness"),
    [
        ([], FETCH),
        ([""], FETCH),
        ([" , ,,"], FETCH),
        (["max-age=30"], Freshness(max_age_s=30)),
        (["MAX-Age=30"], Freshness(max_age_s=30)),
        (['max-age="30"'], Freshness(max_age_s=30)),
        (["max-age = 30 "], Freshness(max_age_s=30)),
        (["max-age=0030"], Freshness(max_age_s=30)),
        (["max-age=0"], Freshness(max_age_s=0)),
        (["max-age=0000"], Freshness(max_age_s=0)),
        (["max-age=4294967296"], Freshness(max_age_s=LONGEST_S)),
        ([f"max-age={'9' * 5000}"], Freshness(max_age_s=LONGEST_S)),
        ([f"max-age={'0' * 5000}7"], Freshness(max_age_s=7)),
        (["x, max-age=30;y"], FETCH),
        (["no-cache"], Freshness(max_age_s=0)),
        (["no-store"], Freshness(max_age_s=0)),
        (['no-cache="max-age=5"'], Freshness(max_age_s=0)),
        (["no-cache, max-age=30, stale-if-error=60"], Freshness(max_age_s=0, stale_if_error_s=60)),
        (["only-if-cached"], Freshness(only_if_cached=True)),
        (["stale-if-error=0"], Freshness(stale_if_error_s=0)),
        (["stale-if-error"], Freshness(stale_if_error_s=LONGEST_S)),
        (["stale-if-error="], FETCH),
        (["max-stale=60, min-fresh=60, immutable, max-ages=3"], FETCH),
        (["max-age=1, max-age=2", "max-age=3"], Freshness(max_age_s=1)),
        (["max-age=soon", "max-age=3"], Freshness(max_age_s=3)),
        (['x="a, max-age=5", stale-if-error=9'], Freshness(stale_if_error_s=9)),
        (['x="\\", max-age=5", stale-if-error=9'], Freshness(stale_if_error_s=9)),
        (['x="never closed, max-age=5'], FETCH),
    ],
)
def test_what_a_request_allows_is_read_as_the_rfc_says(headers: list[str], freshness: Freshness) -> None:
    assert requested_freshness(headers) == freshness


@pytest.mark.parametrize("name", ["max-age", "stale-if-error"])
@pytest.mark.parametrize("number", ["-1", "+1", "1.5", "1e3", "0x10", "٣", "1 2", '"1', '1"', "1_0", "soon", ""])
def test_a_number_that_is_none_counts_as_not_given(name: str, number: str) -> None:
    assert requested_freshness([f"{name}={number}"]) == FETCH


@given(HEADERS)
def test_whatever_is_sent_is_read_and_bounded(headers: list[str]) -> None:
    freshness = requested_freshness(headers)
    assert freshness.max_age_s is None or 0 <= freshness.max_age_s <= LONGEST_S
    assert freshness.stale_if_error_s is None or 0 <= freshness.stale_if_error_s <= LONGEST_S


@given(st.integers(1, LONGEST_S), st.integers(0, LONGEST_S), st.sampled_from(NAMES), QUOTED | TOKENS, st.booleans())
def test_it_makes_no_difference_how_the_same_is_written(
    age: int, stale: int, name: str, noise: str, together: bool
) -> None:
    directives = [f"Max-Age={age}", f'stale-if-error="{stale}"', f"x-{name}={noise}"]
    headers = [",".join(directives)] if together else directives[::-1]
    assert requested_freshness(headers) == Freshness(max_age_s=age, stale_if_error_s=stale)


@pytest.mark.parametrize("honoured", [True, False])
def test_an_answer_without_a_price_may_not_be_kept(honoured: bool) -> None:
    assert freshness_headers([], honoured=honoured) == {"Cache-Control": "private, no-cache"}


@pytest.mark.parametrize("fresh_for_s", [0, -5])
def test_what_is_not_fresh_any_more_may_not_be_kept(fresh_for_s: int) -> None:
    quote = make_quote(age_s=60, fresh_for_s=fresh_for_s)
    assert freshness_headers([quote], honoured=True) == {"Cache-Control": "private, no-cache", "Age": "60"}


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)), min_size=1))
def test_an_answer_is_as_old_as_its_oldest_price_and_kept_no_longer_than_its_least_fresh(
    prices: list[tuple[int, int]],
) -> None:
    quotes = [make_quote(age_s=age_s, fresh_for_s=fresh_for_s) for age_s, fresh_for_s in prices]
    headers = freshness_headers(quotes, honoured=True)
    age_s, life_s = int(headers["Age"]), int(headers["Cache-Control"].removeprefix("private, max-age="))
    assert age_s == max(age_s for age_s, _ in prices)
    assert life_s - age_s == min(fresh_for_s for _, fresh_for_s in prices)
