"""Who sends the current request."""

from quart import request

from server.auth import User, bearer_token, verify_token
from server.charges import charge
from server.notes import notes_of
from server.services import services


def sender() -> User:
    """Whom the request's bearer token speaks for, or raise Unauthorized."""
    return verified(bearer_token(request.headers.getlist("Authorization")))


def verified(token: str) -> User:
    """Whom the request's token speaks for, noted for the log, or raise InvalidToken."""
    user = verify_token(services().settings.jwt_secret.get_secret_value(), token)
    notes_of(request.scope).caller = user.caller
    return user


async def charge_user(user: User) -> None:
    """Charge a user for one request that is no admission, or raise OverLimit or RedisUnavailable."""
    await charge(user.caller, services().settings.throttle_global_limit)
