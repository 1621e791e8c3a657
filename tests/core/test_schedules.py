"""A thousand random histories of a fleet, in virtual time: whatever the schedule, the promises hold.

A failing seed is named by the test, and replays exactly: pytest tests/core/test_schedules.py -k 'seed and 123'.
"""

import itertools
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import structlog
import trio
from trio.testing import MockClock

from core.batches import Quote, Wanted
from core.errors import CryptoPulseError, ResultTimeout, UpstreamFailed, UpstreamLimited
from core.permits import PERMIT_S, interval_ms
from core.price_desk import PriceDesk
from tests.core.model import Fleet, settings_for_tests

RESULT_TIMEOUT_S = 8.0
SEEDS_A_TEST = 100


@dataclass
class Request:
    """One request as its client saw it."""

    coin_id: str
    instance: str
    sent_at: float
    answered_at: float | None = None
    answer: Quote | CryptoPulseError | None = None
    left: bool = False  # the client went away, or its instance died


@dataclass
class Story:
    """What happened in one run."""

    requests: list[Request] = field(default_factory=list)


class World:
    """A fleet, clients and faults, all driven by one seeded generator."""

    def __init__(self, seed: int, nursery: trio.Nursery) -> None:
        self.chance = random.Random(seed)
        self.nursery = nursery
        self.story = Story()
        threshold = self.chance.choice([1, 2, 3, 5, 1000])
        settings = settings_for_tests(
            batch_threshold=threshold,
            batch_window_ms=500,
            batch_ride_along=self.chance.random() < 0.7,
            upstream_timeout_ms=1000,
            upstream_max_ids=self.chance.choice([1, 2, 500]),
            upstream_calls_per_minute=self.chance.choice([None, None, 30, 120]),
            throttle_global_limit=1_000_000,
        )
        self.interval_s = interval_ms(settings.upstream_calls_per_minute, settings.upstream_timeout_ms) / 1000
        self.fleet = Fleet(nursery, settings)
        self.fleet.upstream.timeout_s = 1.0
        self.fleet.redis_latency_s = self.chance.choice([0.0, 0.001, 0.05])
        self.connections: dict[str, set[trio.CancelScope]] = {}  # {instance: ends one connection to it}
        self.started = 0
        self.was_limited = False

    async def run(self) -> Story:
        for _ in range(self.chance.randint(2, 3)):
            await self.start_instance()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.send_requests)
            nursery.start_soon(self.inject_faults)
        await trio.sleep(RESULT_TIMEOUT_S + 5)
        return self.story

    async def start_instance(self) -> None:
        self.started += 1
        name = f"i{self.started}"
        self.connections[name] = set()
        await self.fleet.start_instance(name)

    async def send_requests(self) -> None:
        coins = ["bitcoin", "ethereum", "solana"][: self.chance.randint(1, 3)]
        for _ in range(self.chance.randint(5, 40)):
            await trio.sleep(self.chance.choice([0.0, 0.01, 0.3, 2.0]) * self.chance.random())
            if self.fleet.instances:
                name = self.chance.choice(sorted(self.fleet.instances))
                patience_s = self.chance.choice([1.0, 3.0, *[float("inf")] * 6])
                self.nursery.start_soon(self.ask, name, self.chance.choice(coins), patience_s)

    async def ask(self, name: str, coin_id: str, patience_s: float) -> None:
        request = Request(coin_id, name, trio.current_time())
        self.story.requests.append(request)
        desk = self.fleet.instances[name].desk
        request.left = True
        with trio.CancelScope() as connection, trio.move_on_after(patience_s):
            await self.ask_desk(desk, request, connection, name)

    async def ask_desk(self, desk: PriceDesk, request: Request, connection: trio.CancelScope, name: str) -> None:
        self.connections[name].add(connection)
        try:
            with desk.ask([Wanted(request.coin_id, ("usd",))], caller="user:a") as asked:
                await asked.over()
                request.answer = asked.admitted()[0].quote("usd")
        except CryptoPulseError as error:
            request.answer = error
        finally:
            self.connections[name].discard(connection)
        request.answered_at, request.left = trio.current_time(), False

    async def inject_faults(self) -> None:
        faults = [self.kill, self.deafen, self.cut_one, self.lose_memory, self.slow_upstream, self.fail_upstream]
        for _ in range(self.chance.randint(0, 8)):
            await trio.sleep(self.chance.random())
            if self.chance.random() < 0.7:  # most faults matter in the midst of a call
                with trio.move_on_after(2):
                    await self.fleet.upstream.next_call.wait()
                await trio.sleep(self.chance.random() * self.fleet.upstream.latency_s)
            await self.chance.choice(faults)()

    async def kill(self) -> None:
        if self.fleet.instances:
            name = self.chance.choice(self.flushing or sorted(self.fleet.instances))
            self.fleet.kill(name)
            for connection in self.connections[name]:
                connection.cancel()
        if self.chance.random() < 0.7 or not self.fleet.instances:
            await self.start_instance()

    @property
    def flushing(self) -> list[str]:
        return [name for name, each in self.fleet.instances.items() if each.is_flushing]

    async def deafen(self) -> None:
        """The feed of an instance is down for a while; when it is back it looks for itself."""
        if not self.fleet.instances:
            return
        instance = self.fleet.instances[self.chance.choice(sorted(self.fleet.instances))]
        instance.deaf = True
        await trio.sleep(self.chance.random() * 2)
        instance.deaf = False
        await instance.windows.look()

    async def cut_one(self) -> None:
        if not self.fleet.instances:
            return
        instance = self.fleet.instances[self.chance.choice(self.flushing or sorted(self.fleet.instances))]
        instance.link.cut()
        await trio.sleep(self.chance.choice([0.1, 0.5, 0.9, 1.6, 1.9]))
        instance.link.mend()

    async def lose_memory(self) -> None:
        """Redis is restarted empty."""
        cut = list(self.fleet.instances.values())
        for instance in cut:
            instance.link.cut()
        redis = self.fleet.redis
        kept, redis.outbox = redis.outbox, []  # which Postgres has, here
        redis.forget()
        redis.outbox = kept
        await trio.sleep(self.chance.choice([0.1, 0.5, 1.5]))
        for instance in cut:
            instance.link.mend()

    async def slow_upstream(self) -> None:
        self.fleet.upstream.latency_s = self.chance.choice([0.01, 0.1, 0.5, 0.9, 1.1])
        await trio.lowlevel.checkpoint()

    async def fail_upstream(self) -> None:
        limited = UpstreamLimited("too many", retry_after_s=self.chance.randint(1, 10))
        self.fleet.upstream.failure = self.chance.choice([None, UpstreamFailed("broken"), limited])
        self.was_limited = self.was_limited or self.fleet.upstream.failure is limited
        await trio.lowlevel.checkpoint()


def broken_promises(world: World) -> list[str]:
    """What went wrong, as sentences."""
    told: list[str] = []
    by_batch: dict[str, set[tuple[object, int]]] = {}
    kept = [(price.batch_id, price.vs_currency) for price in world.fleet.redis.outbox]
    calls = world.fleet.upstream.calls
    for request in world.story.requests:
        if request.left:
            continue
        if request.answered_at is None or request.answer is None:
            told.append(f"{request} got no answer")
        elif request.answered_at > request.sent_at + RESULT_TIMEOUT_S + 2 * world.fleet.redis_latency_s + 1e-6:
            told.append(f"{request} was answered late")
        # Windows and calls are short here: a few deaths in a row, with a lease each, still leave time for an answer;
        # unless permits are scarce, or the upstream said to stay away until just before the deadline.
        if isinstance(request.answer, ResultTimeout) and not world.interval_s and not world.was_limited:
            told.append(f"{request} timed out")
        if isinstance(request.answer, Quote):
            price = request.answer.price
            called_at, coins, _ = calls[int(price.price) - 1]
            by_batch.setdefault(price.batch_id, set()).add((price.price, price.fetched_at_ms))
            if called_at < request.sent_at or request.coin_id not in coins:
                told.append(f"{request} was answered from a call at {called_at}")
            if kept.count((price.batch_id, price.vs_currency)) != 1:
                told.append(f"{request}: its price is kept {kept.count((price.batch_id, 'usd'))} times")
    told += [f"{batch_id} was answered in {len(ways)} ways" for batch_id, ways in by_batch.items() if len(ways) > 1]
    told += [
        f"calls at {before} and {after}"
        for (before, *_), (after, *_) in itertools.pairwise(calls)
        if after - before < world.interval_s - PERMIT_S
    ]
    waiting = sum(instance.desk.waiting for instance in world.fleet.instances.values())
    return told + ([f"{waiting} still wait"] if waiting else [])


async def run_world(seed: int) -> list[str]:
    async with trio.open_nursery() as nursery:
        world = World(seed, nursery)
        await world.run()
        told = broken_promises(world)
        nursery.cancel_scope.cancel()
    return told


@pytest.fixture(autouse=True)
def _no_logs() -> Iterator[None]:
    """Half a million lines of log would take longer than everything else."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("first", range(0, 1000, SEEDS_A_TEST))
def test_no_random_schedule_of_requests_and_faults_breaks_a_promise(first: int) -> None:
    broken = {
        seed: told
        for seed in range(first, first + SEEDS_A_TEST)
        if (told := trio.run(run_world, seed, clock=MockClock(autojump_threshold=0)))
    }
    assert broken == {}
