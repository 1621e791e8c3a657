"""`/v1/prices/stream`: each new price of some coins, as it is fetched for anybody."""

import time
from collections.abc import AsyncGenerator
from secrets import randbelow
from typing import Annotated

import trio
from msgspec import Meta
from pydantic import Field, WithJsonSchema
from quart import Blueprint, Response, request
from quart_schema import document_headers, document_querystring, security_scheme, tag

from core.errors import BadInput
from core.streams import Stream, Streams
from server.asked import Asked, current
from server.auth import User
from server.event_stream import CONTENT_TYPE, end, heartbeat, news_text, opening
from server.examples import EVENT_ID, NO_COIN_IDS, STREAM
from server.inputs import Input, read_query
from server.openapi import BEARER, LIMIT_HEADERS, documented
from server.routes.prices import PricesQuery
from server.users import charge_user, sender

blueprint = Blueprint("stream", __name__)

HEARTBEAT_S = 15.0
# Clients of an instance that ends come back one by one rather than all at once.
_RETRY_MS = range(1000, 5000)
# Ids of ours are far shorter.
_LONGEST_ID = 256
# Beyond this no clock goes, and no float.
_NEVER_S = 1 << 40
# `no` has nginx pass each event on at once.
_HEADERS = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_EVENTS = Annotated[
    str,
    Meta(
        description="Server-sent events: `price`, whose data is a price; `reset`, when prices may have been missed; "
        "`end`, whose data says why. A comment every 15 s of silence.",
    ),
]


class ResumeHeader(Input):
    """Where an earlier stream broke off."""

    last_event_id: Annotated[str | None, WithJsonSchema({"type": "string"})] = Field(
        None,
        alias="Last-Event-ID",
        description="The id of the last event that an earlier stream told, to go on there.",
        examples=[EVENT_ID],
    )


@blueprint.get("/v1/prices/stream")
@documented(
    _EVENTS,
    *(400, 401, 429, 503),
    headers=LIMIT_HEADERS,
    content_type=CONTENT_TYPE,
    example=STREAM,
    told={400: NO_COIN_IDS},
)
@document_querystring(PricesQuery)
@document_headers(ResumeHeader)
@security_scheme([BEARER])
@tag(["prices"])
async def price_stream() -> Response:
    """Each new price of these coins, as it is fetched for anybody; a stream itself has nothing fetched."""
    asked = current()
    user = sender(asked)
    query = read_query(PricesQuery, asked)
    last_id = _last_id(asked)
    streams = asked.services.streams
    # Here, and not in the generator: that is never begun for a client which leaves at once.
    stream = asked.notes.hold(streams.open(user.caller, query.ids, query.vs_currencies))
    await charge_user(asked, user)
    if request.method == "HEAD":
        stream.end()
    if last_id is not None:
        await streams.resume(stream, last_id)
    began_at = stream.began_at if last_id is None else None
    response = Response(_told(streams, stream, began_at, user), headers=_HEADERS)
    response.timeout = None
    return response


def _last_id(asked: Asked) -> str | None:
    given = ",".join(asked.header("last-event-id"))
    if len(given) > _LONGEST_ID:
        raise BadInput("Last-Event-ID: send the id of an event as it came.")
    return given or None


async def _told(streams: Streams, stream: Stream, began_at: str | None, user: User) -> AsyncGenerator[bytes, None]:
    """All that is told, for as long as the token is good and this instance serves."""
    expires_at = trio.current_time() + min(user.expires, _NEVER_S) - time.time()
    yield opening(_RETRY_MS[randbelow(len(_RETRY_MS))], began_at)
    while trio.current_time() < expires_at:
        try:
            with trio.fail_at(min(expires_at, trio.current_time() + HEARTBEAT_S)):
                news = await stream.news()
        except trio.TooSlowError:
            # What came at the last moment is told first: the latest id may be its own.
            if trio.current_time() < expires_at and not stream.has_news:
                yield heartbeat(streams.latest_id)
            continue
        if news is None:
            yield end("shutting down")
            return
        yield news_text(news)
    yield end("token expired")
