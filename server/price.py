"""The price of one coin: how it is asked for and told, and the short way, which takes no task and no Quart.

Quart takes some 200 us for a request, and a task that waits some 30 us; all else that CryptoPulse does for one takes
less than half of that. Both ways ask by `ask_price` and answer by `price_told`.
"""

import re
from collections.abc import Callable

from core.batches import Wanted
from core.price_request import PriceRequest
from core.prices import parse_coin_id
from server.answers import Answer, batch_headers, ok, price_text
from server.asked import Asked
from server.cache_control import freshness_headers, requested_freshness
from server.charges import charge_headers
from server.errors import error_answer, forget_headers
from server.http1.asgi import Scope
from server.http1.connection import CLIENT
from server.http1.short_way import Errand, Reply
from server.inputs import PriceQuery, read_query
from server.outcomes import ask, note, over
from server.request_log import CLIENT_LEFT, Entry
from server.services import Services
from server.users import sender

ROUTE = "/v1/price/{coinId}"
# What else Quart's route may match, such as what comes encoded, it may match itself.
_PATH = re.compile(rb"/v1/price/([!-$&-.0-~]+)")


def ask_price(asked: Asked, coin_id: str, tell: Callable[[], None] | None = None) -> PriceRequest:
    """Ask for the price of a coin, or raise what the client is to be told."""
    user = sender(asked)
    wanted = Wanted(parse_coin_id(coin_id), (read_query(PriceQuery, asked).vs_currency,))
    return ask(asked, [wanted], user, requested_freshness(asked.header("cache-control")), tell)


def price_told(asked: Asked, request: PriceRequest) -> Answer:
    """Tell the price, or raise what the client is to be told."""
    (waiter,), (coin,) = request.admitted(), request.ask.wanted
    (vs_currency,) = coin.vs_currencies
    quote = waiter.quote(vs_currency)
    age = freshness_headers([quote], honoured=asked.services.settings.upstream_honour_cache)
    return ok(price_text(quote.price), batch_headers(quote) | age)


async def price_answer(asked: Asked, coin_id: str) -> Answer:
    """Wait for the price of a coin, or raise what the client is to be told."""
    with ask_price(asked, coin_id) as request:
        await over(asked, request)
        return price_told(asked, request)


class ShortWay:
    """Takes `GET /v1/price/{coinId}` from our own connections, and nothing else."""

    begins = b"GET /v1/price/"

    def __init__(self, services: Services) -> None:
        self._services = services

    def errand(self, scope: Scope, reply: Reply) -> Errand | None:
        """A request to be started, if it is for the price of a coin."""
        match = _PATH.fullmatch(scope["raw_path"])
        if match is None:
            return None
        return _PriceErrand(Asked(self._services, scope), match[1].decode(), self._services.log.open(scope), reply)


class _PriceErrand:
    """One request for a price, from its head to its line in the log."""

    __slots__ = ("_asked", "_coin_id", "_entry", "_reply", "_request")

    def __init__(self, asked: Asked, coin_id: str, entry: Entry, reply: Reply) -> None:
        self._asked = asked
        self._coin_id = coin_id
        self._entry = entry
        self._reply = reply
        self._request: PriceRequest
        asked.notes.route = ROUTE

    def start(self) -> None:
        """Ask for the price, or answer why not."""
        try:
            self._request = ask_price(self._asked, self._coin_id, self._finish)
            forget_headers(self._asked.scope)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._answer(error_answer(error, self._asked.scope))

    def cancel(self) -> None:
        """Give it up."""
        note(self._request, self._asked.notes)
        self._request.leave()
        has_left = self._asked.scope["extensions"][CLIENT].has_left
        self._entry.write(CLIENT_LEFT if has_left else None)

    def _finish(self) -> None:
        """Answer, now that it is known what."""
        note(self._request, self._asked.notes)
        try:
            with self._request as request:
                answer = price_told(self._asked, request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            answer = error_answer(error, self._asked.scope)
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        charged = charge_headers(self._asked.notes.charge)
        self._reply(answer.status, answer.headers | charged | self._entry.header, answer.body)
        self._entry.write(answer.status)
        self._asked.notes.error = None  # its traceback holds on to this very request
