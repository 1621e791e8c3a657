"""An access token where CoinGecko's clients put their API key."""

from core.errors import Unauthorized
from server.asked import Asked
from server.auth import User
from server.users import sender, verified

_HEADERS = ("x-cg-demo-api-key", "x-cg-pro-api-key")
_PARAMETERS = ("x_cg_demo_api_key", "x_cg_pro_api_key")

NO_KEY = (
    "Send an access token as the API key: in the header 'x-cg-demo-api-key', or where else your client puts it. "
    "POST /auth/login gives one."
)


def key_holder(asked: Asked) -> User:
    """Whom the request's key, or else its bearer token, speaks for; raises Unauthorized."""
    query = asked.query()
    given = [*(asked.header(name) for name in _HEADERS), *(query.get(name, []) for name in _PARAMETERS)]
    key = next((values[0] for values in given if values and values[0]), None)
    if key is not None:
        return verified(asked, key)
    if asked.header("authorization"):
        return sender(asked)
    raise Unauthorized(NO_KEY)
