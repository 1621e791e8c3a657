"""The client tells exactly how a request went wrong."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import trio

from tests.faults.http import Answer, Connections, NoAnswer

Serve = Callable[..., Awaitable[int]]

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Batch-Id: b1\r\n\r\nok"


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    connections = Connections()
    yield connections
    await connections.aclose()


@pytest.fixture
def serve(nursery: trio.Nursery) -> Serve:
    """Starts a server that says these things, one a request, and then hangs up; gives its port."""

    async def start(*told: bytes) -> int:
        async def speak(stream: trio.SocketStream) -> None:
            for answer in told:
                await stream.receive_some()
                await stream.send_all(answer)

        (listener,) = await nursery.start(partial(trio.serve_tcp, speak, 0, host="127.0.0.1"))
        return int(listener.socket.getsockname()[1])

    return start


async def test_an_answer_comes_whole_and_the_connection_is_used_again(serve: Serve, connections: Connections) -> None:
    port = await serve(FINE, FINE)
    answers = [await connections.get(port, "/", {}) for _ in range(2)]
    assert answers == [Answer(200, {"content-length": "2", "x-batch-id": "b1"}, b"ok", more=False)] * 2


async def test_a_second_answer_is_noticed(serve: Serve, connections: Connections) -> None:
    assert (await connections.get(await serve(FINE + FINE), "/", {})).more


@pytest.mark.parametrize(
    ("told", "how"),
    [
        (b"", "closed"),
        (FINE[:10], "broken"),
        (FINE[:-1], "broken"),
        (b"SSH-2.0\r\n\r\n", "broken"),
    ],
)
async def test_an_answer_that_is_missing_is_told_from_one_that_breaks_off(
    serve: Serve, connections: Connections, told: bytes, how: str
) -> None:
    with pytest.raises(NoAnswer) as caught:
        await connections.get(await serve(told), "/", {})
    assert caught.value.how == how


async def test_a_kept_connection_that_was_closed_meanwhile_is_a_close_before_any_answer(
    serve: Serve, connections: Connections
) -> None:
    port = await serve(FINE)
    await connections.get(port, "/", {})
    with pytest.raises(NoAnswer) as caught:
        await connections.get(port, "/", {})
    assert caught.value.how == "closed"


async def test_where_nobody_listens_is_a_refusal(connections: Connections) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(NoAnswer) as caught:
        await connections.get(port, "/", {})
    assert caught.value.how == "refused"
