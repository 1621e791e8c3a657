"""One connection of ours: what it does over time."""

import socket
from collections.abc import MutableMapping
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from server.access_log import AccessLog
from server.http1.asgi import Message, Receive, Scope, Send
from server.http1.connection import CLIENT
from server.request_log import RequestLog
from tests.server.http1.wire import Client, answering, conversation, echo, make_site, ours, serve, start

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


class Waiting:
    """An app that waits for its cue, and notes what becomes of it."""

    def __init__(self, *, receives: bool = False) -> None:
        self.receives = receives
        self.cue = trio.Event()
        self.begun = 0
        self.ends: list[str] = []
        self.scope: Scope = {}
        self.messages: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        self.scope = scope
        end = "cancelled"
        try:
            await self._answer(receive, send)
            end = "answered"
        finally:
            self.ends.append(end)

    async def _answer(self, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            if self.receives:
                nursery.start_soon(self._receive, receive)
            await self.cue.wait()
            await answering(b"done")(self.scope, receive, send)

    async def _receive(self, receive: Receive) -> None:
        while not self.messages or self.messages[-1]["type"] != "http.disconnect":
            self.messages.append(await receive())

    @property
    def left(self) -> bool:
        return bool(self.scope["extensions"][CLIENT].has_left)


def statuses(client: Client) -> list[int]:
    return [answer.status for answer in client.answers()]


class TestAnswers:
    async def test_an_answer_is_sent_at_once_with_a_reason_and_a_date(self) -> None:
        async with conversation(ours, answering(b"hello")) as client:
            await client.say(GET)
        assert client.heard.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: ")
        assert client.heard.endswith(b" GMT\r\n\r\nhello")

    async def test_requests_that_are_sent_together_are_answered_in_turn(self) -> None:
        app = Waiting()
        async with conversation(ours, app) as client:
            await client.say(GET * 3)
            assert app.begun == 1
            app.cue.set()
            await client.listen()
        assert statuses(client) == [200, 200, 200]

    async def test_without_a_length_an_answer_goes_in_chunks(self) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for part in (b"one", b"", b"two"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})

        async with conversation(ours, app) as client:
            await client.say(GET)
            assert client.heard.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
            await client.say(GET.replace(b"1.1", b"1.0"))
        assert client.answers()[1].body == b"onetwo"
        assert "transfer-encoding" not in client.answers()[1].headers

    @pytest.mark.parametrize(("status", "request_"), [(204, GET), (304, GET), (200, GET.replace(b"GET", b"HEAD"))])
    async def test_what_has_no_body_gets_none(self, status: int, request_: bytes) -> None:
        async with conversation(ours, answering(b"hello", status)) as client:
            await client.say(request_)
            assert client.heard.endswith(b"\r\n\r\n")
            assert b"chunked" not in client.heard
            await client.say(request_)
            assert client.heard.count(b"HTTP/1.1 ") == 2

    async def test_the_last_request_of_a_connection_is_told_so(self) -> None:
        site = make_site(answering(b"ok"), requests_per_connection=2)
        async with site.watched(), conversation(serve(site), echo) as client:
            await client.say(GET * 3)
        assert [answer.headers.get("connection") for answer in client.answers()] == [None, "close"]
        assert client.ended

    @pytest.mark.parametrize(
        "headers",
        [
            [(b"x", b"a\r\nb: c")],
            [(b"x", b"a\nb")],
            [(b"x\r\ny", b"a")],
            [(b"x", b"a\0")],
            [(b"content-length", b"+2")],
            [(b"content-length", b"2"), (b"content-length", b"3")],
        ],
    )
    async def test_a_head_that_would_be_read_as_another_is_a_500(self, headers: list[tuple[bytes, bytes]]) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": headers})

        with capture_logs():
            async with conversation(ours, app) as client:
                await client.say(GET)
        assert (statuses(client), client.ended) == ([500], True)


class TestFailures:
    @pytest.mark.parametrize("raises", [True, False])
    async def test_an_app_that_does_not_answer_is_answered_for(self, raises: bool) -> None:
        async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
            if raises:
                raise ZeroDivisionError

        with capture_logs() as lines:
            async with conversation(ours, app) as client:
                await client.say(GET)
        (answer,) = client.answers()
        assert (answer.status, answer.reason, client.ended) == (500, "Internal Server Error", True)
        assert answer.body.startswith(b'{"statusCode":500,')
        assert lines[0]["event"] == "a request failed"

    @pytest.mark.parametrize("raises", [True, False])
    async def test_half_an_answer_ends_the_connection(self, raises: bool) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(start(200, b"hello"))
            await send({"type": "http.response.body", "body": b"hel", "more_body": True})
            if raises:
                raise ZeroDivisionError

        with capture_logs():
            async with conversation(ours, app) as client:
                await client.say(GET)
        assert client.ended
        assert client.heard.endswith(b"\r\n\r\nhel")

    @pytest.mark.parametrize("body", [b"hell", b"hello!"])
    async def test_a_body_of_another_length_ends_the_connection(self, body: bytes) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(start(200, b"hello"))
            await send({"type": "http.response.body", "body": body})

        with capture_logs():
            async with conversation(ours, app) as client:
                await client.say(GET)
        assert (client.heard, client.ended) == (b"", True)

    async def test_what_is_sent_after_the_answer_reaches_nobody(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await answering(b"ok")(scope, receive, send)
            await answering(b"more")(scope, receive, send)

        with capture_logs() as lines:
            async with conversation(ours, app) as client:
                await client.say(GET + GET)
        assert statuses(client) == [200, 200]
        assert [line["event"] for line in lines] == ["a request failed"] * 2

    async def test_a_malformed_request_is_an_error_as_any_other_and_logged_once(self) -> None:
        with capture_logs() as lines:
            async with conversation(ours, echo) as client:
                await client.say(b"GET /a HTTP/1.1\r\nX-Request-Id: me\r\nHost : x\r\n\r\n")
        (answer,) = client.answers()
        assert answer.body == b'{"statusCode":400,"message":"The request is malformed.","error":"Bad Request"}'
        assert (answer.headers["content-type"], answer.headers["connection"]) == ("application/json", "close")
        assert answer.headers["x-request-id"]
        (line,) = lines
        assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/a", 400)


class TestBodies:
    async def test_a_client_is_called_on_to_continue_when_the_app_wants_the_body(self) -> None:
        async with conversation(ours, echo) as client:
            await client.say(EXPECTING)
            assert client.heard == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.say(b"hello")
            assert (statuses(client), client.ended) == ([200], False)

    async def test_it_is_not_when_the_answer_comes_first(self) -> None:
        async with conversation(ours, answering(b"no", 413)) as client:
            await client.say(EXPECTING)
        (answer,) = client.answers()
        assert (answer.status, answer.headers["connection"], client.ended) == (413, "close", True)
        assert b"100 Continue" not in client.heard

    async def test_an_app_may_leave_out_a_body_that_is_there(self) -> None:
        async with conversation(ours, answering(b"ok")) as client:
            await client.say(POST + b"hello" + GET)
            assert (statuses(client), client.ended) == ([200, 200], False)

    async def test_a_body_that_still_comes_after_the_answer_ends_the_connection(self) -> None:
        async with conversation(ours, answering(b"ok")) as client:
            await client.say(POST + b"hel")
            assert (statuses(client), client.ended) == ([200], True)

    async def test_what_still_comes_is_taken_in_for_a_while(self, mock_clock: MockClock) -> None:
        """Else the system would end the connection in a way that costs the client its answer."""
        async with conversation(ours, answering(b"ok")) as client:
            await client.say(POST.replace(b"5", b"9999999"), *[bytes(100_000)] * 20)
            assert client.socket.send(b"more") == 4
            mock_clock.jump(1)
            await wait_all_tasks_blocked()
            with pytest.raises(BrokenPipeError):
                client.socket.send(b"more")

    async def test_reading_goes_on_when_the_app_does(self) -> None:
        taken = 0

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal taken
            await cue.wait()
            while (message := await receive())["more_body"]:
                taken += len(message["body"])
            taken += len(message["body"])
            await answering(b"ok")(scope, receive, send)

        cue = trio.Event()
        async with conversation(ours, app) as client:
            await client.say(POST.replace(b"5", b"100000"), bytes(100_000))
            cue.set()
            await client.listen()
        assert (statuses(client), taken) == ([200], 100_000)

    async def test_a_malformed_chunk_is_400_for_the_app_that_reads_it(self) -> None:
        with capture_logs():
            async with conversation(ours, echo) as client:
                await client.say(POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"x\r\n")
        assert (statuses(client), client.ended) == ([400], True)

    async def test_a_malformed_chunk_behind_the_answer_is_nobodys_failure(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(start(200, b"hello"))
            await send({"type": "http.response.body", "body": b"he", "more_body": True})
            assert not (await receive())["more_body"]
            await send({"type": "http.response.body", "body": b"llo", "more_body": False})

        with capture_logs() as lines:
            async with conversation(ours, app) as client:
                await client.say(POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"x\r\n")
        assert (statuses(client), client.ended, lines) == ([200], True, [])

    async def test_who_sends_faster_than_the_app_reads_has_to_wait(self) -> None:
        app = Waiting()
        async with conversation(ours, app) as client:
            await client.say(POST.replace(b"5", b"9999999"))
            sent = 0
            for _ in range(100):
                try:
                    sent += client.socket.send(bytes(65_536))
                except BlockingIOError:
                    break
                await wait_all_tasks_blocked()
            else:
                pytest.fail("everything was taken in")
            kept = len(app.scope["extensions"][CLIENT]._line.received)
        assert 64 * 1024 < kept <= 64 * 1024 + 16 * 1024

    async def test_every_byte_of_a_large_body_arrives(self) -> None:
        total = 0

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal total
            more = True
            while more:
                message = await receive()
                total += len(message["body"])
                more = message["more_body"]
            await answering(b"ok")(scope, receive, send)

        async with conversation(ours, app) as client:
            await client.say(POST.replace(b"5", b"1000000"), *[bytes(10_000)] * 100)
        assert (statuses(client), total) == ([200], 1_000_000)


class TestLeaving:
    @pytest.mark.parametrize("receives", [True, False])
    @pytest.mark.parametrize("way", ["close", "half-close"])
    async def test_a_client_that_leaves_ends_its_request(self, way: str, receives: bool) -> None:
        app = Waiting(receives=receives)
        async with conversation(ours, app) as client:
            await client.say(GET)
            assert not app.left
            client.leave() if way == "close" else client.socket.shutdown(socket.SHUT_WR)
            await wait_all_tasks_blocked()
        assert app.ends == ["cancelled"]
        assert app.left

    async def test_it_is_noticed_behind_another_request(self) -> None:
        app = Waiting()
        async with conversation(ours, app) as client:
            await client.say(GET + GET)
            client.leave()
            await wait_all_tasks_blocked()
        assert (app.ends, app.begun) == (["cancelled"], 1)

    async def test_whoever_receives_hears_of_it(self) -> None:
        messages: list[Message] = []

        async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
            messages.append(await receive())
            with trio.CancelScope(shield=True):
                messages.append(await receive())

        async with conversation(ours, app) as client:
            await client.say(GET)
            client.leave()
            await wait_all_tasks_blocked()
        assert messages[1:] == [{"type": "http.disconnect"}]

    async def test_it_is_logged_also_where_nobody_receives(self) -> None:
        app = Waiting()
        with capture_logs() as lines:
            async with conversation(ours, AccessLog(app, RequestLog())) as client:
                await client.say(GET)
                client.leave()
                await wait_all_tasks_blocked()
        assert [line["status"] for line in lines] == [499]

    async def test_a_server_that_ends_is_no_client_that_left(self) -> None:
        with capture_logs() as lines:
            async with conversation(ours, AccessLog(Waiting(), RequestLog())) as client:
                await client.say(GET)
        assert [line["status"] for line in lines] == [None]

    async def test_an_app_need_not_answer_who_left(self) -> None:
        async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
            with trio.CancelScope(shield=True):
                while (await receive())["type"] != "http.disconnect":
                    pass

        with capture_logs() as lines:
            async with conversation(ours, app) as client:
                await client.say(GET)
                client.leave()
                await wait_all_tasks_blocked()
        assert lines == []

    async def test_after_the_answer_nothing_is_cancelled(self) -> None:
        done: list[Message] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await answering(b"ok")(scope, receive, send)
            await resume.wait()
            done.append(await receive())

        resume = trio.Event()
        async with conversation(ours, app) as client:
            await client.say(GET)
            client.leave()
            await wait_all_tasks_blocked()
            resume.set()
            await wait_all_tasks_blocked()
        assert done == [{"type": "http.disconnect"}]

    async def test_a_receive_under_way_hears_of_the_end_of_the_answer(self) -> None:
        app = Waiting(receives=True)
        async with conversation(ours, app) as client:
            await client.say(GET)
            app.cue.set()
            await client.listen()
        assert (app.ends, app.messages[-1]) == (["answered"], {"type": "http.disconnect"})


class TestRequestsAhead:
    async def test_of_many_requests_at_once_no_more_is_taken_in_than_of_one(self) -> None:
        kept = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            kept.append(len(scope["extensions"][CLIENT]._line.received))
            await answering(b"ok")(scope, receive, send)

        async with conversation(ours, app) as client:
            await client.send_all(GET.replace(b"Host", b"X: " + bytes([0x61]) * 1000 + b"\r\nHost") * 500)
            await client.say(GET)
        assert statuses(client) == [200] * 501
        assert max(kept) <= 64 * 1024 + 16 * 1024

    async def test_the_next_one_is_read_after_a_body_that_nobody_asked_for(self) -> None:
        app = Waiting()
        async with conversation(ours, app) as client:
            await client.send_all(POST.replace(b"5", b"70000") + bytes(70_000))
            app.cue.set()
            await client.say(GET)
        assert statuses(client) == [200, 200]

    async def test_a_head_that_is_far_too_long_is_taken_in_so_that_its_refusal_arrives(self) -> None:
        async with conversation(ours, echo) as client:
            await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nx: " + bytes([0x61]) * 300_000)
            await client.listen()
        assert (statuses(client), client.ended) == ([431], True)


class TestTurns:
    async def test_many_requests_at_once_leave_others_their_turn(self) -> None:
        async with conversation(ours, answering(b"ok")) as client:
            turns = await turns_of_others(client, GET * 50)
        assert len(client.answers()) == 50
        assert turns > 40

    async def test_a_long_answer_does_too(self) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(50):
                await send({"type": "http.response.body", "body": b"part", "more_body": True})
            await send({"type": "http.response.body"})

        async with conversation(ours, app) as client:
            assert await turns_of_others(client, GET) > 40


async def turns_of_others(client: Client, said: bytes) -> int:
    """How often somebody else gets to run until what was said is answered."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        client.socket.sendall(said)
        nursery.start_soon(take_turns)
        while client.heard.count(b"HTTP/1.1 ") < said.count(b"GET ") or client.heard.endswith(b"part\r\n"):
            await trio.lowlevel.wait_readable(client.socket)
            client.heard += client.socket.recv(65_536)
        nursery.cancel_scope.cancel()
    return turns


class TestTimes:
    @pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nX-Slow: ", GET])
    async def test_who_sends_no_head_in_time_is_left(self, mock_clock: MockClock, said: bytes) -> None:
        site = make_site(answering(b"ok"), patience_s=10)
        async with site.watched(), conversation(serve(site), echo) as client:
            await client.listen()
            mock_clock.jump(5)
            await client.say(said)
            mock_clock.jump(4.9 if said != GET else 9.9)
            await client.listen()
            assert not client.ended
            mock_clock.jump(0.2)
            await client.listen()
            assert client.ended

    async def test_who_waits_for_an_answer_is_not(self, mock_clock: MockClock) -> None:
        app = Waiting()
        async with conversation(ours, app) as client:
            await client.say(GET)
            mock_clock.jump(1000)
            app.cue.set()
            await client.listen()
            assert (statuses(client), client.ended) == ([200], False)

    async def test_who_reads_slowly_gets_all_of_it(self, mock_clock: MockClock) -> None:
        """Each half of the patience what fits into the socket, for some time longer than the patience."""
        async with conversation(ours, answering(bytes(3_000_000))) as client:
            client.socket.sendall(GET)
            for _ in range(100):
                await client.listen()
                mock_clock.jump(5)
            (answer,) = client.answers()
        assert len(answer.body) == 3_000_000

    async def test_who_does_not_read_is_left(self, mock_clock: MockClock) -> None:
        ends = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await answering(bytes(10_000_000))(scope, receive, send)
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:
                ends.append(scope["extensions"][CLIENT].has_left)
                raise

        async with conversation(ours, app) as client:
            client.socket.sendall(GET)
            await wait_all_tasks_blocked()
            mock_clock.jump(9.9)
            await wait_all_tasks_blocked()
            assert ends == []
            mock_clock.jump(0.2)
            await wait_all_tasks_blocked()
        assert ends == [True]

    async def test_who_reads_slowly_gets_all(self) -> None:
        async with conversation(ours, answering(bytes(10_000_000))) as client:
            client.socket.sendall(GET)
            while len(client.heard) < 10_000_000:
                await client.listen()
        assert len(client.answers()[0].body) == 10_000_000

    async def test_at_the_end_idle_ones_go_and_the_others_are_answered(self) -> None:
        app = Waiting()
        site = make_site(app)
        async with (
            site.watched(),
            conversation(serve(site), echo) as idle,
            conversation(serve(site), echo) as busy,
        ):
            await busy.say(GET)
            await idle.listen()
            site.end()
            await idle.listen()
            assert idle.ended
            app.cue.set()
            await busy.listen()
        (answer,) = busy.answers()
        assert (answer.headers["connection"], busy.ended) == ("close", True)


class TestOtherProtocols:
    async def test_http2_goes_on_with_hypercorn(self) -> None:
        async with conversation(ours, echo) as client:
            await client.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            assert not client.ended
        assert client.heard[3:4] == b"\x04"  # settings

    async def test_http2_by_an_upgrade_does_too(self) -> None:
        async with conversation(ours, echo) as client:
            upgrade = (
                b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
            )
            await client.say(GET.replace(b"\r\n\r\n", b"\r\n" + upgrade + b"\r\n"))
        assert client.heard.startswith(b"HTTP/1.1 101 ")

    async def test_a_websocket_does_too(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            assert scope["type"] == "websocket"
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept"})
            message = await receive()
            await send({"type": "websocket.send", "text": message["text"] * 2})

        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        async with conversation(ours, app) as client:
            await client.say(GET.replace(b"\r\n\r\n", b"\r\n" + upgrade + key + b"\r\n"))
            await client.say(b"\x81\x82\0\0\0\0hi")
        assert client.heard.startswith(b"HTTP/1.1 101 ")
        assert b"\x81\x04hihi" in client.heard


async def test_nothing_is_kept_between_requests() -> None:
    """Whatever came and went, a waiting connection holds no more than a new one."""
    seen: list[MutableMapping[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await answering(b"ok")(scope, receive, send)

    async with conversation(ours, app) as client:
        await client.say(POST + b"hello", GET * 50)
        connection = seen[-1]["extensions"][CLIENT]
        assert (connection._line.received, connection._exchange) == (bytearray(), None)
    assert statuses(client) == [200] * 51
