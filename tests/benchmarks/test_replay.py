from collections import Counter
from functools import partial

import trio

from benchmarks.replay import replay
from core.simulation import Arrival

# More than the 100 that an HTTP client lets out at a time if nothing else is said.
CROWD = 150


class HoldingServer:
    """Answers nobody before all have come."""

    def __init__(self, crowd: int) -> None:
        self.heads: list[str] = []
        self._crowd = crowd
        self._complete = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        self.heads.append(head.decode())
        if len(self.heads) == self._crowd:
            self._complete.set()
        await self._complete.wait()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


async def url_of(server: HoldingServer, nursery: trio.Nursery) -> str:
    [listener] = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
    return f"http://127.0.0.1:{listener.socket.getsockname()[1]}"


async def test_requests_go_out_whether_or_not_earlier_ones_were_answered(nursery: trio.Nursery) -> None:
    url = await url_of(HoldingServer(CROWD), nursery)
    with trio.fail_after(30):
        outcomes = await replay([Arrival(0.0, "bitcoin")] * CROWD, [url], ["token"])
    assert Counter(outcome.status for outcome in outcomes) == {200: CROWD}
    nursery.cancel_scope.cancel()


async def test_instances_and_users_take_turns(nursery: trio.Nursery) -> None:
    server = HoldingServer(6)
    urls = [await url_of(server, nursery), await url_of(server, nursery)]
    with trio.fail_after(30):
        outcomes = await replay([Arrival(0.0, "bitcoin")] * 6, urls, ["ada", "bob", "eve"])
    assert Counter(outcome.url for outcome in outcomes) == {urls[0]: 3, urls[1]: 3}
    tokens = Counter(line for head in server.heads for line in head.splitlines() if line.startswith("Authorization:"))
    assert tokens == {"Authorization: Bearer ada": 2, "Authorization: Bearer bob": 2, "Authorization: Bearer eve": 2}
    nursery.cancel_scope.cancel()


async def test_a_server_that_is_not_there_gives_no_answer_and_ends_nothing(nursery: trio.Nursery) -> None:
    here = await url_of(HoldingServer(1), nursery)
    nobody = "http://127.0.0.1:1"
    outcomes = await replay([Arrival(0.0, "bitcoin")] * 2, [here, nobody], ["token"])
    assert {outcome.url: outcome.status for outcome in outcomes} == {here: 200, nobody: None}
    nursery.cancel_scope.cancel()
