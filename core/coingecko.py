"""CoinGecko: with core/coingecko_answer.py the only code that knows it.

    async with open_coingecko(settings) as coingecko:
        prices = await coingecko.fetch({"bitcoin", "ethereum"}, {"usd", "eur"})
        prices["bitcoin"]["usd"]        # Decimal("67210.45")

What is known of its answers was collected from its own documents and from what others saw on the wire; the simulator
answers like that.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlencode

import httpx
import trio

from core.coingecko_answer import TOO_MANY_REQUESTS, Answer, Prices, UpstreamTrouble, prices_in
from core.errors import UpstreamFailed
from core.settings import Settings

# Its name tells the paid plan's host; every other one is treated like the free plan's.
_PRO_HOST = "pro-api.coingecko.com"

# 500 coins in all currencies are half of it.
_LARGEST_BODY_BYTES = 1_048_576
# Of a refusal the head says enough; the body is read only if it comes at once.
_REFUSAL_BODY_S = 0.25

# Longer than a window, so that one flush finds the connection of the last.
_LIMITS = httpx.Limits(keepalive_expiry=30)

# httpx lets some errors through as they are: addresses that cannot be encoded, sockets, certificates.
_FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)


@asynccontextmanager
async def open_coingecko(settings: Settings) -> AsyncIterator["CoinGecko"]:
    """Open a client of the CoinGecko that the settings name; it connects when first asked."""
    async with httpx.AsyncClient(
        headers=_headers(settings),
        timeout=None,  # noqa: S113 - one deadline for the whole call, by fetch
        follow_redirects=False,
        trust_env=False,
        limits=_LIMITS,
    ) as client:
        yield CoinGecko(client, settings)


class CoinGecko:
    """Answers what coins cost; any number of tasks may ask at a time."""

    def __init__(self, client: httpx.AsyncClient, settings: Settings) -> None:
        self._client = client
        self._url = f"{settings.coingecko_base_url.rstrip('/')}/api/v3/simple/price"
        self._timeout_s = settings.upstream_timeout_ms / 1000

    async def fetch(self, coin_ids: Collection[str], vs_currencies: Collection[str]) -> Prices:
        """Ask for all these coins in all these currencies, in one call.

        A coin that CoinGecko does not know is absent, and so is a currency that it does not list for a coin; a
        value that cannot be a price is None. Within the upstream timeout it raises UpstreamLimited when CoinGecko
        says 429, and UpstreamFailed for whatever else goes wrong; their cause tells the operator more.
        """
        return prices_in(await self._get(self._url_for(coin_ids, vs_currencies)), coin_ids, vs_currencies)

    def _url_for(self, coin_ids: Collection[str], vs_currencies: Collection[str]) -> str:
        # Sorted, since the same question under the same URL may be answered by CoinGecko's cache, free of charge.
        query = {
            "ids": ",".join(sorted(coin_ids)),
            "vs_currencies": ",".join(sorted(vs_currencies)),
            "precision": "full",
        }
        return f"{self._url}?{urlencode(query, safe=',')}"

    async def _get(self, url: str) -> Answer:
        """One GET, or raise UpstreamFailed: the one place that knows how httpx fails."""
        try:
            with trio.fail_after(self._timeout_s):
                async with self._client.stream("GET", url) as response:
                    return await _read(response)
        except trio.TooSlowError as error:
            reason = UpstreamTrouble(f"no whole answer within {self._timeout_s} s")
            reason.__cause__ = error
            raise UpstreamFailed("CoinGecko did not answer in time. Try again shortly.") from reason
        except (*_FOREIGN, UpstreamTrouble) as error:
            reason = UpstreamTrouble(repr(error))
            reason.__cause__ = error
            raise UpstreamFailed("CoinGecko could not be asked. Try again shortly.") from reason


def _headers(settings: Settings) -> dict[str, str]:
    # Compressed, a small answer could become a huge one.
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "cryptopulse"}
    if settings.coingecko_api_key is not None:
        plan = "pro" if httpx.URL(settings.coingecko_base_url).host == _PRO_HOST else "demo"
        headers[f"x-cg-{plan}-api-key"] = settings.coingecko_api_key.get_secret_value()
    return headers


async def _read(response: httpx.Response) -> Answer:
    body = b""
    if response.status_code == TOO_MANY_REQUESTS:
        with trio.move_on_after(_REFUSAL_BODY_S), suppress(*_FOREIGN, UpstreamTrouble):
            body = await _body(response)
    else:
        body = await _body(response)
    return Answer(response.status_code, response.headers, body)


async def _body(response: httpx.Response) -> bytes:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise UpstreamTrouble(f"HTTP {response.status_code} with content-encoding {encoding[:40]!r}, not asked for")
    body = bytearray()
    with trio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _LARGEST_BODY_BYTES:
                # Breaking out of the loop would leave httpx's generators, one in the other, to the garbage collector.
                reading.cancel()
    if len(body) > _LARGEST_BODY_BYTES:
        raise UpstreamTrouble(f"HTTP {response.status_code} with more than {_LARGEST_BODY_BYTES} bytes of body")
    return bytes(body)
