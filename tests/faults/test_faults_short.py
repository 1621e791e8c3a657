"""One fault of each kind: real instances, a real Valkey and Postgres, and a recorded history that breaks no promise."""

from collections.abc import Collection
from pathlib import Path
from random import Random

import pytest
import trio

from tests.faults.checker import violations
from tests.faults.clients import Ask
from tests.faults.fleet import Fleet, open_fleet
from tests.faults.history import Request
from tests.faults.instance import PLACES
from tests.faults.moments import Death, Freeze, Moment
from tests.faults.outages import OUTAGES
from tests.faults.servers import Servers
from tests.faults.traffic import coming_to, one_at_each_place, steady
from tests.waiting import until

# So that a fault of a second meets batches in every state.
QUICK = {"batch_window_ms": 500}


def statuses(requests: Collection[Request]) -> set[int | str]:
    """What the requests came to: statuses, and mishaps where there was none."""
    return {request.status or request.mishap for request in requests}


async def works_again(fleet: Fleet) -> None:
    """Return when every instance is ready, and answers with a price."""
    for place in PLACES:
        await fleet.clients.wait_ready(place)
    answers = await fleet.clients.drive(one_at_each_place("bitcoin"))
    assert statuses(answers) == {200}


async def test_a_death_at_any_moment_of_a_flush_costs_one_call_at_most(servers: Servers, tmp_path: Path) -> None:
    async with open_fleet(servers, tmp_path, Random(1)) as fleet:
        await fleet.start(*PLACES)
        calls: dict[Moment, int] = {}
        for moment in Moment:
            fleet.ambush, before = Death(moment), len(fleet.upstream.given)
            coin = f"coin-{moment.name.lower().replace('_', '-')}"
            requests = await fleet.clients.drive(coming_to(moment, one_at_each_place(coin)))
            await fleet.ambush.sprung.wait()
            dead = fleet.ambush.victim
            claimed_at = min(claim.at for claim in fleet.record.claims if claim.coin == coin)
            assert (claimed_at > fleet.ambush.at) == (moment is Moment.RIPE)
            calls[moment] = len(fleet.upstream.given) - before
            assert statuses([one for one in requests if one.instance != dead.name]) == {200}, moment
            await fleet.restart(dead)
        await fleet.age_what_the_dead_hold()
        history = await fleet.history()

    assert violations(history) == []
    assert calls == dict.fromkeys(Moment, 1) | {Moment.CALLING: 2, Moment.ANSWERED: 2}


async def test_what_a_flusher_tells_after_its_lease_is_refused(servers: Servers, tmp_path: Path) -> None:
    async with open_fleet(servers, tmp_path, Random(2)) as fleet:
        await fleet.start(*PLACES)
        fleet.ambush = freeze = Freeze(Moment.ANSWERED)
        record = fleet.record
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fleet.clients.drive, one_at_each_place("bitcoin"))
            await until(lambda: len([one for one in record.requests.values() if one.status]) == 2)
            freeze.let_pass()
            await until(lambda: record.completions[0].accepted is not None)
            freeze.go_on()
        history = await fleet.history()

    assert violations(history) == []
    assert {one.batch_id for one in history.openings} == {one.batch_id for one in history.claims}
    assert [(done.fence, done.accepted) for done in history.completions] == [(1, False), (2, True)]
    assert statuses(history.requests) == {200}
    assert len(history.rows) == 1


@pytest.mark.parametrize("how", ["redis killed", "redis emptied"])
async def test_a_valkey_that_was_killed_and_comes_back_leaves_nobody_waiting(
    servers: Servers, tmp_path: Path, how: str
) -> None:
    async with open_fleet(servers, tmp_path, Random(3)) as fleet:
        await fleet.start(*PLACES, **QUICK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fleet.clients.drive, steady(fleet.random, rate=20, seconds=4))
            await trio.sleep(1)
            async with OUTAGES[how](fleet):
                refused = await fleet.clients.ask(Ask(0, "bitcoin", "usd", "a"))
                await trio.sleep(0.5)
        await works_again(fleet)
        history = await fleet.history()

    assert violations(history) == []
    assert statuses(history.requests) == {200, 503}
    assert (refused.status, refused.retry_after) == (503, "1")


async def test_a_postgres_that_restarts_gets_every_price_once(servers: Servers, tmp_path: Path) -> None:
    async with open_fleet(servers, tmp_path, Random(4)) as fleet:
        await fleet.start(*PLACES, **QUICK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fleet.clients.drive, steady(fleet.random, rate=20, seconds=4))
            await trio.sleep(1)
            async with OUTAGES["postgres stopped"](fleet):
                await trio.sleep(1)
        history = await fleet.history()

    assert violations(history) == []
    assert statuses(history.requests) == {200}
