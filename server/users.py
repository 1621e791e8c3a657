"""Who sends a request."""

from server.asked import Asked
from server.auth import User, bearer_token
from server.charges import charge


def sender(asked: Asked) -> User:
    """Whom the request's bearer token speaks for, or raise Unauthorized."""
    return verified(asked, bearer_token(asked.header("authorization")))


def verified(asked: Asked, token: str) -> User:
    """Whom the request's token speaks for, noted for the log, or raise InvalidToken."""
    user = asked.services.tokens.verify(token)
    asked.notes.caller = user.caller
    return user


async def charge_user(asked: Asked, user: User) -> None:
    """Charge a user for one request that is no admission, or raise OverLimit or RedisUnavailable."""
    await charge(asked, user.caller, asked.services.settings.throttle_global_limit)
