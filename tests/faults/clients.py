"""Clients of a fleet: each request goes to one instance and is written down, however it ends.

    request = await fleet.clients.ask(Ask(0.0, "bitcoin", "usd", "a"))
    requests = await fleet.clients.drive(one_at_each_place("bitcoin"))

The load is open: each request is sent at its time, whatever became of those before it.
"""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec
import trio
from msgspec.structs import replace

from server.auth import issue_token
from tests.faults.history import Request
from tests.faults.http import Answer, Connections, NoAnswer
from tests.faults.instance import PLACES, SECRET, Instance

# A client that waits longer than anything promised has met a bug.
_GIVES_UP_S = 25.0


class Ask(NamedTuple):
    """A request to be sent."""

    at: float  # seconds after the start of the drive
    coin: str
    currency: str
    place: str
    user: str = ""  # one of its own


class _Price(msgspec.Struct, rename="camel"):
    """The body of a 200."""

    coin_id: str
    vs_currency: str
    price: Decimal
    fetched_at: str


class Clients:
    """Everybody who asks; connections are kept and used again."""

    def __init__(self, at: Callable[[str], Instance], requests: dict[int, Request]) -> None:
        self._at = at
        self._requests = requests  # {number: what is known of it}
        self._connections = Connections()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()

    async def ask(self, ask: Ask) -> Request:
        """Send one request, and write down what became of it."""
        instance, number = self._at(ask.place), len(self._requests) + 1
        user = ask.user or f"user-{number}"
        request = Request(
            number=number,
            instance=instance.name,
            user=user,
            coin=ask.coin,
            currency=ask.currency,
            sent_at=time.monotonic(),
        )
        self._requests[number] = request
        request = await self._send(request, instance.port)
        self._requests[number] = request
        return request

    async def ask_until_answered(self, ask: Ask) -> Request:
        """As `ask`, and after a refusal, a close before any answer, or a 503 at each other place in turn."""
        first = PLACES.index(ask.place)
        others = iter(PLACES[first + 1 :] + PLACES[:first])
        request = await self.ask(ask)
        while request.mishap in {"refused", "closed"} or request.status == 503:
            place = next(others, None)
            if place is None:
                break
            request = await self.ask(ask._replace(place=place))
        return request

    async def wait_ready(self, place: str) -> None:
        """Return when the instance there says that it is ready."""
        while not await self._is_ready(place):  # noqa: ASYNC110 - a server does not tell
            await trio.sleep(0.05)

    async def drive(self, asks: Sequence[Ask]) -> list[Request]:
        """Send each request at its time; all of them, once all have ended."""
        start, requests = trio.current_time(), list[Request]()

        async def send(ask: Ask) -> None:
            requests.append(await self.ask(ask))

        async with trio.open_nursery() as nursery:
            for ask in sorted(asks):
                await trio.sleep_until(start + ask.at)
                nursery.start_soon(send, ask)
        return requests

    async def _is_ready(self, place: str) -> bool:
        try:
            return (await self._connections.get(self._at(place).port, "/health/ready", {})).status == 200
        except NoAnswer:
            return False

    async def _send(self, request: Request, port: int) -> Request:
        token = issue_token(SECRET, subject=request.user, username=request.user, expires_s=600)
        headers = {"Authorization": f"Bearer {token}", "X-Request-Id": str(request.number)}
        target = f"/v1/price/{request.coin}?vsCurrency={request.currency}"
        try:
            with trio.fail_after(_GIVES_UP_S):
                answer = await self._connections.get(port, target, headers)
        except NoAnswer as mishap:
            return replace(request, ended_at=time.monotonic(), mishap=mishap.how)
        except trio.TooSlowError:
            return replace(request, ended_at=time.monotonic(), mishap="given up")
        return _answered(request, answer)


def _answered(request: Request, answer: Answer) -> Request:
    request = replace(
        request,
        ended_at=time.monotonic(),
        status=answer.status,
        answers=2 if answer.more else 1,
        echo=int(answer.headers.get("x-request-id", "0")),
        retry_after=answer.headers.get("retry-after", ""),
    )
    if answer.status != 200:
        return request
    price = msgspec.json.decode(answer.body, type=_Price)
    return replace(
        request,
        about=(price.coin_id, price.vs_currency),
        price=price.price,
        fetched_at=price.fetched_at,
        batch_id=answer.headers["x-batch-id"],
        size=int(answer.headers["x-batch-size"]),
        trigger=answer.headers["x-batch-trigger"],
    )
