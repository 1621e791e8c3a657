"""Flushers that die, stall and compete, many times: `make test-faults`; scale.py says how to scale and replay it."""

from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.faults.checker import duplicate_claims, violations
from tests.faults.evidence import permits_in
from tests.faults.figures import outcomes, p50, p99, publish, told
from tests.faults.fleet import open_fleet
from tests.faults.instance import PLACES
from tests.faults.moments import Death, Freeze, Moment
from tests.faults.scale import BURSTS, KILLS, STALLS, random_for
from tests.faults.servers import Servers
from tests.faults.traffic import burst, coming_to, jostling

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

BURSTS_AT_A_TIME = 5


@pytest.mark.parametrize("moment", Moment)
async def test_who_waits_at_a_survivor_gets_a_price_whenever_the_flusher_dies(
    servers: Servers, tmp_path: Path, moment: Moment
) -> None:
    random, waits_s, extra = random_for(moment), list[float](), list[int]()
    survived: Counter[str] = Counter()
    async with open_fleet(servers, tmp_path, random) as fleet:
        fleet.upstream.latency_s = 0.0, 1.0
        await fleet.start(*PLACES)
        for kill in range(KILLS):
            fleet.ambush, before = Death(moment), len(fleet.upstream.given)
            requests = await fleet.clients.drive(coming_to(moment, jostling(random, f"coin-{kill}")))
            await fleet.ambush.sprung.wait()
            survivors = [request for request in requests if request.instance != fleet.ambush.victim.name]
            survived += outcomes(survivors)
            waits_s += [max(0.0, request.sent_at + request.took_s - fleet.ambush.at) for request in survivors]
            extra.append(len(fleet.upstream.given) - before - 1)
            await fleet.restart(fleet.ambush.victim)
        history = await fleet.history()

    found = violations(history)
    publish(
        f"deaths {moment}",
        [
            {
                "killed": moment,
                "kills": KILLS,
                "survivors": told(survived),
                "extra calls a kill, at most": max(extra),
                "answered after the kill, p50 s": p50(waits_s),
                "p99 s": p99(waits_s),
                "violations": len(found),
            }
        ],
    )
    assert found == []
    assert set(survived) == {"200"}
    assert max(extra) <= 1


async def test_what_a_stalled_flusher_tells_late_is_never_accepted(servers: Servers, tmp_path: Path) -> None:
    random, came_to = random_for("stalls"), Counter[str]()
    async with open_fleet(servers, tmp_path, random) as fleet:
        fleet.upstream.latency_s = 0.05, 0.5
        await fleet.start(*PLACES)
        for stall in range(STALLS):
            fleet.ambush = Freeze(random.choice([Moment.CLAIMED, Moment.CALLING, Moment.ANSWERED]))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(thaw, fleet.ambush, random.uniform(1.6, 3.0))
                came_to += outcomes(await fleet.clients.drive(jostling(random, f"coin-{stall}")))
            # Stopped for longer than Redis may be silent, it takes Redis for lost when it wakes up, and connects anew.
            await fleet.clients.wait_ready(fleet.place_of(fleet.ambush.victim))
        history = await fleet.history()

    found = violations(history)
    claims = Counter(claim.batch_id for claim in history.claims)
    late = [done for done in history.completions if done.fence < claims[done.batch_id]]
    publish(
        "stalls",
        [
            {
                "stalls past the lease": STALLS,
                "requests": told(came_to),
                "taken over": duplicate_claims(history),
                "late results sent": len(late),
                "accepted": sum(done.accepted is True for done in late),
                "violations": len(found),
            }
        ],
    )
    assert found == []
    assert not any(done.accepted for done in late)
    assert set(came_to) == {"200"}


async def thaw(freeze: Freeze, after_s: float) -> None:
    await freeze.sprung.wait()
    await trio.sleep(after_s)
    freeze.go_on()


async def test_a_contended_batch_is_flushed_once(servers: Servers, tmp_path: Path) -> None:
    random = random_for("bursts")
    async with open_fleet(servers, tmp_path, random) as fleet:
        await fleet.start(*PLACES, batch_window_ms=300)
        for first in range(0, BURSTS, BURSTS_AT_A_TIME):
            coins = [f"coin-{number}" for number in range(first, min(first + BURSTS_AT_A_TIME, BURSTS))]
            await fleet.clients.drive([ask for coin in coins for ask in burst(random, coin)])
        history = await fleet.history()

    found, batches = violations(history), {claim.batch_id for claim in history.claims}
    publish(
        "bursts",
        [
            {
                "bursts": BURSTS,
                "requests": told(outcomes(history.requests)),
                "batches": len(batches),
                "upstream calls": len(history.calls),
                "duplicate flushes": duplicate_claims(history),
                "violations": len(found),
            }
        ],
    )
    assert found == []
    assert set(outcomes(history.requests)) == {"200"}
    assert duplicate_claims(history) == 0
    assert len(history.calls) == len(permits_in(history)) <= len(batches)  # some ride along
