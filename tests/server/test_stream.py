"""`GET /v1/prices/stream`, up to the moment when the token expires."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal

import httpx
import pytest
import trio
from quart_trio import QuartTrio
from trio.testing import MockClock

from core.batches import Result
from core.errors import RedisUnavailable
from core.limits import OverLimit
from core.prices import Price
from core.streams import NOWHERE, News, tick_id
from server.app import create_app
from server.auth import User, issue_token
from server.listener import bound_socket, serving
from server.routes.stream import _told
from tests.server.fakes import BATCH_ID, CHARGE, FETCHED_AT, FETCHED_AT_MS, SECRET, World, make_settings, nobody_waits
from tests.waiting import until

PATH = "/v1/prices/stream?ids=bitcoin"
BODY = f'{{"coinId":"bitcoin","vsCurrency":"usd","price":67210.45,"fetchedAt":"{FETCHED_AT}"}}'
ID = f"{FETCHED_AT_MS}-{BATCH_ID}-usd"
PRICE = f"event: price\ndata: {BODY}\nid: {ID}\n\n"
EXPIRED = 'event: end\ndata: {"reason":"token expired"}\n\n'


@pytest.fixture
def _unix_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole seconds, so that a token expires when it says."""
    now = int(time.time())
    monkeypatch.setattr("time.time", lambda: now)


def result(text: str = "67210.45", at_ms: int = FETCHED_AT_MS) -> Result:
    return Result(BATCH_ID, "bitcoin", "window", 1, at_ms, 1.0, prices={"usd": Decimal(text)})


def blocks(answer: httpx.Response) -> list[str]:
    """The parts of a stream behind the hint when to come back."""
    first, *others = re.findall(r".*?\n\n", answer.text, re.DOTALL)
    match = re.fullmatch(r"retry: (\d+)\n(.*)\n", first, re.DOTALL)
    assert match is not None
    assert 1000 <= int(match[1]) < 5000
    return [match[2], *others]


@pytest.mark.usefixtures("_unix_time")
async def test_a_price_is_told_as_it_is_fetched_and_a_sign_of_life_after_15_s_of_silence(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], autojump_clock: MockClock
) -> None:
    async def fetch() -> None:
        await trio.sleep(20)
        world.streams.hear_results([result()])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch)
        answer = await client.get(PATH, headers=bearer)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    alive = f": heartbeat\nid: {ID}\n\n"
    # At 15, 20, 35, 50 and 60 s: the price began a new silence.
    assert blocks(answer) == [f"id: {NOWHERE}\n", f": heartbeat\nid: {NOWHERE}\n\n", PRICE, alive, alive, EXPIRED]
    assert trio.current_time() == pytest.approx(60)


@pytest.mark.usefixtures("_unix_time")
async def test_who_comes_back_is_told_what_came_meanwhile(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], autojump_clock: MockClock
) -> None:
    world.streams.hear_results([result("1", FETCHED_AT_MS - 1), result()])
    last_id = tick_id(Price(BATCH_ID, "bitcoin", "usd", Decimal(1), FETCHED_AT_MS - 1))
    answer = await client.get(PATH, headers=bearer | {"Last-Event-ID": last_id})
    assert blocks(answer)[:2] == ["", PRICE]


@pytest.mark.usefixtures("_unix_time")
async def test_who_comes_back_too_late_is_reset_and_told_what_is_at_hand(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], autojump_clock: MockClock
) -> None:
    world.coordinator.at_hand = [Price(BATCH_ID, "bitcoin", "usd", Decimal("67210.45"), FETCHED_AT_MS)]
    answer = await client.get(PATH, headers=bearer | {"Last-Event-ID": "long ago"})
    at_hand = f"event: price\ndata: {BODY}\n\n"
    assert blocks(answer)[:2] == ["", f"event: reset\ndata: {{}}\nid: {NOWHERE}\n\n"]
    assert blocks(answer)[2] == at_hand


@pytest.mark.usefixtures("_unix_time")
async def test_a_stream_ends_with_its_token_and_not_a_moment_later(
    client: httpx.AsyncClient, autojump_clock: MockClock
) -> None:
    token = issue_token(SECRET, subject="ada", username="ada", expires_s=15)
    answer = await client.get(PATH, headers={"Authorization": f"Bearer {token}"})
    assert blocks(answer) == [f"id: {NOWHERE}\n", EXPIRED]
    assert trio.current_time() == pytest.approx(15)


@pytest.mark.usefixtures("_unix_time")
async def test_opening_costs_one_unit_and_what_is_left_is_told(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], autojump_clock: MockClock
) -> None:
    ids = ",".join(f"coin-{number}" for number in range(250))
    answer = await client.get(f"/v1/prices/stream?ids={ids}&vsCurrencies=usd,eur", headers=bearer)
    assert world.coordinator.charged == [("user:ada", 20)]
    assert answer.headers["X-RateLimit-Remaining"] == "19"


@pytest.mark.usefixtures("_unix_time")
async def test_a_sign_of_life_comes_after_exactly_15_s_in_which_nothing_was_told(
    world: World, autojump_clock: MockClock
) -> None:
    with world.streams.open("user:ada", ["bitcoin"], ["usd"]) as stream:
        user = User("ada", int(time.time()) + 60)
        async with aclosing(_told(world.streams, stream, None, user)) as told:
            assert (await anext(told)).startswith(b"retry: ")
            await trio.sleep(7)  # as long as a slow client takes
            assert (await anext(told)).startswith(b": heartbeat")
            assert trio.current_time() == 22
            world.streams.hear_results([result()])
            assert await anext(told) == PRICE.encode()
            assert (await anext(told)).startswith(b": heartbeat")
            assert trio.current_time() == 37


@pytest.mark.usefixtures("_unix_time")
async def test_a_price_of_the_moment_of_a_sign_of_life_is_told_instead_of_it(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.streams.open("user:ada", ["bitcoin"], ["usd"]) as stream:
        waited = stream.news

        async def news() -> News | None:
            try:
                return await waited()
            except trio.Cancelled:
                world.streams.hear_results([result()])
                raise

        monkeypatch.setattr(stream, "news", news)
        user = User("ada", int(time.time()) + 60)
        async with aclosing(_told(world.streams, stream, None, user)) as told:
            assert (await anext(told)).startswith(b"retry: ")
            assert await anext(told) == PRICE.encode()
            assert trio.current_time() == 15


async def test_head_tells_the_headers_and_ends(world: World, url: str, bearer: dict[str, str]) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.head(f"{url}{PATH}", headers=bearer)
        await until(lambda: not world.streams._of_coin)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert "Content-Length" not in answer.headers


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "ids: coin ids with commas between, at least one and at most 250."),
        ("?ids=", "ids: coin ids with commas between, at least one and at most 250."),
        ("?ids=Bitcoin", "ids: 'Bitcoin' is not a coin id."),
        ("?ids=bitcoin&vsCurrencies=xyz", "vsCurrencies: 'xyz' is not supported."),
        ("?ids=" + ",".join(map(str, range(251))), "ids: 251 given; send at most 250 at once."),
        ("?ids=bitcoin&token=x", "Unknown query parameter 'token'"),
    ],
)
async def test_a_malformed_query_is_400_and_costs_nothing(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, message: str
) -> None:
    answer = await client.get(f"/v1/prices/stream{query}", headers=bearer)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)
    assert world.coordinator.charged == []


async def test_an_id_that_is_none_of_ours_is_400(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    assert (await client.get(PATH, headers=bearer | {"Last-Event-ID": "x" * 257})).status_code == 400


@pytest.mark.parametrize("path", [PATH, f"{PATH}&access_token=x"])
async def test_the_token_is_taken_from_the_header_alone(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_another_method_is_405(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    answer = await client.post(PATH, headers=bearer)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(("refusal", "status"), [(OverLimit(CHARGE), 429), (RedisUnavailable(), 503)])
async def test_who_cannot_be_charged_gets_no_stream_and_holds_no_place(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], refusal: Exception, status: int
) -> None:
    world.coordinator.refusal = refusal
    for _ in range(world.settings.max_streams_per_user + 1):
        answer = await client.get(PATH, headers=bearer)
        assert answer.status_code == status
        assert "Retry-After" in answer.headers
        assert "streams" not in answer.json()["message"]


async def test_during_a_drain_none_is_opened(world: World, client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    world.streams.drain()
    answer = await client.get(PATH, headers=bearer)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert world.coordinator.charged == []


class Wire:
    """A stream over a real connection, read by hand."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received = b""

    async def ask(self, bearer: dict[str, str], path: str = PATH) -> None:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer['Authorization']}\r\n\r\n"
        await self.stream.send_all(head.encode())

    async def until(self, text: bytes) -> bytes:
        """All that came until this text did."""
        while text not in self.received:
            part = await self.stream.receive_some(65_536)
            assert part, self.received
            self.received += part
        return self.received

    async def rest(self) -> bytes:
        return self.received + b"".join([part async for part in self.stream])


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    host, _, port = url.removeprefix("http://").partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        yield Wire(stream)


async def test_a_price_goes_over_the_wire_at_once(world: World, url: str, bearer: dict[str, str]) -> None:
    async with wire(url) as one:
        await one.ask(bearer)
        await one.until(b"retry: ")
        world.streams.hear_results([result()])
        await one.until(PRICE.encode())


@pytest.mark.parametrize("leave", ["close", "half-close"])
async def test_a_client_that_leaves_makes_room_for_another(bearer: dict[str, str], leave: str) -> None:
    world = World(make_settings(max_streams_per_user=1))
    with bound_socket("127.0.0.1", 0) as listener:
        app = create_app(world.services())
        async with serving(app, world.services(), listener, nobody_waits) as url:
            async with wire(url) as one:
                await one.ask(bearer)
                await one.until(b"retry: ")
                async with wire(url) as other:
                    await other.ask(bearer)
                    refused = await other.until(b"}")
                    assert refused.startswith(b"HTTP/1.1 429 ")
                    assert b"retry-after: 10\r\n" in refused.lower()
                if leave == "half-close":
                    await one.stream.send_eof()
                    await one.rest()
            await until(lambda: not world.streams._of_coin)
            assert not world.streams._of_caller
            world.draining.set()


async def test_a_drain_ends_streams_with_a_word_and_is_not_held_up(
    world: World, app: QuartTrio, bearer: dict[str, str]
) -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        async with serving(app, world.services(), listener, nobody_waits) as url, wire(url) as one:
            await one.ask(bearer)
            await one.until(b"retry: ")
            world.streams.drain()
            world.draining.set()
            # Less than anything else that ends a connection.
            with trio.fail_after(2):
                told = await one.rest()
    assert told.endswith(b'event: end\ndata: {"reason":"shutting down"}\n\n\r\n0\r\n\r\n')


async def test_a_client_that_does_not_read_holds_its_latest_prices_and_is_cut(
    world: World, app: QuartTrio, bearer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.listener._IDLE_S", 0.5)
    with bound_socket("127.0.0.1", 0) as listener:
        async with serving(app, world.services(), listener, nobody_waits) as url, wire(url) as one:
            one.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
            await one.ask(bearer)
            await one.until(b"retry: ")
            (stream,) = world.streams._of_coin["bitcoin"]
            number = 0
            while world.streams._of_coin:
                number += 1
                world.streams.hear_results([result(str(number), FETCHED_AT_MS + number)])
                await trio.lowlevel.checkpoint()
            assert len(stream._untold) == 1
            world.draining.set()
