"""The whole service on real parts: instances in this process, a real Valkey and Postgres, the simulator."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from core.settings import Settings
from server.auth import issue_token
from server.main import serve
from simulator import Simulator, SimulatorConfig

SECRET = "a secret of thirty-two bytes or more"

StartInstance = Callable[..., Awaitable[str]]
ClientFor = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
def upstream() -> Simulator:
    return Simulator(SimulatorConfig())


@pytest.fixture
async def upstream_url(upstream: Simulator, nursery: trio.Nursery) -> str:
    url: str = await nursery.start(upstream.serve, "127.0.0.1", 0)
    return url


@pytest.fixture
def given(redis_url: str, database_url: str, upstream_url: str) -> dict[str, Any]:
    """The contract's defaults, but for where things are."""
    return {
        "port": 0,
        "admin_user": "admin",
        "admin_pass": "opensesame",
        "jwt_secret": SECRET,
        "database_url": database_url,
        "redis_url": redis_url,
        "coingecko_base_url": upstream_url,
    }


@pytest.fixture
def start_instance(given: dict[str, Any], nursery: trio.Nursery) -> StartInstance:
    """Starts an instance with some settings changed; gives its URL."""

    async def start(**changes: Any) -> str:
        url: str = await nursery.start(partial(serve, Settings.model_validate(given | changes)))
        return url

    return start


@pytest.fixture
async def client_for() -> AsyncIterator[ClientFor]:
    """Opens a client of an instance that holds a user's token."""
    async with AsyncExitStack() as stack:

        async def open_client(url: str, user: str = "ann") -> httpx.AsyncClient:
            token = issue_token(SECRET, subject=user, username=user, expires_s=600)
            client = httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
            )
            return await stack.enter_async_context(client)

        yield open_client
