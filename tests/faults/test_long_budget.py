"""The upstream budget while all else fails, many times: `make test-faults`; scale.py says how to scale it."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from core.simulation import Arrival, optimum
from simulator import failures
from tests.faults.checker import Promise, Violation, violations
from tests.faults.clients import Ask
from tests.faults.evidence import permits_in
from tests.faults.figures import outcomes, publish, told
from tests.faults.fleet import Fleet, open_fleet
from tests.faults.history import History
from tests.faults.instance import PLACES
from tests.faults.moments import Death, Freeze, Moment
from tests.faults.outages import OUTAGES, redis_set_back
from tests.faults.scale import KILLS, OVERLOAD_S, STALLS, random_for
from tests.faults.servers import Servers
from tests.faults.traffic import jostling, steady, traffic

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

A_MINUTE = 30  # upstream calls; one each 2.034 s
# Every request wants a call of its own, and no call may carry all that wait.
HUNGRY = {"batch_threshold": 1, "upstream_max_ids": 50}
MANY_COINS = [f"coin-{number}" for number in range(200)]

FAR = 1_000_000  # as a threshold, or as calls of a month: never reached
ILLNESSES: Sequence[failures.AnyFailure] = (
    failures.ServerError(status=503, calls=1),
    failures.TooManyRequests(retry_after="1", calls=1),
    failures.Hang(calls=1),
    failures.Reset(calls=1),
    failures.Html(status=200, calls=1),
)
# An upstream call, its time-out, and what is done about it afterwards.
QUIET_S = 5.0
# What Redis had written down, and does not know any more, it can neither keep nor fence.
RESTING_ON_WRITES = {Promise.ONE_RESULT, Promise.KEPT_ONCE, Promise.FENCED}


def most_in_a_minute(history: History) -> int:
    """The most calls that any 60 s saw."""
    times = sorted(call.at for call in history.calls)
    return max(sum(first <= at < first + 60 for at in times) for first in times)


def closest_s(history: History) -> float:
    """The shortest time between two calls."""
    times = sorted(call.at for call in history.calls)
    return min(later - earlier for earlier, later in pairwise(times))


def upstream_said(fleet: Fleet) -> set[int | None]:
    """Every status that the upstream gave."""
    return {call.status for call in fleet.upstream.calls}


def calls_told(history: History, found: Sequence[Violation]) -> dict[str, int | float]:
    """What there is to tell of the calls of any run under a limit."""
    return {
        "calls": len(history.calls),
        "permits": len(permits_in(history)),
        "most in 60 s": most_in_a_minute(history),
        "allowed": history.bounds.calls_per_minute or 0,
        "closest s": closest_s(history),
        "violations": len(found),
    }


async def test_an_overloaded_fleet_whose_instances_die_never_calls_more_often_than_allowed(
    servers: Servers, tmp_path: Path
) -> None:
    random, kills, ends_at = random_for("overload"), 0, trio.current_time() + OVERLOAD_S
    async with open_fleet(servers, tmp_path, random, calls_per_minute=A_MINUTE) as fleet:
        fleet.upstream.latency_s = 0.0, 0.5
        await fleet.start(*PLACES, **HUNGRY)
        async with traffic(fleet, rate=60, coins=MANY_COINS) as final:
            while trio.current_time() < ends_at:
                await trio.sleep(random.uniform(1, 5))
                place = random.choice(PLACES)
                fleet.at(place).kill()
                kills += 1
                await trio.sleep(random.uniform(0, 1))
                await fleet.start(place)
        await fleet.age_what_the_dead_hold()
        history = await fleet.history()

    found = violations(history)
    publish("overload", [{"kills": kills, "requests": told(outcomes(final)), **calls_told(history, found)}])
    assert found == []
    assert upstream_said(fleet) == {200}
    assert len(history.calls) > OVERLOAD_S / 60 * A_MINUTE / 2  # it was hungry


@pytest.mark.parametrize("ill", [False, True], ids=["well", "ill"])
async def test_the_months_count_is_no_lower_than_the_credits_and_one_higher_a_kill_at_most(
    servers: Servers, tmp_path: Path, *, ill: bool
) -> None:
    name = f"month, the upstream {'ill' if ill else 'well'}"
    random, asked, above, behind = random_for(name), 0, list[int](), list[int]()
    async with open_fleet(servers, tmp_path, random) as fleet:
        fleet.upstream.latency_s = 0.0, 0.5
        await fleet.start(*PLACES, upstream_calls_per_month=FAR)
        for kill in range(2 * KILLS):
            moment = list(Moment)[kill % len(Moment)]
            fleet.ambush = Death(moment)
            while not fleet.ambush.sprung.is_set():  # what fails comes to no writing of prices
                if ill and random.random() < 0.7:
                    fleet.upstream.config.failures = [random.choice(ILLNESSES)]
                asked += 1
                await fleet.clients.drive(jostling(random, f"coin-{asked}"))
                with trio.move_on_after(1):
                    await fleet.ambush.sprung.wait()
            await fleet.restart(fleet.ambush.victim)
            credits_used = fleet.upstream.credits_used
            above.append(await fleet.valkey.month_calls() - credits_used)
        fleet.upstream.config.heal()
        await trio.sleep(QUIET_S)
        await fleet.age_what_the_dead_hold()
        await fleet.history()
        behind.append(await fleet.valkey.month_calls() - await fleet.postgres.month_calls())
        await fleet.clients.drive(jostling(random, "the-last"))
        history = await fleet.history()
        counted, kept = await fleet.valkey.month_calls(), await fleet.postgres.month_calls()
        behind.append(counted - kept)

    found, credits_used = violations(history), fleet.upstream.credits_used
    publish(
        name,
        [
            {
                "kills": len(above),
                "requests": told(outcomes(history.requests)),
                "upstream calls": len(history.calls),
                "credits": credits_used,
                "counted in Redis": counted,
                "Postgres behind when quiet": behind[0],
                "and after one more call": behind[1],
                "violations": len(found),
            }
        ],
    )
    assert found == []
    assert 0 <= counted - credits_used <= len(above)
    assert min(above) >= 0
    assert kept >= credits_used
    if not ill:
        assert kept == counted


@pytest.mark.parametrize("window_ms", [5000, 1000])
async def test_as_few_calls_are_made_as_by_an_optimum_that_knows_the_future(
    servers: Servers, tmp_path: Path, window_ms: int
) -> None:
    random, two = random_for(f"optimum {window_ms}"), PLACES[:2]
    async with open_fleet(servers, tmp_path, random) as fleet:
        fleet.upstream.latency_s = 0.0, 0.1
        await fleet.start(*two, batch_window_ms=window_ms, batch_threshold=FAR)
        await fleet.clients.drive(steady(random, rate=40, seconds=60, coins=MANY_COINS[:60], places=two))
        history = await fleet.history()

    found = violations(history)
    # Of each batch only its opening counts: who joins it waits no longer than that.
    openings = [Arrival(at_ms / 1000, "") for at_ms in sorted(opening.redis_ms for opening in history.openings)]
    fewest = optimum(openings, window_ms / 1000)
    publish(
        f"optimum, windows of {window_ms} ms",
        [
            {
                "window s": window_ms / 1000,
                "requests": told(outcomes(history.requests)),
                "batches": len(openings),
                "upstream calls": len(history.calls),
                "optimum": fewest,
                "violations": len(found),
            }
        ],
    )
    assert found == []
    assert set(outcomes(history.requests)) == {"200"}
    assert len(openings) == len({claim.batch_id for claim in history.claims})
    assert len(history.calls) <= fewest + 1


@pytest.mark.parametrize("name", ["redis killed", "redis emptied", "redis set back"])
async def test_a_redis_that_restarts_gives_no_permit_twice(servers: Servers, tmp_path: Path, name: str) -> None:
    random = random_for(f"budget, {name}")
    async with open_fleet(servers, tmp_path, random, calls_per_minute=A_MINUTE) as fleet:

        def outage() -> AbstractAsyncContextManager[None]:
            if name in OUTAGES:
                return OUTAGES[name](fleet)
            return redis_set_back(fleet, lost_s=random.uniform(0.1, 3))

        fleet.upstream.latency_s = 0.0, 0.5
        await fleet.start(*PLACES, **HUNGRY)
        async with traffic(fleet, rate=30, coins=MANY_COINS) as final:
            times = await keep_restarting(fleet, outage)
        history = await fleet.history()

    found = violations(history)
    if name not in OUTAGES:
        found = [one for one in found if one.promise not in RESTING_ON_WRITES]
    publish(
        f"budget, {name}",
        [{"outage": name, "times": times, "requests": told(outcomes(final)), **calls_told(history, found)}],
    )
    assert found == []
    assert upstream_said(fleet) == {200}
    assert set(outcomes(final)) <= {"200", "429", "503", "504"}


async def keep_restarting(fleet: Fleet, outage: Callable[[], AbstractAsyncContextManager[None]]) -> int:
    """Have an outage after the other until the time is over; say how many there were."""
    times, ends_at = 0, trio.current_time() + OVERLOAD_S
    while trio.current_time() < ends_at:
        await trio.sleep(fleet.random.uniform(2, 15))
        async with outage():
            await trio.sleep(fleet.random.choice([0.0, 0.3, 0.9, 2.5]))
        times += 1
    return times


async def test_no_call_is_made_with_a_permit_that_lapsed(servers: Servers, tmp_path: Path) -> None:
    random, came_to = random_for("lapsed permits"), Counter[str]()
    async with open_fleet(servers, tmp_path, random, calls_per_minute=60) as fleet:
        fleet.upstream.latency_s = 0.0, 0.3
        await fleet.start(*PLACES)
        for stall in range(STALLS):
            fleet.ambush = freeze = Freeze(Moment.CLAIMED)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(thaw, freeze, random.uniform(0.6, 3.0))
                came_to += outcomes(await fleet.clients.drive(jostling(random, f"coin-{stall}")))
            await fleet.clients.wait_ready(fleet.place_of(freeze.victim))
        await trio.sleep(QUIET_S)
        history = await fleet.history()

    found = violations(history)
    publish(
        "lapsed permits",
        [{"stalls with a permit": STALLS, "requests": told(came_to), **calls_told(history, found)}],
    )
    assert found == []
    assert set(came_to) == {"200"}
    assert upstream_said(fleet) == {200}
    assert len(history.calls) <= len(permits_in(history)) - STALLS


async def thaw(freeze: Freeze, after_s: float) -> None:
    await freeze.sprung.wait()
    await trio.sleep(after_s)
    freeze.go_on()


async def test_riders_of_a_flusher_that_dies_cost_one_more_call_and_not_one_each(
    servers: Servers, tmp_path: Path
) -> None:
    random, survived, extra = random_for("riders"), Counter[str](), list[int]()
    async with open_fleet(servers, tmp_path, random) as fleet:
        fleet.upstream.latency_s = 0.0, 1.0
        await fleet.start(*PLACES, batch_window_ms=1000, batch_threshold=FAR)
        for kill in range(KILLS):
            fleet.ambush, before = Death(Moment.CALLING), len(fleet.upstream.given)
            places = random.sample(PLACES, len(PLACES))
            requests = await fleet.clients.drive(
                [Ask(0.1 * turn, f"coin-{kill}-{turn}", "usd", place) for turn, place in enumerate(places)]
            )
            survivors = [request for request in requests if request.instance != fleet.ambush.victim.name]
            survived += outcomes(survivors)
            extra.append(len(fleet.upstream.given) - before - 1)
            await fleet.restart(fleet.ambush.victim)
        history = await fleet.history()

    found = violations(history)
    publish(
        "riders",
        [
            {
                "kills": KILLS,
                "riders": told(survived),
                "extra calls a kill, at most": max(extra),
                "on average": sum(extra) / len(extra),
                "violations": len(found),
            }
        ],
    )
    assert found == []
    assert survived == Counter({"200": 2 * KILLS})
    assert set(extra) == {1}
