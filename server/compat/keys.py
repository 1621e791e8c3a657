"""An access token where CoinGecko's clients put their API key."""

from quart import request

from core.errors import Unauthorized
from server.auth import User
from server.users import sender, verified

_HEADERS = ("x-cg-demo-api-key", "x-cg-pro-api-key")
_PARAMETERS = ("x_cg_demo_api_key", "x_cg_pro_api_key")


def key_holder() -> User:
    """Whom the request's key, or else its bearer token, speaks for; raises Unauthorized."""
    headers, query = request.headers, request.args
    keys = [*(headers.get(name) for name in _HEADERS), *(query.get(name) for name in _PARAMETERS)]
    key = next(filter(None, keys), None)
    if key is not None:
        return verified(key)
    if "Authorization" in headers:
        return sender()
    raise Unauthorized(
        "Send an access token as the API key: in the header 'x-cg-demo-api-key', or where else your client puts it. "
        "POST /auth/login gives one."
    )
