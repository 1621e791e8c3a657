"""Server-sent events, as streams of prices speak them (the WHATWG HTML standard, 9.2).

event: price
data: {"coinId":"bitcoin","vsCurrency":"usd","price":67210.45,"fetchedAt":"2026-02-28T03:55:00.000Z"}
id: 1772250900000-8f0c…-usd

The id comes last: a client that reads line by line knows it only once it has the price.
"""

from functools import lru_cache
from typing import Literal

from core.streams import NOWHERE, News, Tick
from server.answers import price_text

CONTENT_TYPE = "text/event-stream"

_RESET = f"event: reset\ndata: {{}}\nid: {NOWHERE}\n\n".encode()


def opening(retry_ms: int, last_id: str | None) -> bytes:
    """What comes first: when to come back after a break, and with which id if nothing else is told before."""
    return b"retry: %d\n" % retry_ms + _place(last_id) + b"\n"


def news_text(news: News) -> bytes:
    """Prices, and before them whether some may be missing."""
    return (_RESET if news.is_reset else b"") + b"".join(map(_price_event, news.ticks))


def heartbeat(last_id: str) -> bytes:
    """A sign of life; nothing is untold, so a client that comes back may go on after the latest price of any coin."""
    return b": heartbeat\n" + _place(last_id) + b"\n"


def end(reason: Literal["token expired", "shutting down"]) -> bytes:
    """What comes last."""
    return b'event: end\ndata: {"reason":"%b"}\n\n' % reason.encode()


@lru_cache(maxsize=2048)
def _price_event(tick: Tick) -> bytes:
    """Written once for all who are told."""
    return b"event: price\ndata: " + price_text(tick.price) + b"\n" + _place(tick.id) + b"\n"


def _place(last_id: str | None) -> bytes:
    return b"" if last_id is None else f"id: {last_id}\n".encode()
