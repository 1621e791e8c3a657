"""How CoinGecko turns a call away that it understood: too many a minute, too many a month, too small a plan."""

from datetime import UTC, datetime

from simulator.failures import RATE_LIMIT_BODY
from simulator.messages import JSON, Answer, json_answer


def too_many_requests(retry_after_s: int) -> Answer:
    """To a call over the limit a minute."""
    headers = {"content-type": JSON, "retry-after": str(retry_after_s)}
    return Answer(status=429, body=RATE_LIMIT_BODY, headers=headers)


def credits_used_up(now: float) -> Answer:
    """To every call once the month's credits are used up; no `Retry-After`, as waiting does not help."""
    # Its words are known from another project's tests only.
    return _refusal(429, 10006, "You have reached your account's monthly credit limit. Overage is disabled.", now)


def pro_only(now: float) -> Answer:
    """To a call that only a paid plan may make."""
    message = (
        "This request is limited to PRO API subscribers. Please visit https://www.coingecko.com/en/api/pricing "
        "to subscribe to our API plan to access exclusive endpoints."
    )
    return _refusal(401, 10005, message, now)


def _refusal(status: int, code: int, message: str, now: float) -> Answer:
    timestamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return json_answer(status, {"status": {"timestamp": timestamp, "error_code": code, "error_message": message}})
