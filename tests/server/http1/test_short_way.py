"""Requests that no task waits for, between those that one does."""

import select
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from server.http1.asgi import Scope
from server.http1.short_way import Reply
from server.http1.site import Site
from tests.server.http1.wire import Client, answering, conversation, make_site, serve

SHORT = b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_S = 10


class FakeErrand:
    def __init__(self, scope: Scope, reply: Reply, *, body: bytes | None) -> None:
        self.scope = scope
        self.reply = reply
        self.started = self.cancelled = False
        self._body = body

    def start(self) -> None:
        self.started = True
        if self._body is not None:
            self.answer(self._body)

    def cancel(self) -> None:
        self.cancelled = True

    def answer(self, body: bytes = b"short") -> None:
        self.reply(200, {"Content-Type": "text/plain"}, body)


class FakeWay:
    begins = b"GET /short"

    def __init__(self) -> None:
        self.errands: list[FakeErrand] = []
        self.at_once: bytes | None = None  # what to answer as soon as it is asked

    def errand(self, scope: Scope, reply: Reply) -> FakeErrand | None:
        if scope["path"] == "/short/and/broken":
            raise ValueError("nobody foresaw this")
        if scope["path"] != "/short":
            return None
        self.errands.append(FakeErrand(scope, reply, body=self.at_once))
        return self.errands[-1]


@pytest.fixture
def way() -> FakeWay:
    return FakeWay()


@pytest.fixture
def site(way: FakeWay) -> Site:
    return make_site(answering(b"long"), short_way=way, patience_s=PATIENCE_S)


@asynccontextmanager
async def talking(site: Site) -> AsyncIterator[Client]:
    async with site.watched(), conversation(serve(site), site.app) as client:
        await wait_all_tasks_blocked()
        yield client


def bodies(client: Client) -> list[bytes]:
    return [answer.body for answer in client.answers()]


def pieces(text: bytes, length: int) -> Iterable[bytes]:
    return [text[at : at + length] for at in range(0, len(text), length)]


async def test_one_is_answered_when_its_answer_is_there(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        await client.say(SHORT)
        assert (way.errands[0].started, client.heard) == (True, b"")
        way.errands[0].answer()
        await client.listen()
        [answer] = client.answers()
        assert (answer.status, answer.reason, answer.body) == (200, "OK", b"short")
        assert answer.headers["content-type"] == "text/plain"
        assert "date" in answer.headers
        assert not client.ended


@pytest.mark.parametrize("length", [1, 7, len(SHORT)])
async def test_it_may_come_in_pieces(site: Site, way: FakeWay, length: int) -> None:
    way.at_once = b"short"
    async with talking(site) as client:
        for _ in range(2):
            await client.say(*pieces(SHORT, length))
        assert bodies(client) == [b"short", b"short"]
        assert len(way.errands) == 2


async def test_a_shorter_one_may_follow_one_that_came_in_pieces(site: Site, way: FakeWay) -> None:
    way.at_once = b"short"
    async with talking(site) as client:
        await client.say(*pieces(SHORT, 1))
        await client.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert bodies(client) == [b"short", b"long"]


async def test_both_kinds_take_turns_on_a_connection(site: Site, way: FakeWay) -> None:
    way.at_once = b"short"
    async with talking(site) as client:
        await client.say(SHORT, LONG, SHORT, SHORT, LONG)
        assert bodies(client) == [b"short", b"long", b"short", b"short", b"long"]
        assert len(way.errands) == 3


async def test_what_is_not_for_it_goes_to_the_app(site: Site, way: FakeWay) -> None:
    others = [
        b"GET /shorter HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /short/and/broken HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /short HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /short HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    async with talking(site) as client:
        await client.say(*others)
        assert bodies(client) == [b"long"] * len(others)
        assert way.errands == []


async def test_what_is_wrong_with_one_is_said_as_of_any_other(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        await client.say(b"GET /short HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")
        assert [answer.status for answer in client.answers()] == [400]
        assert client.ended
        assert way.errands == []


@pytest.mark.parametrize("ahead", [LONG, SHORT])
async def test_whoever_asks_ahead_is_answered_in_turn(site: Site, way: FakeWay, ahead: bytes) -> None:
    async with talking(site) as client:
        await client.say(SHORT, ahead[:9], ahead[9:] + LONG)
        assert client.heard == b""
        way.errands[0].answer(b"first")
        await client.listen()
        assert bodies(client) == [b"first", b"long", b"long"]


async def test_a_client_that_leaves_cancels_its_request_and_no_other(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        await client.say(SHORT)
        way.errands[0].answer()
        await client.say(SHORT)
        client.leave()
        await wait_all_tasks_blocked()
    assert [errand.cancelled for errand in way.errands] == [False, True]


async def test_what_the_server_cuts_off_is_cancelled(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        await client.say(SHORT)
    assert way.errands[0].cancelled


async def test_who_asks_for_the_end_gets_it_after_the_answer(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        await client.say(SHORT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + LONG)
        way.errands[0].answer()
        await client.listen()
        assert [(answer.body, answer.headers["connection"]) for answer in client.answers()] == [(b"short", "close")]
        assert client.ended


async def test_at_the_end_of_the_server_it_is_still_answered_as_the_last(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        await client.say(SHORT)
        site.end()
        await client.listen()
        assert not client.ended
        way.errands[0].answer()
        await client.listen()
        assert [(answer.body, answer.headers["connection"]) for answer in client.answers()] == [(b"short", "close")]
        assert client.ended


async def test_it_counts_towards_what_a_connection_may_carry(way: FakeWay) -> None:
    way.at_once = b"short"
    site = make_site(answering(b"long"), short_way=way, requests_per_connection=3)
    async with talking(site) as client:
        await client.say(SHORT, LONG, SHORT, LONG)
        assert bodies(client) == [b"short", b"long", b"short"]
        assert client.ended


async def test_who_waits_for_its_answer_is_not_dismissed_and_is_later(
    mock_clock: MockClock, site: Site, way: FakeWay
) -> None:
    async with talking(site) as client:
        await client.say(SHORT)
        mock_clock.jump(PATIENCE_S * 3)
        await client.listen()
        assert not client.ended
        way.errands[0].answer()
        mock_clock.jump(PATIENCE_S - 1)
        await client.say(SHORT)
        way.errands[1].answer()
        mock_clock.jump(PATIENCE_S - 1)
        await client.listen()
        assert not client.ended
        mock_clock.jump(2)
        await client.listen()
        assert client.ended
        assert bodies(client) == [b"short", b"short"]


async def test_of_a_long_answer_the_client_takes_in_what_it_can_and_the_rest_later(site: Site, way: FakeWay) -> None:
    body = bytes(5_000_000)
    async with talking(site) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.say(SHORT)
        way.errands[0].answer(body)
        await wait_all_tasks_blocked()
        client.socket.sendall(SHORT)
        await client.listen()
        while len(client.heard) < len(body):
            await client.listen()
        way.at_once = b"short"
        await client.say(SHORT)
        assert bodies(client) == [body, b"long", b"short"], "in turn; what came meanwhile was for the task"


async def test_who_reads_no_answer_is_left(mock_clock: MockClock, site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        await client.say(SHORT)
        way.errands[0].answer(bytes(5_000_000))
        await wait_all_tasks_blocked()
        mock_clock.jump(PATIENCE_S + 1)
        await wait_all_tasks_blocked()
        mock_clock.jump(1)  # it lingers half a second
        await client.listen()
        await client.listen()
        assert client.ended


async def test_who_leaves_while_the_rest_of_an_answer_is_sent_is_not_waited_for(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        hung_up = select.poll()
        hung_up.register(client.socket, 0)  # it tells when both sides are closed
        await client.say(SHORT)
        way.errands[0].answer(bytes(5_000_000))
        await wait_all_tasks_blocked()
        client.socket.shutdown(socket.SHUT_WR)
        await wait_all_tasks_blocked()
        assert hung_up.poll(0)


async def test_an_answer_that_is_none_ends_its_connection_alone(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        await client.say(SHORT)
        way.errands[0].reply(200, {"X-Split": "a\r\nSet-Cookie: b"}, b"")
        await client.listen()
        assert (client.heard, client.ended) == (b"", True)
        async with conversation(serve(site), site.app) as other:
            await other.say(LONG)
            assert bodies(other) == [b"long"]


async def test_an_answer_is_spelt_as_that_of_an_app(site: Site, way: FakeWay) -> None:
    async with talking(site) as client:
        way.at_once = b"long"
        await client.say(SHORT, LONG)
        short, long = client.answers()
    del short.headers["content-type"]
    assert (short.status, short.reason, short.headers.keys()) == (long.status, long.reason, long.headers.keys())
