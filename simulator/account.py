"""The account that all calls go on: what they cost, what is left of the month, and what `GET /key` tells of it."""

from http import HTTPStatus

from msgspec import Struct

from simulator.messages import Answer, Request

KEY_PATH = "/api/v3/key"

# CoinGecko sells nothing without limits, so no limit is told as one that nobody reaches.
UNREACHED = 1_000_000_000


class Credits(Struct, frozen=True):
    """How many credits of a month are used; a limit of 0 is no limit."""

    used: int = 0
    limit: int = 0

    @property
    def used_up(self) -> bool:
        """Tell whether the month is over before its end."""
        return 0 < self.limit <= self.used


def cost(request: Request, answer: Answer) -> int:
    """How many credits an answer costs: one if its status is 200, however many ids were asked for.

    CoinGecko's documentation says so and exempts nothing, so a ping costs one too. An answer that hangs, breaks off or
    is garbled on its way keeps its status, and costs as if it had arrived: the work was done. A failure with another
    status, such as a 503, costs nothing.

    Only `/key` is free, so that asking what is left does not change it; what CoinGecko does there is not known. Paid
    plans get answers from its cache for nothing; that is left out, as here every answer claims to come from there.
    """
    return int(answer.status == HTTPStatus.OK and request.path != KEY_PATH)


def usage(limit_per_minute: int, month: Credits) -> dict[str, object]:
    """The body of `GET /key`, of an account that has one key: the figures of both are the same."""
    calls_a_minute, calls_a_month = limit_per_minute or UNREACHED, month.limit or UNREACHED
    return {
        "plan": "Other",
        "rate_limit_request_per_minute": calls_a_minute,
        "monthly_call_credit": calls_a_month,
        "current_total_monthly_calls": month.used,
        "current_remaining_monthly_calls": calls_a_month - month.used,
        "api_key_rate_limit_request_per_minute": calls_a_minute,
        "api_key_monthly_call_credit": calls_a_month,
        "api_key_current_total_monthly_calls": month.used,
    }
