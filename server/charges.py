"""What callers are charged, and what answers tell them of it."""

from core.limits import Charge
from server.asked import Asked


async def charge(asked: Asked, caller: str, limit: int) -> None:
    """Charge a caller for a request, or raise OverLimit or RedisUnavailable."""
    asked.notes.charge = await asked.services.callers.charge(caller, limit)


def charge_headers(charge: Charge | None) -> dict[str, str]:
    """What is left of the caller's limit, if it is known."""
    if charge is None:
        return {}
    return {
        "X-RateLimit-Limit": str(charge.limit),
        "X-RateLimit-Remaining": str(charge.remaining),
        "X-RateLimit-Reset": str(charge.reset_s),
    }
