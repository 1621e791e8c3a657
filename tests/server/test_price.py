"""The short way to a price and the long one, through Quart, give the same answers."""

from typing import Any

import httpx
import pytest
import trio
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
from server.http1.asgi import App, Message, Receive, Scope, Send
from server.http1.connection import CLIENT
from server.price import ShortWay
from tests.server.fakes import SECRET, World, make_quote

PRICE = "/v1/price/bitcoin"
TOKEN = issue_token(SECRET, subject="ada", username="ada", expires_s=600)
EXPIRED = issue_token(SECRET, subject="ada", username="ada", expires_s=-1)
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class ByWay:
    """Sends requests to an app by one of the two ways."""

    def __init__(self, app: App, *, is_short: bool) -> None:
        self._app = app
        self._extensions: dict[str, Any] = {CLIENT: None} if is_short else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "extensions": self._extensions}, receive, send)

    async def told(self, method: str, url: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        transport = httpx.ASGITransport(self)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.request(method, url, headers=headers)
        headers = dict(answer.headers)
        assert headers.pop("x-request-id")
        return answer.status_code, headers, answer.content


async def both_ways(app: QuartTrio, method: str, url: str, headers: Any) -> tuple[object, object]:
    asgi: App = app.asgi_app
    short, long = ByWay(asgi, is_short=True), ByWay(asgi, is_short=False)
    return await short.told(method, url, headers), await long.told(method, url, headers)


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
async def test_whatever_is_asked_the_short_way_answers_as_the_long_one(app: QuartTrio, url: str) -> None:
    short, long = await both_ways(app, "GET", url, BEARER)
    assert short == long


async def test_both_are_counted_as_one_route(world: World, app: QuartTrio) -> None:
    await both_ways(app, "GET", PRICE, BEARER)
    counted = 'cryptopulse_http_requests_total{route="/v1/price/{coinId}",status="200"} 2.0'
    assert counted in (await world.metrics.scrape()).decode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
async def test_so_it_does_for_every_method(app: QuartTrio, method: str) -> None:
    short, long = await both_ways(app, method, PRICE, BEARER)
    assert short == long


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {EXPIRED}"},
        [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")],
        BEARER | {"Cache-Control": "max-age=30, stale-if-error=60"},
        BEARER | {"Cache-Control": "only-if-cached"},
        BEARER | {"Accept": "text/html", "Origin": "https://example.com", "X-Forwarded-For": "192.0.2.9"},
    ],
)
async def test_so_it_does_for_every_header_that_matters(world: World, app: QuartTrio, headers: Any) -> None:
    short, long = await both_ways(app, "GET", PRICE, headers)
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
async def test_so_it_does_for_every_error_that_a_waiter_meets(world: World, app: QuartTrio, error: Exception) -> None:
    world.desk.answer = error
    short, long = await both_ways(app, "GET", PRICE, BEARER)
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
async def test_so_it_does_for_every_refusal(world: World, app: QuartTrio, refusal: CryptoPulseError) -> None:
    world.desk.refusal = refusal
    short, long = await both_ways(app, "GET", PRICE, BEARER)
    assert short == long


async def test_so_it_does_for_a_price_that_was_at_hand(world: World, app: QuartTrio) -> None:
    world.desk.answer = make_quote(trigger="fresh", age_s=7, fresh_for_s=20)
    short, long = await both_ways(app, "GET", PRICE, BEARER)
    assert short == long


@pytest.mark.parametrize(
    ("method", "path", "extensions", "is_short"),
    [
        ("GET", PRICE, {CLIENT: None}, True),
        ("GET", PRICE, {}, False),
        ("HEAD", PRICE, {CLIENT: None}, False),
        ("GET", f"{PRICE}/history", {CLIENT: None}, False),
        ("GET", "/v1/prices", {CLIENT: None}, False),
    ],
)
async def test_the_short_way_is_taken_for_a_price_where_the_connection_ends_what_its_client_left(
    world: World, method: str, path: str, extensions: dict[str, Any], is_short: bool
) -> None:
    quart_was_asked = trio.Event()
    sent: list[Message] = []

    async def quart(scope: Scope, receive: Receive, send: Send) -> None:
        quart_was_asked.set()

    async def receive() -> Message:
        raise AssertionError("nobody asks for a body")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in BEARER.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    await ShortWay(quart, world.services())(scope | {"extensions": extensions}, receive, send)
    assert quart_was_asked.is_set() is not is_short
    assert [message.get("status") for message in sent] == ([200, None] if is_short else [])


def test_a_price_is_written_once_for_all_who_waited_for_it() -> None:
    assert price_text(make_quote("1.5").price) is price_text(make_quote("1.5").price)
