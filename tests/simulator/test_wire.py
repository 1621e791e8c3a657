"""Connections: how they last, and how they end."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
import trio.testing

from simulator.failures import Hang, Huge
from simulator.wire import HANG_S, MAX_BODY_BYTES, REQUEST_S, serve_connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from simulator import Simulator

PING = b"GET /api/v3/ping HTTP/1.1\r\nHost: simulator\r\n\r\n"


@pytest.fixture
async def stream(simulator: Simulator, nursery: trio.Nursery) -> trio.abc.Stream:
    """The client's end of a connection in memory, where the clock may jump."""
    ours, theirs = trio.testing.memory_stream_pair()

    async def serve() -> None:
        async with theirs:
            await serve_connection(theirs, simulator.answer)

    nursery.start_soon(serve)
    return ours


async def read_answers(stream: trio.abc.Stream, count: int) -> bytes:
    received = b""
    while received.count(b"To the Moon!") < count and (data := await stream.receive_some()):
        received += data
    return received


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


async def test_a_connection_carries_many_requests(client: httpx.AsyncClient, simulator: Simulator) -> None:
    streams = {(await client.get("/api/v3/ping")).extensions["network_stream"] for _ in range(3)}
    assert len(streams) == 1
    assert len(simulator.calls) == 3


async def test_requests_sent_ahead_are_answered_in_turn(stream: trio.abc.Stream) -> None:
    await stream.send_all(PING * 3)
    assert (await read_answers(stream, 3)).count(b"HTTP/1.1 200") == 3


async def test_a_client_that_asks_to_close_is_left_after_its_answer(stream: trio.abc.Stream) -> None:
    await stream.send_all(PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert (await read_to_end(stream)).endswith(b'{"gecko_says":"(V3) To the Moon!"}')


async def test_head_gets_the_headers_alone(client: httpx.AsyncClient) -> None:
    answer = await client.head("/api/v3/ping")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "34", b"")
    assert (await client.get("/api/v3/ping")).status_code == 200


async def test_every_answer_has_an_id_of_its_own_and_a_date(client: httpx.AsyncClient) -> None:
    answers = [await client.get("/api/v3/ping") for _ in range(2)]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2
    assert answers[0].headers["date"] == "Sun, 22 Nov 2026 16:40:20 GMT"


async def test_latency_comes_before_each_answer(
    simulator: Simulator, stream: trio.abc.Stream, autojump_clock: trio.testing.MockClock
) -> None:
    simulator.config.latency_ms = 250
    await stream.send_all(PING * 2)
    await read_answers(stream, 2)
    assert trio.current_time() == 0.5


async def test_an_idle_connection_is_closed_in_the_end(
    stream: trio.abc.Stream, autojump_clock: trio.testing.MockClock
) -> None:
    await stream.send_all(PING)
    await read_to_end(stream)
    assert trio.current_time() == REQUEST_S


async def test_a_hanging_connection_is_closed_in_the_end(
    simulator: Simulator, stream: trio.abc.Stream, autojump_clock: trio.testing.MockClock
) -> None:
    simulator.config.failures = [Hang()]
    await stream.send_all(PING)
    assert await read_to_end(stream) == b""
    assert trio.current_time() == HANG_S


async def test_a_hanging_connection_ends_when_its_client_leaves(
    simulator: Simulator, autojump_clock: trio.testing.MockClock
) -> None:
    simulator.config.failures = [Hang()]
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, theirs, simulator.answer)
        await ours.send_all(PING)
        await trio.testing.wait_all_tasks_blocked()
        await ours.aclose()
    assert trio.current_time() == 0


async def test_what_is_not_http_is_refused_and_the_connection_closed(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"hello\r\n\r\n")
    assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400 ")


async def test_a_body_beyond_a_megabyte_is_refused(stream: trio.abc.Stream) -> None:
    head = f"POST /__config HTTP/1.1\r\nHost: simulator\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    await stream.send_all(head.encode() + b"x" * (MAX_BODY_BYTES + 1))
    assert (await read_to_end(stream)).startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_waits_to_be_told_is_told_to_go_on(stream: trio.abc.Stream) -> None:
    head = b"POST /__reset HTTP/1.1\r\nHost: simulator\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    await stream.send_all(head)
    assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 100 ")


async def leave_at_once(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def leave_in_the_middle_of_a_request(stream: trio.SocketStream) -> None:
    await stream.send_all(PING[:20])
    await stream.aclose()


async def leave_before_the_answer(stream: trio.SocketStream) -> None:
    await stream.send_all(PING)
    await stream.aclose()


async def reset_in_the_middle_of_the_answer(stream: trio.SocketStream) -> None:
    await stream.send_all(PING)
    await stream.receive_some(1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


@pytest.mark.parametrize(
    "leave",
    [
        leave_at_once,
        leave_in_the_middle_of_a_request,
        leave_before_the_answer,
        reset_in_the_middle_of_the_answer,
    ],
)
async def test_a_client_that_leaves_ends_nothing_but_its_connection(
    simulator: Simulator,
    client: httpx.AsyncClient,
    url: str,
    leave: Callable[[trio.SocketStream], Awaitable[None]],
) -> None:
    simulator.config.failures = [Huge(padding_bytes=50_000_000)]
    for _ in range(3):
        await leave(await trio.open_tcp_stream("127.0.0.1", httpx.URL(url).port or 0))
    simulator.config.failures = []
    assert (await client.get("/api/v3/ping")).status_code == 200


async def test_a_target_far_too_long_is_still_answered(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"GET /api/v3/simple/price?vs_currencies=usd&ids=" + b"a" * 20_000)
    await trio.testing.wait_all_tasks_blocked()
    await stream.send_all(b" HTTP/1.1\r\nHost: simulator\r\nConnection: close\r\n\r\n")
    assert (await read_to_end(stream)).startswith(b"HTTP/1.1 414 ")
