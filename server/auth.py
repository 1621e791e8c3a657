"""Access tokens: made, read from a request's headers, verified.

token = issue_token(secret, subject="ada", username="ada", expires_s=3600)
user = Tokens(secret, previous=old_secret).verify(token)        # raises InvalidToken
user.caller                                                     # 'user:ada', whose rate limit is charged
"""

import hmac
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import jwt
import msgspec

from core.errors import Unauthorized
from core.settings import Settings

_ALGORITHM = "HS256"
_LONGEST_TOKEN = 4096
# Verified tokens are remembered, since it takes some 90 us to verify one: as many as connections may well bring, each
# of a length that keeps all of them within some 16 MB.
MOST_REMEMBERED = 16_384
_LONGEST_REMEMBERED = 512
LONGEST_SUBJECT = 256
_NOT_VALID = "The token is not valid here. Log in again, or make a new one."

# RFC 6750, 2.1, with the scheme in any case (RFC 9110, 11.1).
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE | re.ASCII)


class InvalidToken(Unauthorized):
    """A token was given, and it opens nothing."""


class User(msgspec.Struct, frozen=True):
    """Who a token speaks for, and until when."""

    subject: str
    expires: int  # unix s

    @property
    def caller(self) -> str:
        """The name under which this user's requests are counted."""
        return f"user:{self.subject}"


def issue_token(
    secret: str,
    *,
    subject: str,
    username: str,
    expires_s: int,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """Sign a token for `subject` that ends `expires_s` seconds from now."""
    now = int(time.time())
    claims = {"sub": subject, "username": username, "iat": now, "exp": now + expires_s}
    where = {name: value for name, value in (("iss", issuer), ("aud", audience)) if value is not None}
    return jwt.encode(claims | where, secret, algorithm=_ALGORITHM, headers={"kid": key_id(secret)})


def key_id(secret: str) -> str:
    """The name of a secret; it tells no more of it than a signature does."""
    return hmac.digest(secret.encode(), b"cryptopulse key id", "sha256").hex()[:16]


def bearer_token(authorization: Sequence[str]) -> str:
    """Return the token of a request's `Authorization` headers.

    Raises Unauthorized if there is none, InvalidToken if what is there cannot be one.
    """
    if not authorization:
        raise Unauthorized("Send a token: 'Authorization: Bearer <token>'. POST /auth/login gives one.")
    match = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
    if match is None:
        raise InvalidToken("Send exactly one header 'Authorization: Bearer <token>'.")
    return match[1]


class Tokens:
    """Verifies tokens, and remembers those that were good, until they expire.

    Good are tokens by the secret and by the `previous` one; where an issuer or an audience is given, only theirs.
    """

    def __init__(
        self, secret: str, *, previous: str | None = None, issuer: str | None = None, audience: str | None = None
    ) -> None:
        self._secrets = {key_id(each): each for each in (secret, previous) if each is not None}
        self._issuer = issuer
        self._audience = audience
        self._good: dict[str, tuple[User, int]] = {}  # {token: whom it speaks for, when it expires (unix s)}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say."""
        previous = settings.jwt_secret_previous
        return cls(
            settings.jwt_secret.get_secret_value(),
            previous=previous.get_secret_value() if previous is not None else None,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )

    def verify(self, token: str) -> User:
        """Return whom a signed and timely token speaks for, or raise InvalidToken."""
        good = self._good.get(token)
        if good is not None and time.time() < good[1]:
            return good[0]
        user, expires = self._verified(token)
        self._remember(token, user, expires)
        return user

    def _verified(self, token: str) -> tuple[User, int]:
        if len(token) > _LONGEST_TOKEN:
            raise InvalidToken(_NOT_VALID)
        claims = self._claims(token)
        subject, expires = claims["sub"], claims["exp"]
        if not _is_number(expires) or not _is_number(claims.get("nbf", 0)) or not _is_subject(subject):
            raise InvalidToken(_NOT_VALID)
        return User(subject, int(expires)), int(expires)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            *others, last = self._secrets_for(token)
            for secret in others:
                with suppress(jwt.InvalidSignatureError):
                    return self._decoded(token, secret)
            return self._decoded(token, last)
        except jwt.ExpiredSignatureError as error:
            raise InvalidToken("The token has expired. Log in again.") from error
        except jwt.ImmatureSignatureError as error:
            raise InvalidToken("The token is not valid yet. Use it later, or log in again.") from error
        # Numbers that fit no int, and whatever else JSON can hold where PyJWT expects something simple.
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise InvalidToken(_NOT_VALID) from error

    def _secrets_for(self, token: str) -> list[str]:
        """The secret that the token names; all where it names none of ours, as tokens that others made may."""
        named = None
        if len(self._secrets) > 1:
            named = self._secrets.get(jwt.get_unverified_header(token).get("kid", ""))
        return [named] if named is not None else list(self._secrets.values())

    def _decoded(self, token: str, secret: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            secret,
            algorithms=[_ALGORITHM],
            issuer=self._issuer,
            audience=self._audience,
            options={
                "require": ["sub", "exp"],
                "verify_iat": False,
                "verify_aud": self._audience is not None,
                "verify_jti": False,
            },
        )

    def _remember(self, token: str, user: User, expires: int) -> None:
        if len(token) > _LONGEST_REMEMBERED:
            return
        if len(self._good) >= MOST_REMEMBERED:
            del self._good[next(iter(self._good))]
        self._good[token] = user, expires


def _is_number(value: object) -> bool:
    # PyJWT also takes texts such as "9999999999" and true.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_subject(value: object) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_SUBJECT:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: no text, and no key in Redis
        return False
    return True
