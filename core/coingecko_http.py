"""The line to CoinGecko: the one place that knows how httpx fails, and how far a call has come.

    async with open_line(headers) as line:
        answer = await line.get(url, start_by=trio.current_time() + 0.5, timeout_s=2.5, largest_bytes=1_048_576)

httpx's transport does, without its client: what that would add, such as cookies, redirects and proxies, is not wanted.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import httpx
import trio

from core.coingecko_answer import OK, TOO_MANY_REQUESTS, Answer, UpstreamTrouble
from core.errors import UpstreamFailed

# Of a refusal the head says enough; the body is read only if it comes at once.
_REFUSAL_BODY_S = 0.25

# Longer than a window, so that one flush finds the connection of the last.
_LIMITS = httpx.Limits(keepalive_expiry=30)

# httpx lets some errors through as they are: addresses that cannot be encoded, sockets, certificates.
_FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)


class PermitLapsed(Exception):
    """The time of the permit was over before the call could begin: none was made."""


@asynccontextmanager
async def open_line(headers: dict[str, str]) -> AsyncIterator["Line"]:
    """Open a line on which every call has these headers; it connects when first used."""
    async with httpx.AsyncHTTPTransport(trust_env=False, limits=_LIMITS) as transport:
        yield Line(transport, headers)


class Line:
    """Any number of calls at a time."""

    def __init__(self, transport: httpx.AsyncBaseTransport, headers: dict[str, str]) -> None:
        self._transport = transport
        self._headers = headers

    async def get(self, url: str, *, start_by: float, timeout_s: float, largest_bytes: int) -> Answer:
        """Get one answer, or raise PermitLapsed or UpstreamFailed."""
        if trio.current_time() > start_by:
            raise PermitLapsed
        call = _Call()
        try:
            with trio.fail_after(timeout_s):
                request = httpx.Request("GET", url, headers=self._headers, extensions={"trace": call.trace})
                async with aclosing(await self._transport.handle_async_request(request)) as response:
                    call.answered(response.status_code)
                    return await _read(response, largest_bytes)
        except trio.TooSlowError as error:
            reason = UpstreamTrouble(f"no whole answer within {timeout_s} s")
            reason.__cause__ = error
            message = "CoinGecko did not answer in time. Try again shortly."
            raise UpstreamFailed(message, billed=call.billed) from reason
        except (*_FOREIGN, UpstreamTrouble) as error:
            reason = UpstreamTrouble(repr(error))
            reason.__cause__ = error
            message = "CoinGecko could not be asked. Try again shortly."
            raise UpstreamFailed(message, billed=call.billed) from reason


class _Call:
    """How far one call has come, and so whether it may have cost a credit."""

    def __init__(self) -> None:
        self.billed = False

    async def trace(self, event: str, _: object) -> None:
        """Hear from httpx what it is about to do."""
        self.billed = self.billed or event.endswith("send_request_headers.started")

    def answered(self, status: int) -> None:
        """Only what CoinGecko answers with 200 costs a credit."""
        self.billed = status == OK


async def _read(response: httpx.Response, largest_bytes: int) -> Answer:
    body = b""
    if response.status_code == TOO_MANY_REQUESTS:
        with trio.move_on_after(_REFUSAL_BODY_S), suppress(*_FOREIGN, UpstreamTrouble):
            body = await _body(response, largest_bytes)
    else:
        body = await _body(response, largest_bytes)
    return Answer(response.status_code, response.headers, body)


async def _body(response: httpx.Response, largest_bytes: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise UpstreamTrouble(f"HTTP {response.status_code} with content-encoding {encoding[:40]!r}, not asked for")
    body = bytearray()
    with trio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > largest_bytes:
                # Breaking out of the loop would leave httpx's generators, one in the other, to the garbage collector.
                reading.cancel()
    if len(body) > largest_bytes:
        raise UpstreamTrouble(f"HTTP {response.status_code} with more than {largest_bytes} bytes of body")
    return bytes(body)
