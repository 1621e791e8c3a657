"""Two libraries written for CoinGecko, pointed at the drop-in: its official one, and the most used of the others."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Any

import pytest
import trio
from coingecko_sdk import (
    AsyncCoingecko,
    AuthenticationError,
    BadRequestError,
    DefaultAsyncHttpxClient,
    InternalServerError,
    RateLimitError,
)
from pycoingecko import CoinGeckoAPI  # type: ignore[import-untyped]

from core.prices import CURRENCIES
from server.auth import issue_token
from simulator import Simulator, failures
from tests.service.conftest import SECRET, StartInstance

QUICK = {"batch_window_ms": 50}
KEY = issue_token(SECRET, subject="ann", username="ann", expires_s=3600)
PRICES = {"bitcoin": {"usd": "67210.45", "eur": "61975.5"}, "shiba-inu": {"usd": "1.177e-05", "eur": "1.085e-05"}}
AS_FLOATS = {coin_id: {currency: float(text) for currency, text in row.items()} for coin_id, row in PRICES.items()}

Official = Callable[..., AsyncCoingecko]
Community = Callable[..., Any]


@pytest.fixture(autouse=True)
def _prices(upstream: Simulator) -> None:
    upstream.config.prices = PRICES


@pytest.fixture
async def official() -> AsyncIterator[Official]:
    """Opens CoinGecko's own client of an instance."""
    async with AsyncExitStack() as stack:

        def open_client(url: str, key: str = KEY) -> AsyncCoingecko:
            http_client = DefaultAsyncHttpxClient(trust_env=False)
            client = AsyncCoingecko(base_url=f"{url}/api/v3", demo_api_key=key, max_retries=0, http_client=http_client)
            stack.push_async_callback(client.close)
            return client

        yield open_client


@pytest.fixture
def community() -> Iterator[Community]:
    """Opens a pycoingecko client of an instance; its methods block."""
    with ExitStack() as stack:

        def open_client(url: str, key: str = KEY) -> Any:
            client = CoinGeckoAPI(demo_api_key=key)
            client.api_base_url = f"{url}/api/v3/"
            client.session.trust_env = False
            stack.callback(client.session.close)
            return client

        yield open_client


async def told(method: Callable[..., Any], *args: str, **flags: Any) -> Any:
    """What a blocking method raised, as pycoingecko tells it: the body of the error."""
    with pytest.raises(ValueError, match=r"^\{") as raised:
        await trio.to_thread.run_sync(partial(method, *args, **flags))
    return raised.value.args[0]


async def test_coingeckos_own_client_is_served(start_instance: StartInstance, official: Official) -> None:
    gecko = official(await start_instance(**QUICK))

    assert (await gecko.ping.get()).gecko_says == "(V3) To the Moon!"
    prices = await gecko.simple.price.get(ids="bitcoin,shiba-inu,no-such-coin", vs_currencies="usd,eur")
    assert {coin_id: row.model_dump(exclude_unset=True) for coin_id, row in prices.items()} == AS_FLOATS
    assert await gecko.simple.price.get(ids="no-such-coin", vs_currencies="usd", include_market_cap=False) == {}
    assert await gecko.simple.supported_vs_currencies.get() == list(CURRENCIES)
    assert "bitcoin" in {coin.id for coin in await gecko.coins.list.get()}


async def test_coingeckos_own_client_knows_each_error(
    start_instance: StartInstance, official: Official, upstream: Simulator
) -> None:
    url = await start_instance(**QUICK)
    upstream.config.failures = [failures.ServerError(status=503)]

    with pytest.raises(AuthenticationError):
        await official(url, key="not a token").ping.get()
    with pytest.raises(BadRequestError, match="include_24hr_change"):
        await official(url).simple.price.get(ids="bitcoin", vs_currencies="usd", include_24hr_change=True)
    with pytest.raises(InternalServerError) as raised:
        await official(url).simple.price.get(ids="bitcoin", vs_currencies="usd")
    assert raised.value.status_code == 502


async def test_coingeckos_own_client_over_the_limit_comes_back_when_it_is_told_to(
    start_instance: StartInstance, official: Official
) -> None:
    gecko = official(await start_instance(throttle_global_limit=1, throttle_ttl_ms=2000))
    await gecko.ping.get()

    with pytest.raises(RateLimitError) as raised:
        await gecko.ping.get()
    assert int(raised.value.response.headers["Retry-After"]) >= 1
    assert (await gecko.with_options(max_retries=1).ping.get()).gecko_says == "(V3) To the Moon!"


async def test_pycoingecko_is_served(start_instance: StartInstance, community: Community) -> None:
    gecko = community(await start_instance(**QUICK))

    def ask() -> None:
        assert gecko.ping() == {"gecko_says": "(V3) To the Moon!"}
        assert gecko.get_price(["bitcoin", "shiba-inu", "no-such-coin"], ["usd", "eur"]) == AS_FLOATS
        assert gecko.get_price("no-such-coin", "usd", include_market_cap=False) == {}
        assert gecko.get_supported_vs_currencies() == list(CURRENCIES)
        assert "bitcoin" in {coin["id"] for coin in gecko.get_coins_list()}

    await trio.to_thread.run_sync(ask)


async def test_pycoingecko_tells_what_each_error_says(
    start_instance: StartInstance, community: Community, upstream: Simulator
) -> None:
    url = await start_instance(**QUICK)
    upstream.config.failures = [failures.ServerError(status=503)]
    gecko = community(url)

    assert (await told(community(url, key="not a token").ping))["status"]["error_code"] == 10002
    assert "include_24hr_change" in (await told(gecko.get_price, "bitcoin", "usd", include_24hr_change=True))["error"]
    assert list(await told(gecko.get_price, "bitcoin", "usd")) == ["error"]


async def test_pycoingecko_tells_that_the_limit_is_used_up(start_instance: StartInstance, community: Community) -> None:
    gecko = community(await start_instance(throttle_global_limit=1))
    await trio.to_thread.run_sync(gecko.ping)
    assert (await told(gecko.ping))["status"]["error_code"] == 429
