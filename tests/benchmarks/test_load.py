"""The load generator, against tiny servers whose every answer is known."""

import sys
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import pytest
import trio

from benchmarks.load import Load, Order, Said
from benchmarks.wire import answer_end

REPOSITORY = Path(__file__).parents[2]
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Answers each request with the next of its answers, over and over, in two pieces; b'': by leaving."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self.sent: dict[bytes, int] = {}
        self.tokens: list[bytes] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            while head := await self._head(stream):
                self.tokens += [line for line in head.split(b"\r\n") if line.startswith(b"Authorization")]
                answer = self._answers[(len(self.tokens) - 1) % len(self._answers)]
                self.sent[answer] = self.sent.get(answer, 0) + 1
                if not answer:
                    return
                await stream.send_all(answer[:20])
                await stream.send_all(answer[20:])

    async def _head(self, stream: trio.SocketStream) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            data = await stream.receive_some()
            if not data:
                return b""
            head += data
        return head


async def loaded(server: Server, mode: Literal["closed", "burst", "hold"], **how: object) -> tuple[list[Said], Load]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        address = listeners[0].socket.getsockname()
        fixed = {"mode": mode, "targets": [address], "coins": ["bitcoin"], "secret": "s", "crowd": "c"}
        quick = {"users": 4, "requests_a_user": 5, "connections": 2, "settle_s": 0.0, "gap_s": 0.0, "warm_up_s": 0.0}
        order = msgspec.convert({**fixed, **quick, **how}, Order)
        ended = await trio.run_process(
            [sys.executable, "-m", "benchmarks.load"],
            stdin=msgspec.json.encode(order),
            capture_stdout=True,
            cwd=REPOSITORY,
        )
        nursery.cancel_scope.cancel()
    *said, load = ended.stdout.splitlines()
    return [msgspec.json.decode(line, type=Said) for line in said], msgspec.json.decode(load, type=Load)


async def test_a_closed_loop_counts_every_answer_by_its_status() -> None:
    server = Server(SIZED, CHUNKED, REFUSED, b"")
    said, load = await loaded(server, "closed")
    assert load.statuses == {"200": 10, "429": 5, "0": 5}
    assert load.ran_out_of_users
    assert [each.what for each in said] == ["begin", "end"]


async def test_no_user_asks_more_often_than_the_limit_and_they_take_turns() -> None:
    server = Server(SIZED)
    await loaded(server, "closed", connections=1)
    assert len(server.tokens) == 20
    assert len(set(server.tokens[:4])) == 4
    assert server.tokens[:4] * 5 == server.tokens


async def test_a_burst_sends_so_many_at_once_and_counts_those_after_the_warm_up() -> None:
    server = Server(SIZED)
    _, load = await loaded(server, "burst", bursts=3, burst_size=2, users=100)
    assert (load.requests, load.answered) == (6, 6)
    assert load.wait_ms is not None


async def test_held_requests_are_one_a_connection_and_all_are_answered() -> None:
    said, load = await loaded(Server(CHUNKED), "hold", connections=12, users=12)
    assert (load.requests, load.answered, load.statuses) == (12, 12, {"200": 12})
    assert (said[0].what, said[-1]) == ("begin", Said("end", 0))


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, REFUSED])
def test_an_answer_ends_where_it_ends_and_is_not_whole_before(answer: bytes) -> None:
    assert answer_end(answer + b"HTTP/1.1 200") == len(answer)
    assert [answer_end(answer[:length]) for length in range(len(answer))] == [None] * len(answer)
