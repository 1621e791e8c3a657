"""`/health`: for those who decide whether this instance lives and gets requests."""

import httpx

from core.errors import HistoryUnavailable, RedisUnavailable
from tests.server.fakes import World


async def test_a_live_process_says_so_whatever_is_away(world: World, client: httpx.AsyncClient) -> None:
    world.coordinator.refusal = RedisUnavailable()
    world.draining.set()
    answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_needs_redis_but_not_postgres(world: World, client: httpx.AsyncClient) -> None:
    world.history.refusal = HistoryUnavailable()
    assert (await client.get("/health/ready")).status_code == 200
    world.coordinator.refusal = RedisUnavailable()
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error"] == "Service Unavailable"


async def test_a_draining_instance_is_not_ready(world: World, client: httpx.AsyncClient) -> None:
    world.draining.set()
    assert (await client.get("/health/ready")).status_code == 503


async def test_health_is_never_charged(world: World, client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/health/ready", "/docs", "/docs-json"):
        assert "X-RateLimit-Limit" not in (await client.get(path)).headers
    assert world.coordinator.charged == []
