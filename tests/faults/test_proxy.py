"""The network that misbehaves does so as it is told."""

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import pytest
import trio

from tests.faults.proxy import Forward, Proxy, Taps


class Line(NamedTuple):
    """A proxy before a server that says everything back."""

    proxy: Proxy
    port: int

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


@pytest.fixture
async def echo_port(nursery: trio.Nursery) -> int:
    async def echo(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for chunk in stream:
                await stream.send_all(chunk)

    (listener,) = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
    return int(listener.socket.getsockname()[1])


@pytest.fixture
async def line(echo_port: int, nursery: trio.Nursery) -> Line:
    proxy = Proxy(("127.0.0.1", echo_port))
    return Line(proxy, await nursery.start(proxy.serve))


@pytest.fixture
async def stream(line: Line) -> AsyncIterator[trio.SocketStream]:
    async with await line.connect() as stream:
        yield stream


async def said_back(stream: trio.SocketStream, said: bytes) -> bytes:
    """What comes back of what is sent, once it is all there."""
    await stream.send_all(said)
    heard = b""
    while len(heard) < len(said):
        heard += await stream.receive_some()
    return heard


async def test_bytes_pass_both_ways_whole_and_in_order(stream: trio.SocketStream) -> None:
    assert await said_back(stream, b"hello") == b"hello"


async def test_latency_delays_each_way(line: Line, stream: trio.SocketStream) -> None:
    line.proxy.latency_s = 0.05
    began_at = trio.current_time()
    assert await said_back(stream, b"hello") == b"hello"
    assert trio.current_time() - began_at >= 0.1


async def test_latency_delays_what_follows_no_more_than_what_went_before(line: Line, stream: trio.SocketStream) -> None:
    line.proxy.latency_s = 0.5
    began_at = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            for _ in range(20):
                await stream.send_all(b"x")
                await trio.sleep(0.01)

        nursery.start_soon(send)
        heard = b""
        while len(heard) < 20:
            heard += await stream.receive_some()
    assert trio.current_time() - began_at < 20 * 0.5


async def test_a_cut_resets_connections_and_refuses_new_ones_until_it_is_mended(
    line: Line, stream: trio.SocketStream
) -> None:
    await said_back(stream, b"hello")
    line.proxy.cut()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    async with await line.connect() as other:
        with pytest.raises(trio.BrokenResourceError):
            await said_back(other, b"hello")

    line.proxy.mend()
    async with await line.connect() as other:
        assert await said_back(other, b"hello") == b"hello"


async def test_silence_holds_everything_back_until_it_is_mended(line: Line, stream: trio.SocketStream) -> None:
    line.proxy.silence()
    async with await line.connect() as other:
        for one in (stream, other):
            await one.send_all(b"hello")
        with trio.move_on_after(0.1) as silence:
            await stream.receive_some()
        assert silence.cancelled_caught

        line.proxy.mend()
        assert [await one.receive_some() for one in (stream, other)] == [b"hello", b"hello"]


async def test_the_end_of_one_side_is_the_end_of_the_other(line: Line, nursery: trio.Nursery) -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.send_all(b"bye")

    (listener,) = await nursery.start(partial(trio.serve_tcp, hang_up, 0, host="127.0.0.1"))
    proxy = Proxy(("127.0.0.1", listener.socket.getsockname()[1]))
    async with await Line(proxy, await nursery.start(proxy.serve)).connect() as stream:
        assert [await stream.receive_some(), await stream.receive_some()] == [b"bye", b""]


async def test_a_server_that_is_down_is_a_reset(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    proxy = Proxy(("127.0.0.1", port))
    async with await Line(proxy, await nursery.start(proxy.serve)).connect() as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_a_tap_sees_each_way_and_may_act_first_change_nothing_or_hold_for_ever(
    echo_port: int, nursery: trio.Nursery
) -> None:
    seen: list[tuple[str, bytes]] = []

    async def up(chunk: bytes, forward: Forward) -> None:
        seen.append(("up", chunk))
        await forward(chunk)

    async def down(chunk: bytes, forward: Forward) -> None:
        seen.append(("down", chunk))
        if chunk == b"hold":
            await trio.sleep_forever()
        await forward(chunk)

    proxy = Proxy(("127.0.0.1", echo_port), lambda: Taps(up, down))
    async with await Line(proxy, await nursery.start(proxy.serve)).connect() as stream:
        assert await said_back(stream, b"pass") == b"pass"
        await stream.send_all(b"hold")
        with trio.move_on_after(0.1) as silence:
            await stream.receive_some()
    assert silence.cancelled_caught
    assert seen == [("up", b"pass"), ("down", b"pass"), ("up", b"hold"), ("down", b"hold")]
