"""An answer said in ASGI's words."""

from server.answers import Answer
from server.charges import charge_headers
from server.http1.asgi import Scope, Send
from server.notes import notes_of


async def send_answer(send: Send, scope: Scope, answer: Answer) -> None:
    """Answer a request, in whole, and tell its caller what is left of the limit."""
    told = answer.headers | charge_headers(notes_of(scope).charge)
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    # How ASGI calls an HTTP answer to somebody who wanted a WebSocket.
    prefix = "websocket." if scope["type"] == "websocket" else ""
    await send({"type": prefix + "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": prefix + "http.response.body", "body": answer.body, "more_body": False})
