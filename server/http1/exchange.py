"""One request and its answer, as ASGI sees them."""

import trio
from werkzeug.exceptions import HTTPException

from server.http1.answer import Answer
from server.http1.asgi import Message
from server.http1.body import Body, ChunkedBody, SizedBody
from server.http1.head import Head
from server.http1.line import Line
from server.http1.site import Site

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """The two ends that an app is given; over once it is answered, whoever still holds them."""

    __slots__ = ("_body", "_expects_continue", "_head", "_line", "_site", "_told_all", "answer", "over")

    def __init__(self, line: Line, site: Site, head: Head, *, keeps_alive: bool) -> None:
        self._line = line
        self._site = site
        self._head = head
        self._expects_continue = head.expects_continue
        self._told_all = False
        self._body: Body | None = None
        if head.chunked:
            self._body = ChunkedBody()
        elif head.length:
            self._body = SizedBody(head.length)
        # Whether the last byte of the answer was handed over.
        self.over = False
        self.answer = Answer(head.method, head.version, keeps_alive=keeps_alive)

    async def receive(self) -> Message:
        """The next part of the body, or that nothing comes any more; raises what a malformed body is refused with."""
        while not self._told_all and not self.over:
            message = self._next_part()
            if message is not None:
                return message
            if self._line.has_left:
                break
            if self._expects_continue and not self.answer.started:
                self._expects_continue = False
                await self._line.write(_CONTINUE)
            else:
                await self._line.wait_news()
        while not self._line.has_left and not self.over:
            await self._line.wait_news()
        await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a part of the answer; it leaves with the first part of the body."""
        kind = message["type"]
        if self.answer.complete:
            raise RuntimeError(f"the answer is complete, but the app sends {kind}")
        if kind == "http.response.start" and not self.answer.started:
            # Nobody knows whether a body comes that was not called for.
            if self._expects_continue or self._site.ending:
                self.answer.keeps_alive = False
            self.answer.start(int(message["status"]), message.get("headers", ()), self._site.date_line())
        elif kind == "http.response.body" and self.answer.started:
            more = message.get("more_body", False)
            await self._line.write(self.answer.part(message.get("body", b""), more=more))
            await self._after_part(more=more)
        else:
            raise RuntimeError(f"the app sends {kind} out of turn")

    def start_over(self) -> None:
        """Forget an answer that could not be started; the next one is the last of its connection."""
        self.answer = Answer(self._head.method, self._head.version, keeps_alive=False)

    def skip_body(self) -> bool:
        """Drop what is there of the body; False if more of it would have to come."""
        if self._body is None or self._told_all:
            return True
        try:
            self._body.take(self._line.received)
        except HTTPException:
            return False
        self._line.make_room()
        return self._body.complete

    async def _after_part(self, *, more: bool) -> None:
        if more:
            await trio.lowlevel.checkpoint()  # an app with much to say leaves others their turn
        else:
            self.over = True
            self._line.ring()  # whoever waits to receive

    def _next_part(self) -> Message | None:
        """What is there of the body, as a message; None if nothing is."""
        part = self._take_part()
        if not part and not self._told_all:
            return None
        self._expects_continue = False
        return {"type": "http.request", "body": part, "more_body": not self._told_all}

    def _take_part(self) -> bytes:
        if self._body is None:
            self._told_all = True
            return b""
        try:
            part = self._body.take(self._line.received)
        except HTTPException:
            self._told_all = True
            self.answer.keeps_alive = False
            if self.answer.started:
                return b""  # it is too late to say so
            raise
        self._told_all = self._body.complete
        self._line.make_room()
        return part
