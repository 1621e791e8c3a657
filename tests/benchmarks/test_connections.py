from functools import partial

import pytest
import trio

from benchmarks.connections import Answer, Connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"


class Server:
    """Answers each request on a connection with the next of its answers, and closes it after the last."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.heads: list[str] = []
        self.connections = 0
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        for answer in self.answers:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive_some()
            self.heads.append(head.decode())
            await stream.send_all(answer)


async def started(server: Server, nursery: trio.Nursery) -> Server:
    [listener] = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
    server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    return server


async def test_a_connection_is_used_again(nursery: trio.Nursery) -> None:
    server, connections = await started(Server(OK, OK), nursery), Connections()
    assert [await connections.get(server.url, target, {"A": "b"}) for target in ("/1", "/2")] == [
        Answer(200, b"{}")
    ] * 2
    assert server.connections == 1
    host = server.url.removeprefix("http://")
    assert server.heads[1].splitlines()[:3] == ["GET /2 HTTP/1.1", f"Host: {host}", "A: b"]
    connections.close()
    nursery.cancel_scope.cancel()


async def test_a_connection_that_the_server_will_close_is_not(nursery: trio.Nursery) -> None:
    server, connections = await started(Server(CLOSING), nursery), Connections()
    assert [await connections.get(server.url, "/", {}) for _ in range(2)] == [Answer(404, b"")] * 2
    assert server.connections == 2
    nursery.cancel_scope.cancel()


async def test_a_connection_that_was_idle_for_long_is_not(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    server, connections = await started(Server(OK, OK), nursery), Connections()
    assert await connections.get(server.url, "/", {}) == Answer(200, b"{}")
    mock_clock.jump(5)
    assert await connections.get(server.url, "/", {}) == Answer(200, b"{}")
    assert server.connections == 2
    connections.close()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", [b"", CUT, b"no HTTP\r\n\r\n"])
async def test_an_answer_that_does_not_come_whole_is_none(answer: bytes, nursery: trio.Nursery) -> None:
    server, connections = await started(Server(answer), nursery), Connections()
    assert await connections.get(server.url, "/", {}) is None
    nursery.cancel_scope.cancel()


async def test_who_stops_waiting_leaves_no_connection_behind(nursery: trio.Nursery) -> None:
    gone = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass
        gone.set()

    [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    with trio.move_on_after(0.1):
        await Connections().get(f"http://127.0.0.1:{listener.socket.getsockname()[1]}", "/", {})
    with trio.fail_after(5):
        await gone.wait()
    nursery.cancel_scope.cancel()
