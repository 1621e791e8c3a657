"""What callers are charged, and what answers tell them of it."""

from quart import g
from werkzeug.datastructures import Headers

from core.limits import Charge
from server.services import services


async def charge(caller: str, limit: int) -> None:
    """Charge a caller for one request, or raise OverLimit or RedisUnavailable."""
    note_charge(await services().callers.charge(caller, limit))


def note_charge(charge: Charge) -> None:
    """Remember what the caller was charged: whatever the answer will be, it tells the caller."""
    g.charge = charge


def tell_charge(headers: Headers) -> None:
    """Add what is left of the caller's limit, if it is known."""
    charge: Charge | None = g.get("charge")
    if charge is not None:
        headers["X-RateLimit-Limit"] = str(charge.limit)
        headers["X-RateLimit-Remaining"] = str(charge.remaining)
        headers["X-RateLimit-Reset"] = str(charge.reset_s)
