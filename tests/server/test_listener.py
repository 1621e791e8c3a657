"""The app behind real connections: leaving clients, hostile ones, the way out."""

import itertools
import signal
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import trio
from quart_trio import QuartTrio

from server.app import create_app
from server.listener import CannotListen, bound_socket, serving
from server.shutdown import CutOff, ended_by_signals
from tests.server.fakes import BATCH_ID, World, make_settings, nobody_waits

Lines = list[MutableMapping[str, Any]]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[trio.SocketStream]:
    host, _, port = url.removeprefix("http://").partition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        yield stream


async def refuses_connections(url: str) -> None:
    """Return once the server listens no more."""
    with suppress(OSError):
        while True:
            async with connected(url):
                await trio.lowlevel.checkpoint()


async def received(stream: trio.SocketStream) -> bytes:
    """All that comes until the server closes the connection."""
    return b"".join([chunk async for chunk in stream])


async def received_answer(stream: trio.SocketStream) -> bytes:
    """One answer with a price, whatever pieces it comes in."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += await stream.receive_some(65_536)
    return answer


async def answer_when_let_in(url: str, bearer: dict[str, str]) -> bytes:
    """An answer on a connection of its own, once the server takes one."""
    while True:
        with suppress(trio.BrokenResourceError):
            async with connected(url) as stream:
                await stream.send_all(request_for_price(bearer))
                if first := await stream.receive_some(65_536):
                    return bytes(first)


def request_for_price(bearer: dict[str, str]) -> bytes:
    return f"GET /v1/price/bitcoin HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer['Authorization']}\r\n\r\n".encode()


async def test_a_price_comes_over_the_wire(url: str, bearer: dict[str, str]) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/v1/price/bitcoin", headers=bearer)
    assert (answer.status_code, answer.json()["coinId"]) == (200, "bitcoin")
    assert "server" not in answer.headers
    assert len(answer.headers.get_list("content-type")) == 1


@pytest.mark.parametrize("leave", ["close", "half-close", "reset"])
async def test_a_client_that_leaves_gives_its_wait_up_and_is_logged_as_499(
    world: World, app: QuartTrio, bearer: dict[str, str], log_lines: Lines, leave: str
) -> None:
    world.desk.holds = True
    with bound_socket("127.0.0.1", 0) as listener:
        async with serving(app, world.services(), listener, nobody_waits) as url:
            async with connected(url) as stream:
                await stream.send_all(request_for_price(bearer))
                await world.desk.arrived.wait()
                await leave_by(leave, stream)
                await world.desk.left.wait()
            world.draining.set()
    assert world.desk.waiting == []
    (line,) = [line for line in log_lines if line["event"] == "request"]
    assert (line["status"], line["log_level"], line["batch_id"]) == (499, "info", BATCH_ID)


async def leave_by(way: str, stream: trio.SocketStream) -> None:
    if way == "half-close":
        await stream.send_eof()
        return
    if way == "reset":
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await stream.aclose()


async def test_one_connection_carries_many_requests(url: str, bearer: dict[str, str]) -> None:
    async with connected(url) as stream:
        for _ in range(3):
            await stream.send_all(request_for_price(bearer))
            assert (await received_answer(stream)).startswith(b"HTTP/1.1 200 ")


async def test_who_waits_is_answered_before_the_server_ends(
    world: World, app: QuartTrio, bearer: dict[str, str]
) -> None:
    world.desk.holds = True
    answers: list[httpx.Response] = []
    with bound_socket("127.0.0.1", 0) as listener:
        async with (
            trio.open_nursery() as clients,
            serving(app, world.services(), listener, nobody_waits) as url,
        ):

            async def ask() -> None:
                async with httpx.AsyncClient() as client:
                    answers.append(await client.get(f"{url}/v1/price/bitcoin", headers=bearer))

            clients.start_soon(ask)
            await world.desk.arrived.wait()
            world.draining.set()
            await refuses_connections(url)
            world.desk.drain()
    assert [answer.status_code for answer in answers] == [200]


async def test_an_idle_connection_does_not_hold_the_server_up(
    world: World, app: QuartTrio, bearer: dict[str, str]
) -> None:
    patience_s = world.settings.batch_result_timeout_ms / 1000
    with bound_socket("127.0.0.1", 0) as listener, trio.fail_after(patience_s):  # less than the graceful timeout
        async with (
            serving(app, world.services(), listener, nobody_waits) as url,
            connected(url) as stream,
        ):
            await stream.send_all(request_for_price(bearer))
            assert (await received_answer(stream)).startswith(b"HTTP/1.1 200 ")
            world.draining.set()
            assert await received(stream) == b""


async def test_beyond_the_most_connections_new_ones_are_closed_until_one_leaves(bearer: dict[str, str]) -> None:
    world = World(make_settings(max_connections=2))
    app = create_app(world.services())
    with bound_socket("127.0.0.1", 0) as listener:
        async with serving(app, world.services(), listener, nobody_waits) as url:
            async with connected(url) as first, connected(url) as second:
                for stream in (first, second):
                    await stream.send_all(request_for_price(bearer))
                    assert (await received_answer(stream)).startswith(b"HTTP/1.1 200 ")
                async with connected(url) as third:
                    assert await received(third) == b""
            assert (await answer_when_let_in(url, bearer)).startswith(b"HTTP/1.1 200 ")
            world.draining.set()


async def test_prometheus_is_told_how_many_connections_are_open_of_how_many(bearer: dict[str, str]) -> None:
    world = World(make_settings(max_connections=7))
    app = create_app(world.services())
    with bound_socket("127.0.0.1", 0) as listener:
        async with serving(app, world.services(), listener, nobody_waits) as url:
            async with connected(url) as first, connected(url) as second:
                for stream in (first, second):
                    await stream.send_all(request_for_price(bearer))
                    await received_answer(stream)
                told = await world.metrics.scrape()
            world.draining.set()
    assert b"\ncryptopulse_connections 2.0\n" in told
    assert b"\ncryptopulse_connections_limit 7.0\n" in told


@asynccontextmanager
async def connected_without_reading(url: str) -> AsyncIterator[trio.SocketStream]:
    """A client that asks for more than all buffers on the way hold, and reads nothing of it."""
    async with connected(url) as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(b"GET /docs-json HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
        yield stream


async def send_until_reset(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"GET /docs-json HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_a_client_that_does_not_read_is_cut(
    world: World, app: QuartTrio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.listener._IDLE_S", 0.3)
    with bound_socket("127.0.0.1", 0) as listener:
        async with serving(app, world.services(), listener, nobody_waits) as url:
            async with connected_without_reading(url) as stream:
                with pytest.raises(trio.BrokenResourceError):
                    await send_until_reset(stream)
            world.draining.set()


async def test_a_client_that_does_not_read_holds_no_end_up(world: World, app: QuartTrio) -> None:
    with bound_socket("127.0.0.1", 0) as listener, trio.CancelScope() as crash:
        async with (
            serving(app, world.services(), listener, nobody_waits) as url,
            connected_without_reading(url) as stream,
        ):
            await stream.receive_some(1)
            crash.cancel()
            await trio.sleep_forever()
    assert crash.cancelled_caught


def test_an_address_that_is_taken_is_told_in_one_line() -> None:
    with bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as refused, bound_socket("127.0.0.1", port):
            pass
    assert str(refused.value) == (
        f"Cannot listen on 127.0.0.1:{port}: Address already in use. Set HOST and PORT to an address that is free."
    )


TARGETS = ["*", "http://[", "http://x/nowhere", "nowhere", "?", "http://x", "//", "/%", "/%2", "/\\", "/a;b", "x:y"]
HOSTS = ["x", "", "a b", "x:y", "[", "é", "a" * 300, "..", "x:99999", "-"]


async def test_the_strangest_request_is_answered_in_json(url: str) -> None:
    for target, host in itertools.product(TARGETS, HOSTS):
        async with connected(url) as stream:
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            await stream.send_all(head.encode())
            answer = await received(stream)
        assert answer.startswith(b"HTTP/1.1 4"), (target, host)
        assert b'{"statusCode":4' in answer, (target, host)


async def test_a_body_that_nobody_asked_for_does_no_harm(url: str, bearer: dict[str, str]) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.request("GET", f"{url}/v1/price/bitcoin", headers=bearer, content=b"x" * 100_000)
    assert answer.status_code == 200


async def test_an_oversize_body_in_chunks_is_413(url: str) -> None:
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    async with connected(url) as stream:
        await stream.send_all(
            b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 5
        )
        answer = await received(stream)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'{"statusCode":413,' in answer


async def test_a_malformed_chunk_is_400_and_logged_once(url: str, log_lines: Lines) -> None:
    async with connected(url) as stream:
        await stream.send_all(
            b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nno\r\n"
        )
        answer = await received(stream)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'{"statusCode":400,' in answer
    assert [line["status"] for line in log_lines if line["event"] == "request"] == [400]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "400 Bad Request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "501 Not Implemented"),
        (b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "414 Request-URI Too Long"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000, "431 Request Header Fields Too Large"),
    ],
)
async def test_what_is_no_http_is_an_error_as_any_other(
    url: str, log_lines: Lines, request_: bytes, status: str
) -> None:
    async with connected(url) as stream:
        await stream.send_all(request_)
        answer = await received(stream)
    assert answer.startswith(f"HTTP/1.1 {status}\r\n".encode())
    for part in (b"content-type: application/json\r\n", b"x-request-id: ", b"connection: close\r\n", b'{"statusCode":'):
        assert part in answer
    assert [f"{line['status']}" for line in log_lines if line["event"] == "request"] == [status[:3]]


async def test_a_websocket_is_refused(url: str) -> None:
    async with connected(url) as stream:
        await stream.send_all(
            b"GET /v1/price/bitcoin HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = await received(stream)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'{"statusCode":404,' in answer


class Signals:
    """Sends itself a signal, and waits until it was heard."""

    def __init__(self) -> None:
        self.heard = trio.Event()

    def send(self, which: signal.Signals) -> None:
        signal.raise_signal(which)

    def hear(self) -> None:
        self.heard.set()


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_begins_the_drain_and_lets_the_block_end(which: signal.Signals) -> None:
    signals = Signals()
    async with ended_by_signals(signals.hear):
        signals.send(which)
        await signals.heard.wait()


async def test_the_second_signal_ends_the_block_at_once() -> None:
    signals = Signals()
    with pytest.RaisesGroup(pytest.RaisesExc(CutOff, match="second SIGINT")):
        async with ended_by_signals(signals.hear):
            signals.send(signal.SIGTERM)
            await signals.heard.wait()
            signals.send(signal.SIGINT)
            await trio.sleep_forever()


async def test_without_a_signal_nothing_begins() -> None:
    signals = Signals()
    async with ended_by_signals(signals.hear):
        await trio.lowlevel.checkpoint()
    assert not signals.heard.is_set()
