"""The one who can log in.

admin = Admin("admin", "correct horse")         # or an Argon2 hash of that
await admin.is_right("admin", "correct horse")
"""

import hashlib
import hmac

import argon2
import trio

from core.errors import TooBusy
from core.setting_rules import ARGON2

# A hash takes some 64 MiB, up to 256, and a core, while it is compared: that is not left to how many come at a time.
_AT_A_TIME = 2
_PATIENCE_S = 5.0


class Admin:
    """Knows its name and password; in comparing them it takes the same time whatever is wrong."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)

    async def is_right(self, username: str, password: str) -> bool:
        """Whether these are the admin's; or raise TooBusy where too many others wait to be told."""
        # Both, so that nobody learns a user name by the clock.
        user_matches = _same(username, self._user)
        password_matches = await self._is_password(password)
        return user_matches and password_matches

    async def _is_password(self, given: str) -> bool:
        if not self._password.startswith(ARGON2):
            return _same(given, self._password)
        try:
            with trio.fail_after(_PATIENCE_S):
                return await trio.to_thread.run_sync(_is_hashed, self._password, given, limiter=self._limiter)
        except trio.TooSlowError as error:
            raise TooBusy from error


def _is_hashed(expected: str, given: str) -> bool:
    try:
        return argon2.PasswordHasher().verify(expected, given)
    except argon2.exceptions.VerifyMismatchError:
        return False


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(_digest(given), _digest(expected))


def _digest(text: str) -> bytes:
    # Of one length, so that the comparison does not tell the length either.
    return hashlib.sha256(text.encode()).digest()
