"""Rolling restarts, and everything that breaks at once: `make test-faults`; scale.py says how to replay it."""

import time
from pathlib import Path

import pytest
import trio

from tests.faults.checker import duplicate_claims, violations
from tests.faults.figures import outcomes, p50, p99, publish, told
from tests.faults.fleet import Fleet, open_fleet
from tests.faults.instance import PLACES
from tests.faults.outages import OUTAGES
from tests.faults.scale import FAULTS_AT_ONCE, ROLLING_RESTARTS, random_for
from tests.faults.servers import Servers
from tests.faults.traffic import traffic

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]


async def test_a_rolling_restart_fails_no_request(servers: Servers, tmp_path: Path) -> None:
    random, drains_s, statuses = random_for("rolling restarts"), list[float](), set[int]()
    async with open_fleet(servers, tmp_path, random) as fleet:
        fleet.upstream.latency_s = 0.0, 0.3
        await fleet.start(*PLACES)
        async with traffic(fleet, rate=30) as final:
            for place in (place for _ in range(ROLLING_RESTARTS) for place in random.sample(PLACES, len(PLACES))):
                began_at = time.monotonic()
                statuses.add(await fleet.at(place).terminate())
                drains_s.append(time.monotonic() - began_at)
                await fleet.start(place)
        history = await fleet.history()

    found, came_to = violations(history), outcomes(final)
    publish(
        "rolling restarts",
        [
            {
                "rolling restarts": ROLLING_RESTARTS,
                "requests": told(came_to),
                "sent again": len(history.requests) - len(final),
                "drained in, p50 s": p50(drains_s),
                "p99 s": p99(drains_s),
                "violations": len(found),
            }
        ],
    )
    assert found == []
    assert set(came_to) == {"200"}
    assert statuses == {0}


async def test_promises_hold_when_everything_breaks_at_once(servers: Servers, tmp_path: Path) -> None:
    random = random_for("everything")
    async with open_fleet(servers, tmp_path, random) as fleet:
        fleet.upstream.latency_s = 0.0, 1.0
        await fleet.start(*PLACES)
        async with traffic(fleet, rate=30) as final:
            for _ in range(FAULTS_AT_ONCE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(break_a_server, fleet, random.choice(list(OUTAGES)))
                    nursery.start_soon(break_an_instance, fleet, random.choice(PLACES))
        history = await fleet.history()

    found = violations(history)
    publish(
        "everything",
        [
            {
                "faults": 2 * FAULTS_AT_ONCE,
                "requests": told(outcomes(final)),
                "prices kept": len(history.rows),
                "taken over": duplicate_claims(history),
                "violations": len(found),
            }
        ],
    )
    assert found == []


async def break_a_server(fleet: Fleet, name: str) -> None:
    await trio.sleep(fleet.random.uniform(0, 1))
    async with OUTAGES[name](fleet):
        await trio.sleep(fleet.random.uniform(0.1, 2))


async def break_an_instance(fleet: Fleet, place: str) -> None:
    await trio.sleep(fleet.random.uniform(0, 1))
    instance = fleet.at(place)
    match fleet.random.choice(["kill", "terminate", "stop"]):
        case "kill":
            instance.kill()
            await fleet.start(place)
        case "terminate":
            await instance.terminate()
            await fleet.start(place)
        case _:
            instance.stop()
            await trio.sleep(fleet.random.uniform(0.1, 3))
            instance.go_on()
