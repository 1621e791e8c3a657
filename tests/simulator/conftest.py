from collections.abc import AsyncIterator

import httpx
import pytest
import trio

from simulator import Simulator

# 20 seconds after a price update.
NOW = 1_795_365_620.0


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(clock=lambda: NOW)


@pytest.fixture
async def url(simulator: Simulator, nursery: trio.Nursery) -> str:
    return str(await nursery.start(simulator.serve, "127.0.0.1", 0))


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client
