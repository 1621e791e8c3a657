"""The price of one coin: its one handler, and the short way to it, in front of Quart.

Quart takes some 200 us for a request, all else that CryptoPulse does for it less than half of that. So what is asked
for most does not go through Quart; both ways end in `price_answer`.
"""

import re

from core.batches import Wanted
from core.prices import parse_coin_id
from server.answers import Answer, batch_headers, ok, price_text
from server.asgi import send_answer
from server.asked import Asked
from server.cache_control import freshness_headers, requested_freshness
from server.http1.asgi import App, Receive, Scope, Send
from server.http1.connection import CLIENT
from server.inputs import PriceQuery, read_query
from server.outcomes import ask
from server.services import Services
from server.users import sender

ROUTE = "/v1/price/{coinId}"
# What else Quart's route may match, such as blanks and other alphabets, it may match itself.
_PATH = re.compile(r"/v1/price/([!-.0-~]+)")


async def price_answer(asked: Asked, coin_id: str) -> Answer:
    """Wait for the price of a coin, or raise what the client is to be told."""
    user = sender(asked)
    wanted = Wanted(parse_coin_id(coin_id), (read_query(PriceQuery, asked).vs_currency,))
    freshness = requested_freshness(asked.header("cache-control"))
    (outcome,) = await ask(asked, [wanted], user, freshness)
    quote = outcome.only_quote()
    age = freshness_headers([quote], honoured=asked.services.settings.upstream_honour_cache)
    return ok(price_text(quote.price), batch_headers(quote) | age)


class ShortWay:
    """ASGI middleware that answers `GET /v1/price/{coinId}`, and passes on everything else."""

    def __init__(self, app: App, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on; raises what the client is to be told."""
        match = _PATH.fullmatch(scope["path"]) if _may_be_short(scope) else None
        if match is None:
            await self._app(scope, receive, send)
            return
        asked = Asked(self._services, scope)
        asked.notes.route = ROUTE
        await send_answer(send, scope, await price_answer(asked, match[1]))


def _may_be_short(scope: Scope) -> bool:
    """Whether the connection itself ends a request whose client left, since nobody listens for that here."""
    return scope["type"] == "http" and scope["method"] == "GET" and CLIENT in scope.get("extensions", {})
