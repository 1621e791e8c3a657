"""An app around stand-ins, and clients that come as HTTP clients do."""

from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import httpx
import pytest
import structlog
from quart_trio import QuartTrio
from structlog.testing import LogCapture

from server.app import create_app
from server.auth import issue_token
from server.listener import bound_socket, serving
from tests.server.fakes import SECRET, World, http_client, nobody_waits


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def app(world: World) -> QuartTrio:
    return create_app(world.services())


@pytest.fixture
async def client(app: QuartTrio) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(app) as client:
        yield client


@pytest.fixture
def bearer() -> dict[str, str]:
    token = issue_token(SECRET, subject="ada", username="ada", expires_s=60)
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def url(app: QuartTrio, world: World) -> AsyncIterator[str]:
    """Where the app is really served, on a free port."""
    with bound_socket("127.0.0.1", 0) as listener:
        async with serving(app, world.services(), listener, nobody_waits) as url:
            yield url
            world.draining.set()


@pytest.fixture
def log_lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged, with what is bound to the request."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture.entries
    structlog.reset_defaults()
