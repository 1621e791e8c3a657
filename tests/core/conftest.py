"""Parts of core: on a real Valkey, and on the model of it."""

from collections.abc import AsyncIterator

import pytest
import trio

from core.coordinator import Coordinator
from core.history import History
from core.month import month_ends_ms
from core.price_desk import PriceDesk
from core.redis_link import RedisLink
from tests.core.asking import Asked
from tests.core.kept import open_history
from tests.core.model import Fleet, settings_for_tests


@pytest.fixture
async def link(redis_url: str, nursery: trio.Nursery) -> RedisLink:
    link = RedisLink(redis_url)
    await nursery.start(link.run)
    return link


@pytest.fixture
async def coordinator(link: RedisLink) -> Coordinator:
    """Without a budget, and in a month that is not over while this is in use."""
    coordinator = Coordinator(link, settings_for_tests())
    await coordinator.restore(month_ends_ms(4_000_000_000_000), 0)
    return coordinator


@pytest.fixture
async def history(asyncio_loop: object, database_url: str) -> AsyncIterator[History]:
    async with open_history(database_url) as opened:
        yield opened


@pytest.fixture
async def fleet(nursery: trio.Nursery) -> Fleet:
    return Fleet(nursery)


@pytest.fixture
async def desk(fleet: Fleet) -> PriceDesk:
    return await fleet.start_instance("a")


@pytest.fixture
async def other(fleet: Fleet, desk: PriceDesk) -> PriceDesk:
    return await fleet.start_instance("b")


@pytest.fixture
def asked() -> Asked:
    return Asked()
