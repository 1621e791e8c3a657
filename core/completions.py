"""What an upstream call came to, as the scripts take it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from core.batches import Result
from core.permits import Called
from core.standings import Claimed, encode_result


def report_of(called: Called, at_ms: int, longest_pause_ms: int) -> dict[str, Any]:
    """Write down what a call says of the next one; its permit was taken at this unix time by Redis' clock."""
    return {
        "at": str(at_ms),
        "outcome": called.outcome,
        "wait": called.wait_s * 1000,
        "billed": called.billed,
        "longest": longest_pause_ms,
    }


def completion_of(called: Called, outcomes: Sequence[tuple[Claimed, Result]], longest_pause_ms: int) -> dict[str, Any]:
    """Write down a call, and the result of each batch that it answered."""
    claim, result = outcomes[0]
    fresh_until_ms = claim.claimed_at_ms + result.fresh_for_s * 1000
    return report_of(called, claim.claimed_at_ms, longest_pause_ms) | {
        "fresh_until": str(fresh_until_ms),
        "batches": [_completion(claim, result) for claim, result in outcomes],
    }


def _completion(claim: Claimed, result: Result) -> dict[str, Any]:
    is_unknown = result.failure is not None and result.failure.kind == "unknown_coin"
    return {
        "batch_id": claim.batch_id,
        "coin_id": claim.coin_id,
        "fence": str(claim.fence),
        "size": str(claim.size),
        "state": "failed" if result.failure else "answered",
        "unknown_coin": is_unknown,
        "result": encode_result(result).decode(),
        "prices": [(price.vs_currency, _plain(price.price)) for price in result.known_prices],
        "unlisted": result.unlisted,
    }


def _plain(price: Decimal) -> str:
    return format(price, "f")
