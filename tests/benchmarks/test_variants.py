import pytest

from benchmarks.variants import chosen
from core.settings import Settings


def test_variants_come_in_the_order_in_which_they_are_named() -> None:
    assert [variant.name for variant in chosen("ride-along,off", limit_per_minute=None)] == ["ride-along", "off"]


def test_every_variant_sets_what_can_be_set() -> None:
    names = {name for variant in chosen("off,original,ride-along,budget", 30) for name in variant.settings}
    assert names
    assert names <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(("names", "limit"), [("of", 30), ("", 30), ("off,", 30), ("budget", None)])
def test_a_variant_that_there_is_not_is_refused_with_those_that_there_are(names: str, limit: int | None) -> None:
    with pytest.raises(ValueError, match="there are off, original, ride-along"):
        chosen(names, limit)


def test_the_budget_is_the_upstreams_limit() -> None:
    [budget] = chosen("budget", limit_per_minute=30)
    assert budget.settings == {"UPSTREAM_CALLS_PER_MINUTE": "30"}
