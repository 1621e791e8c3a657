"""Parts of core on a real Valkey."""

import pytest
import trio

from core.coordinator import Coordinator
from core.redis_link import RedisLink
from tests.core.model import settings_for_tests


@pytest.fixture
async def link(redis_url: str, nursery: trio.Nursery) -> RedisLink:
    link = RedisLink(redis_url)
    await nursery.start(link.run)
    return link


@pytest.fixture
def coordinator(link: RedisLink) -> Coordinator:
    return Coordinator(link, settings_for_tests())
