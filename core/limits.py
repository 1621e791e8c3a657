"""What a rate limit says of a caller."""

import msgspec

from core.errors import LimitReached


class Charge(msgspec.Struct, frozen=True):
    """A caller's account after one request: how much is left, and when more will be."""

    caller: str
    limit: int
    remaining: int
    reset_s: int  # seconds until the oldest charged request leaves the window


class OverLimit(LimitReached):
    """The caller used up its limit; nothing was charged for this request."""

    def __init__(self, charge: Charge) -> None:
        counted = "logins" if charge.caller.startswith("login:") else "requests"
        super().__init__(
            f"Your limit of {charge.limit} {counted} is used up. Try again in {charge.reset_s} s.",
            retry_after_s=charge.reset_s,
        )
        self.charge = charge
