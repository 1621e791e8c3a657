"""What of Hypercorn is leant on, so that another version says what to look at.

Raising Hypercorn, read again: its `TCPServer` (server/http1/handover.py overrides two of its methods), how its
`H11Protocol` tells HTTP/2 and WebSockets apart (server/http1/head.py does it first), the scope that its `HTTPStream`
makes (server/http1/connection.py makes the same), and then change the version here.
"""

import inspect
from importlib.metadata import version

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext

from server.http1.asgi import Receive, Scope, Send
from tests.server.http1.wire import Server, answering, conversation, ours, stock


def test_hypercorn_is_the_version_that_was_read() -> None:
    assert version("hypercorn") == "0.18.0"


def test_its_connection_is_made_and_run_as_before() -> None:
    assert list(inspect.signature(TCPServer).parameters) == ["app", "config", "context", "state", "stream"]
    source = inspect.getsource(TCPServer)
    for leant_on in (
        "async def protocol_send(self, event: Event)",
        "async def _read_data(self)",
        "await self._read_data()",
        "self.send_lock = trio.Lock()",
        "self.idle_task = TrioSingleTask()",
        "self.protocol_send,",
        "except AttributeError:  # Not SSL",
        "await self.context.terminated.wait()",
    ):
        assert leant_on in source, leant_on
    assert inspect.iscoroutinefunction(TrioSingleTask.stop)
    assert inspect.iscoroutinefunction(ProtocolWrapper.handle)
    assert list(inspect.signature(WorkerContext).parameters) == ["max_requests"]
    assert list(inspect.signature(ASGIWrapper).parameters) == ["app"]


def test_its_settings_are_called_as_before() -> None:
    for name in ("keep_alive_timeout", "keep_alive_max_requests", "include_server_header", "accesslog", "errorlog"):
        assert hasattr(Config, name), name


def test_it_tells_other_protocols_apart_as_before() -> None:
    check = inspect.getsource(H11Protocol._check_protocol)
    assert 'upgrade_value.lower() == "h2c" and not has_body' in check
    assert 'event.method == b"PRI" and event.target == b"*" and event.http_version == b"2.0"' in check
    assert 'upgrade_value.lower() == "websocket"' in inspect.getsource(H11Protocol._create_stream)


async def test_a_scope_is_hypercorns() -> None:
    expected, actual = await scope_of(stock), await scope_of(ours)
    assert list(actual.pop("extensions")) == ["cryptopulse.client"]
    assert expected.pop("extensions") == {}
    assert actual == expected
    assert {key: type(value) for key, value in actual.items()} == {key: type(value) for key, value in expected.items()}
    assert "spec_version" in inspect.getsource(HTTPStream)


async def scope_of(server: Server) -> Scope:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answering(b"ok")(scope, receive, send)

    async with conversation(server, app) as client:
        await client.say(b"GET /a%2Fb?c=d HTTP/1.1\r\nHost: x\r\nX-A: b\r\n\r\n")
    (scope,) = scopes
    return dict(scope)
