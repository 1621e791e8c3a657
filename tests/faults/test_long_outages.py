"""Redis, Postgres and the upstream away or ill, many times: `make test-faults`; scale.py says how to replay it."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from simulator import failures
from tests.faults.checker import violations
from tests.faults.figures import outcomes, p50, p99, publish, told
from tests.faults.fleet import Fleet, open_fleet
from tests.faults.instance import PLACES
from tests.faults.outages import OUTAGES, Outage
from tests.faults.scale import OUTAGES_OF_EACH, random_for
from tests.faults.servers import Servers
from tests.faults.traffic import steady

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

# Batches in every state at any time.
QUICK = {"batch_window_ms": 1000}
RETRY_AFTERS = (None, "1", "60", "119", "soon", "-1", "1e9", "Wed, 21 Oct 2065 07:28:00 GMT")

LIED_ABOUT = ("bitcoin", "ethereum")
# What the upstream does, and what its clients may be told.
ILLNESSES: Sequence[tuple[failures.AnyFailure, set[str]]] = (
    (failures.Hang(), {"502"}),
    (failures.ServerError(status=500), {"502"}),
    (failures.ServerError(status=503), {"502"}),
    *((failures.TooManyRequests(retry_after=text), {"429"}) for text in RETRY_AFTERS),
    (failures.TooManyRequests(status=200), {"429"}),
    (failures.Reset(), {"502"}),
    (failures.Truncated(), {"502"}),
    (failures.Html(), {"502"}),
    (failures.InvalidJson(), {"502"}),
    (failures.Huge(padding_bytes=5_000_000), {"502"}),
    (failures.Gzip(padding_bytes=5_000_000), {"502"}),
    (failures.Redirect(), {"502"}),
    (failures.Body(text="[]"), {"502"}),
    (failures.Body(text='{"bitcoin":{"usd":"1,2","eur":null,"gbp":-1},"ethereum":{}}'), {"404", "502"}),
    (failures.Body(text='{"bitcoin":{"usd":1e400,"eur":NaN},"ethereum":{"usd":1e-400}}'), {"404", "502"}),
    (failures.Body(text="{}"), {"404"}),
)


@pytest.mark.parametrize("name", OUTAGES)
async def test_an_outage_loses_no_price_and_leaves_nobody_waiting(servers: Servers, tmp_path: Path, name: str) -> None:
    async with open_fleet(servers, tmp_path, random_for(name)) as fleet:
        fleet.upstream.latency_s = 0.0, 0.3
        await fleet.start(*PLACES, **QUICK)
        refused_s = [await refused_after(fleet, OUTAGES[name]) for _ in range(OUTAGES_OF_EACH)]
        history = await fleet.history()

    found, came_to = violations(history), outcomes(history.requests)
    publish(
        f"outages {name}",
        [
            {
                "outage": name,
                "times": OUTAGES_OF_EACH,
                "requests": told(came_to),
                "prices kept": len(history.rows),
                "longest answer s": max(request.took_s for request in history.requests),
                "refused after its end, p50 s": p50(refused_s),
                "p99 s": p99(refused_s),
                "violations": len(found),
            }
        ],
    )
    assert found == []
    assert set(came_to) <= ({"200", "503"} if name.startswith("redis") else {"200"})


async def refused_after(fleet: Fleet, outage: Outage) -> float:
    """Have an outage in the midst of traffic; for how long after its end requests were still refused."""
    already = len(fleet.record.requests)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.clients.drive, steady(fleet.random, rate=50, seconds=6))
        await trio.sleep(fleet.random.uniform(0.5, 1.5))
        async with outage(fleet):
            await trio.sleep(fleet.random.choice([0.2, 0.7, 1.5, 2.5]))
        over_at = time.monotonic()
    since = list(fleet.record.requests.values())[already:]
    return max([0.0, *(request.sent_at - over_at for request in since if request.status == 503)])


async def test_an_ill_upstream_is_told_to_everybody_and_nothing_of_it_is_kept(servers: Servers, tmp_path: Path) -> None:
    rows = []
    async with open_fleet(servers, tmp_path, random_for("upstream")) as fleet:
        await fleet.start(*PLACES, **QUICK)
        for number, (failure, allowed) in enumerate(ILLNESSES):
            fleet.upstream.config.failures = [failure]
            ill = await come_to(fleet, *LIED_ABOUT)
            fleet.upstream.config.heal()
            silent, before = "", len(fleet.upstream.given)
            if isinstance(failure, failures.TooManyRequests) and failure.retry_after != "1":
                silent = told(await come_to(fleet, f"coin-{number}"))
                assert len(fleet.upstream.given) == before, failure
                await fleet.valkey.forget_budget()
            # Others than those that it may have said not to know, which is remembered.
            well = await come_to(fleet, f"coin-{number}")
            rows.append({"upstream": repr(failure), "meanwhile": told(ill), "silent": silent, "afterwards": told(well)})
            assert set(ill) <= allowed, failure
            assert silent in {"", "30 x 429"}, failure
            assert set(well) == {"200"}, failure
        history = await fleet.history()

    publish("upstream", rows)
    assert violations(history) == []


async def come_to(fleet: Fleet, *coins: str) -> Counter[str]:
    """What a second of requests for these coins came to."""
    return outcomes(await fleet.clients.drive(steady(fleet.random, rate=30, seconds=1, coins=coins)))


async def test_nobody_gets_over_the_limit_while_things_break(servers: Servers, tmp_path: Path) -> None:
    users = [f"busy-{number}" for number in range(5)]
    async with open_fleet(servers, tmp_path, random_for("limits")) as fleet:
        await fleet.start(*PLACES, **QUICK)
        asks = [ask._replace(user=fleet.random.choice(users)) for ask in steady(fleet.random, rate=40, seconds=10)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fleet.clients.drive, asks)
            for name in ("redis killed", "redis cut", "redis stopped"):
                await trio.sleep(1)
                async with OUTAGES[name](fleet):
                    await trio.sleep(0.5)
            fleet.at("b").kill()
            await fleet.start("b")
        history = await fleet.history()

    found = violations(history)
    came_to = told(outcomes(history.requests))
    publish("limits", [{"users": len(users), "requests": came_to, "violations": len(found)}])
    assert found == []
    assert max(Counter(request.user for request in history.answered).values()) <= history.bounds.limit
