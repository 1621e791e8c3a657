"""CoinGecko: with its helpers, core/coingecko_*.py, the only code that knows it.

    async with open_coingecko(settings) as coingecko:
        fetched = await coingecko.fetch({"bitcoin", "ethereum"}, {"usd", "eur"})
        fetched.prices["bitcoin"]["usd"]        # Decimal("67210.45")

What is known of its answers was collected from its own documents and from what others saw on the wire; the simulator
answers like that.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from math import inf
from urllib.parse import urlencode

import httpx
import msgspec

from core.coingecko_answer import Answer, Prices, check, coin_list_in, prices_in, usage_in
from core.coingecko_headers import fresh_for_s
from core.coingecko_http import Line, PermitLapsed, open_line
from core.settings import Settings

__all__ = ["COIN_LIST_S", "CoinGecko", "Fetched", "PermitLapsed", "open_coingecko"]

# Its name tells the paid plan's host; every other one is treated like the free plan's.
_PRO_HOST = "pro-api.coingecko.com"

# 515 coins in all currencies were seen to take about 0.9 MB of the simulator's digits.
_LARGEST_BODY_BYTES = 4_194_304
# The list of all coins has some 2 MB, and is asked for so rarely that it may take its time.
_LARGEST_COIN_LIST_BYTES = 16_777_216
COIN_LIST_S = 10.0


class Fetched(msgspec.Struct, frozen=True):
    """Prices, and for how many seconds CoinGecko says that they may be kept."""

    prices: Prices
    fresh_for_s: int


@asynccontextmanager
async def open_coingecko(settings: Settings) -> AsyncIterator["CoinGecko"]:
    """Open a client of the CoinGecko that the settings name; it connects when first asked."""
    async with open_line(_headers(settings)) as line:
        yield CoinGecko(line, settings)


class CoinGecko:
    """Answers what coins cost; any number of tasks may ask at a time.

    Each method is one upstream call. It leaves until `start_by` on trio's clock, or not at all: then PermitLapsed.
    Within its time, which is the upstream timeout where nothing else is said, it raises UpstreamLimited when CoinGecko
    says 429, and UpstreamFailed for whatever else goes wrong. Their cause tells the operator more; `billed` says
    whether the call may have cost a credit.
    """

    def __init__(self, line: Line, settings: Settings) -> None:
        self._line = line
        self._api = f"{settings.coingecko_base_url.rstrip('/')}/api/v3"
        self._timeout_s = settings.upstream_timeout_ms / 1000
        self._tells_usage = _is_pro(settings)

    @property
    def tells_usage(self) -> bool:
        """Whether `usage` may be asked; the free plan refuses it."""
        return self._tells_usage

    async def fetch(
        self, coin_ids: Collection[str], vs_currencies: Collection[str], *, start_by: float = inf
    ) -> Fetched:
        """Ask for all these coins in all these currencies.

        A coin that CoinGecko does not know is absent, and so is a currency that it does not list for a coin; a
        value that cannot be a price is None.
        """
        answer = await self._get(_price_path(coin_ids, vs_currencies), start_by)
        return Fetched(prices_in(answer, coin_ids, vs_currencies), fresh_for_s(answer.headers))

    async def coin_list(self, *, start_by: float = inf) -> bytes:
        """Ask for the list of all coins: a JSON array of objects with `id`, `symbol` and `name`; within 10 s."""
        answer = await self._line.get(
            self._api + "/coins/list",
            start_by=start_by,
            timeout_s=COIN_LIST_S,
            largest_bytes=_LARGEST_COIN_LIST_BYTES,
        )
        return coin_list_in(answer)

    async def usage(self, *, start_by: float = inf) -> int:
        """Ask how many calls of this month CoinGecko has counted, if it `tells_usage`."""
        return usage_in(await self._get("/key", start_by))

    async def ping(self, *, start_by: float = inf) -> None:
        """Return if CoinGecko answers; with the free plan it does so whatever the key is."""
        check(await self._get("/ping", start_by))

    async def _get(self, path: str, start_by: float) -> Answer:
        return await self._line.get(
            self._api + path, start_by=start_by, timeout_s=self._timeout_s, largest_bytes=_LARGEST_BODY_BYTES
        )


def _price_path(coin_ids: Collection[str], vs_currencies: Collection[str]) -> str:
    # Sorted, since the same question under the same URL may be answered by CoinGecko's cache, free of charge.
    query = {
        "ids": ",".join(sorted(coin_ids)),
        "vs_currencies": ",".join(sorted(vs_currencies)),
        "precision": "full",
    }
    return f"/simple/price?{urlencode(query, safe=',')}"


def _is_pro(settings: Settings) -> bool:
    return httpx.URL(settings.coingecko_base_url).host == _PRO_HOST


def _headers(settings: Settings) -> dict[str, str]:
    # Compressed, a small answer could become a huge one.
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "cryptopulse"}
    if settings.coingecko_api_key is not None:
        plan = "pro" if _is_pro(settings) else "demo"
        headers[f"x-cg-{plan}-api-key"] = settings.coingecko_api_key.get_secret_value()
    return headers
