"""ASGI's words, and an answer said in them."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from server.answers import Answer
from server.charges import charge_headers
from server.notes import Scope, notes_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

# The extension of a connection that cancels a request whose client left, and says so: `has_left`.
CLIENT = "cryptopulse.client"


async def send_answer(send: Send, scope: Scope, answer: Answer) -> None:
    """Answer a request, in whole, and tell its caller what is left of the limit."""
    told = answer.headers | charge_headers(notes_of(scope).charge)
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    # How ASGI calls an HTTP answer to somebody who wanted a WebSocket.
    prefix = "websocket." if scope["type"] == "websocket" else ""
    await send({"type": prefix + "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": prefix + "http.response.body", "body": answer.body, "more_body": False})
