"""One HTTP request between its connection and Quart-Trio."""

from typing import TYPE_CHECKING

from quart.asgi import ASGIHTTPConnection
from quart_trio.asgi import TrioASGIHTTPConnection

if TYPE_CHECKING:
    import trio
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope
    from quart import Quart, Request


class Connection(TrioASGIHTTPConnection):
    """Cancels the handler when the client leaves, but not while Hypercorn tidies up after a finished answer.

    Where it serves, with HTTP/2, Hypercorn tells the app `http.disconnect` after each answer too, from within the
    `send` of its last part. Quart-Trio takes that for a leaving client and cancels this very `send`: Hypercorn then
    never starts its keep-alive timer, and an idle connection stays open for ever, or until the graceful timeout when
    shutting down.
    """

    def __init__(self, app: "Quart", scope: "HTTPScope") -> None:
        super().__init__(app, scope)
        self._answered = False

    async def __call__(self, receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        """Answer one request, or raise Cancelled."""

        async def noting_send(event: "ASGISendEvent") -> None:
            if event["type"] == "http.response.body" and not event.get("more_body", False):
                self._answered = True
            await send(event)

        await super().__call__(receive, noting_send)

    async def handle_messages(  # type: ignore[override] # as Quart-Trio's, which differs from Quart's
        self, nursery: "trio.Nursery", request: "Request", receive: "ASGIReceiveCallable"
    ) -> None:
        """Feed the request's body until the client leaves; then end the handler, if it has not answered."""
        await ASGIHTTPConnection.handle_messages(self, request, receive)
        if not self._answered:
            nursery.cancel_scope.cancel()
