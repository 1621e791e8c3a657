"""The script of the limit on a real Valkey, by a clock that the test sets: what it tells of waits is exact."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import lua

LIMIT = (Path(lua.__file__).parent / "limit.lua").read_text(encoding="utf-8")
SCRIPT = f"""
{LIMIT}
local now, limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local granted, remaining, wait_ms = charge(now, KEYS[1], limit, window, cost)
return {{ granted and 1 or 0, remaining, wait_ms }}
"""
WINDOW_MS = 60_000
BEGAN_US = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def client(valkey: Any) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey.url) as client:
        yield client


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.sampled_from([1, 3, 64, 65, 1000]),
    charges=st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(1, 40)), min_size=1, max_size=40),
)
def test_a_refusal_tells_when_there_is_room_for_the_same_and_not_a_millisecond_sooner(
    client: redis.Redis, limit: int, charges: list[tuple[int, int]]
) -> None:
    client.flushall()
    script = client.register_script(SCRIPT)

    def charge(key: str, at_us: int, cost: int) -> list[int]:
        answer: list[int] = script([key], [at_us, limit, WINDOW_MS, cost])
        return answer

    now_us = BEGAN_US
    for pause_us, cost in [*charges, (0, limit)]:
        now_us += pause_us
        granted, _, wait_ms = charge("log", now_us, min(cost, limit))
        if not granted:
            for early_ms, is_room in ((1, 0), (0, 1)):
                client.copy("log", "tried", replace=True)
                assert charge("tried", now_us + (wait_ms - early_ms) * 1000, min(cost, limit))[0] == is_room
