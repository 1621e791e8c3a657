"""How CoinGecko writes numbers into its JSON."""

from decimal import Context, Decimal

# Below 1e-4 CoinGecko's Ruby turns to exponents: 0.0001 but 1.0e-05.
LOWEST_PLAIN_EXPONENT = -4


def significant(value: Decimal, digits: int) -> Decimal:
    """Round to so many significant digits."""
    return Context(prec=digits).plus(value)


def with_places(value: Decimal, places: int) -> Decimal:
    """Round to so many decimal places; what has fewer stays as it is."""
    _, fraction = divmod(value, 1)
    return value if fraction == round(fraction, places) else round(value, places)


def json_number(value: Decimal) -> str:
    """Write a number as CoinGecko does: `76975`, `0.5273`, `1.177e-05`.

    Every digit is kept but trailing zeros.
    """
    value = value.normalize(Context(prec=len(value.as_tuple().digits)))
    return _exponent_form(value) if value and value.adjusted() < LOWEST_PLAIN_EXPONENT else f"{value:f}"


def _exponent_form(value: Decimal) -> str:
    sign, (first, *rest), _ = value.as_tuple()
    mantissa = f"{first}.{''.join(map(str, rest)) or 0}"
    return f"{'-' * sign}{mantissa}e-{-value.adjusted():02d}"
