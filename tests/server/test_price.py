"""The short way to a price and the long one, through Quart, give the same answers."""

import socket
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from quart_trio import QuartTrio

from core.errors import (
    CryptoPulseError,
    NotAtHand,
    OutboxFull,
    OverBudget,
    RedisUnavailable,
    ResultTimeout,
    ShuttingDown,
    TooBusy,
    UnknownCoin,
    UnlistedCurrency,
    UpstreamFailed,
    UpstreamLimited,
)
from core.limits import Charge, OverLimit
from server.answers import price_text
from server.auth import issue_token
from server.http1.asgi import App
from server.price import ShortWay
from server.services import EXTENSION, Services
from tests.garbage import searching
from tests.server.fakes import SECRET, World, make_quote
from tests.server.http1.wire import Client, answering, conversation, make_site, serve

PRICE = "/v1/price/bitcoin"
TOKEN = issue_token(SECRET, subject="ada", username="ada", expires_s=600)
EXPIRED = issue_token(SECRET, subject="ada", username="ada", expires_s=-1)
Headers = list[tuple[str, str]]
BEARER = [("Authorization", f"Bearer {TOKEN}")]


class Ways:
    """Sends the same request over two connections of ours, of which only one knows the short way."""

    def __init__(self, app: QuartTrio) -> None:
        self._app: App = app.asgi_app
        services: Services = app.extensions[EXTENSION]
        self.short = ShortWay(services)

    async def told(self, way: ShortWay | None, method: str, url: str, headers: Headers) -> tuple[int, Any, bytes]:
        head = [f"{method} {url} HTTP/1.1", "Host: test", *(f"{name}: {value}" for name, value in headers)]
        async with over(self._app, way) as client:
            await client.say("\r\n".join([*head, "", ""]).encode())
            [answer] = client.answers(method)
        assert answer.headers.pop("x-request-id")
        assert answer.headers.pop("date")
        return answer.status, answer.headers, answer.body

    async def both(self, method: str, url: str, headers: Headers) -> tuple[object, object]:
        return await self.told(self.short, method, url, headers), await self.told(None, method, url, headers)


def over(app: App, way: ShortWay | None) -> AbstractAsyncContextManager[Client]:
    """A connection to an app, with this short way."""

    async def server(app: App, sock: socket.socket) -> None:
        site = make_site(app, short_way=way)
        async with site.watched():
            await serve(site)(app, sock)

    return conversation(server, app)


@pytest.fixture
def ways(app: QuartTrio) -> Ways:
    return Ways(app)


@pytest.mark.parametrize(
    "url",
    [
        PRICE,
        f"{PRICE}?vsCurrency=eur",
        f"{PRICE}?vsCurrency=%65ur",
        f"{PRICE}?vsCurrency=",
        f"{PRICE}?vsCurrency=EUR",
        f"{PRICE}?vsCurrency=xyz",
        f"{PRICE}?vsCurrency=usd&vsCurrency=eur",
        f"{PRICE}?vsCurrency=usd&nonsense=1",
        f"{PRICE}?%ff%fe=1",
        f"{PRICE}?",
        "/v1/price/Bitcoin",
        "/v1/price/bit.coin",
        "/v1/price/bit%20coin",
        "/v1/price/b%C3%AFtcoin",
        "/v1/price/bit%2fcoin",
        f"/v1/price/{'b' * 129}",
        "/v1/price/",
        "/v1/price/bitcoin/",
        "//v1/price/bitcoin",
    ],
)
async def test_whatever_is_asked_the_short_way_answers_as_the_long_one(ways: Ways, url: str) -> None:
    short, long = await ways.both("GET", url, BEARER)
    assert short == long


async def test_both_are_counted_as_one_route(world: World, ways: Ways) -> None:
    await ways.both("GET", PRICE, BEARER)
    counted = 'cryptopulse_http_requests_total{route="/v1/price/{coinId}",status="200"} 2.0'
    assert counted in (await world.metrics.scrape()).decode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
async def test_so_it_does_for_every_method(ways: Ways, method: str) -> None:
    short, long = await ways.both(method, PRICE, BEARER)
    assert short == long


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "Basic YTpi")],
        [("Authorization", f"Bearer {TOKEN}x")],
        [("Authorization", f"Bearer {EXPIRED}")],
        [("authorization", f"bearer  {TOKEN}")],
        [*BEARER, *BEARER],
        [*BEARER, ("Cache-Control", "max-age=30, stale-if-error=60")],
        [*BEARER, ("Cache-Control", "only-if-cached")],
        [*BEARER, ("Accept", "text/html"), ("Origin", "https://example.com"), ("X-Forwarded-For", "192.0.2.9")],
        [("Accept", "application/problem+json")],
        [*BEARER, ("Connection", "close")],
        [*BEARER, ("Content-Length", "0")],
        [*BEARER, ("Expect", "100-continue")],
    ],
)
async def test_so_it_does_for_every_header_that_matters(world: World, ways: Ways, headers: Headers) -> None:
    short, long = await ways.both("GET", PRICE, headers)
    assert short == long
    asked = world.desk.admitted
    assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]


@pytest.mark.parametrize(
    "error",
    [
        UnknownCoin("no such coin"),
        UnlistedCurrency("not in this currency"),
        UpstreamFailed("failed"),
        UpstreamLimited("limited", retry_after_s=17),
        OverBudget("no call in time", retry_after_s=3),
        ResultTimeout("too late"),
        NotAtHand("nothing at hand"),
        ValueError("nobody foresaw this"),
    ],
)
async def test_so_it_does_for_every_error_that_a_waiter_meets(world: World, ways: Ways, error: Exception) -> None:
    world.desk.answer = error
    for accept in ("*/*", "application/problem+json"):
        short, long = await ways.both("GET", PRICE, [*BEARER, ("Accept", accept)])
        assert short == long


@pytest.mark.parametrize(
    "refusal",
    [
        OverLimit(Charge("user:ada", limit=20, remaining=0, reset_s=42)),
        TooBusy(),
        OutboxFull(),
        RedisUnavailable(),
        ShuttingDown(),
    ],
)
async def test_so_it_does_for_every_refusal(world: World, ways: Ways, refusal: CryptoPulseError) -> None:
    world.desk.refusal = refusal
    for accept in ("*/*", "application/problem+json"):
        short, long = await ways.both("GET", PRICE, [*BEARER, ("Accept", accept)])
        assert short == long


async def test_so_it_does_for_a_price_that_was_at_hand(world: World, ways: Ways) -> None:
    world.desk.answer = make_quote(trigger="fresh", age_s=7, fresh_for_s=20)
    short, long = await ways.both("GET", PRICE, BEARER)
    assert short == long


@pytest.mark.parametrize(
    ("request_line", "is_short"),
    [
        (f"GET {PRICE}", True),
        (f"GET {PRICE}?vsCurrency=eur", True),
        (f"HEAD {PRICE}", False),
        (f"GET {PRICE}/history", False),
        ("GET /v1/price/bit%63oin", False),
        ("GET /v1/prices?ids=bitcoin", False),
    ],
)
async def test_the_short_way_is_for_the_price_of_a_coin_alone(
    world: World, ways: Ways, request_line: str, is_short: bool
) -> None:
    async with over(answering(b"from the app"), ways.short) as client:
        await client.say(f"{request_line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        [answer] = client.answers(request_line[:4])
    assert ("x-batch-id" in answer.headers) is is_short
    assert len(world.desk.admitted) == is_short


def test_a_price_is_written_once_for_all_who_waited_for_it() -> None:
    assert price_text(make_quote("1.5").price) is price_text(make_quote("1.5").price)


@pytest.mark.parametrize(
    ("refusal", "token", "status"),
    [
        (None, TOKEN, 200),
        (None, EXPIRED, 401),
        (OverLimit(Charge("user:ada", limit=20, remaining=0, reset_s=42)), TOKEN, 429),
    ],
)
async def test_an_answer_leaves_nothing_behind_that_must_be_searched_for(
    world: World, ways: Ways, refusal: CryptoPulseError | None, token: str, status: int
) -> None:
    """Thousands a second are given: to look for what only holds on to itself took a tenth of the time."""
    world.desk.refusal = refusal
    words = f"GET {PRICE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    async with over(answering(b""), ways.short) as client:
        await client.say(words)
        with searching() as left:
            await client.say(*[words] * 10)
        assert [answer.status for answer in client.answers()] == [status] * 11
    assert not {"PriceRequest", "_PriceErrand", "Notes", "Entry", "Head"} & left
