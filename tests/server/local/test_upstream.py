import os

import pytest
import trio

from server.local import processes
from server.local.lifetimes import Stop
from server.local.upstream import upstream

REAL = "from CoinGecko, https://api.coingecko.com"


@pytest.mark.parametrize(
    ("live", "environment", "told"),
    [
        (True, {}, REAL),
        (False, {"COINGECKO_API_KEY": "key"}, REAL),
        (False, {"COINGECKO_BASE_URL": "http://127.0.0.1:1"}, "from CoinGecko, http://127.0.0.1:1"),
    ],
)
async def test_who_asks_for_coingecko_gets_coingecko(*, live: bool, environment: dict[str, str], told: str) -> None:
    async with upstream(environment, Stop(), live=live) as prices:
        assert (prices.told, prices.settings, prices.pids) == (told, {}, {})


async def test_otherwise_there_is_a_simulator_as_long_as_the_block_lasts() -> None:
    with trio.fail_after(20):
        async with upstream(os.environ, Stop(), live=False) as prices:
            url = prices.settings["COINGECKO_BASE_URL"]
            assert url.startswith("http://127.0.0.1:")
            assert f"simulator, {url}" in prices.told
            assert processes.runs(prices.pids["simulator"], "-m simulator")
    assert not processes.runs(prices.pids["simulator"], "-m simulator")


async def test_a_simulator_that_says_nothing_ends_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.local.upstream.SIMULATE", ("sleep", "60"))
    monkeypatch.setattr("server.local.upstream._SAYS_WITHIN_S", 0.1)
    stop = Stop()
    with trio.fail_after(20), stop.scope:
        async with upstream(os.environ, stop, live=False):
            pytest.fail("there is no simulator")
    assert stop.failure == "the simulator did not say within 0.1 s where it listens"


async def test_a_simulator_that_ends_at_once_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.local.upstream.SIMULATE", ("false",))
    stop = Stop()
    with trio.fail_after(20), stop.scope:
        async with upstream(os.environ, stop, live=False):
            pytest.fail("there is no simulator")
    assert stop.failure == "the simulator ended by itself (exit status 1); what it said stands above"
