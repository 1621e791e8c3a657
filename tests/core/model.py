"""A model of what the Lua scripts do, on trio's clock, and instances that share it: for exact, instant time.

    fleet = Fleet(nursery)
    desk = await fleet.start_instance("a")

The same sequences of operations on this model and on a real Valkey must agree: tests/core/test_model.py.
"""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import trio

from core.batches import TRANSITIONS, Result, State, Trigger
from core.callers import Callers
from core.coingecko import CoinGecko
from core.coordinator import (
    LEASE_MS,
    Admission,
    Claimed,
    Coordinator,
    Gone,
    Held,
    Open,
    Settled,
    Standing,
    Unknown,
)
from core.errors import CryptoPulseError, OutboxFull, RedisUnavailable, UpstreamFailed
from core.flusher import Flusher
from core.limits import Charge, OverLimit
from core.price_desk import PriceDesk
from core.prices import Price
from core.redis_link import RedisLink
from core.settings import Settings
from core.watch import Broadcast
from core.windows import Windows

START_MS = 1_772_250_900_000


def settings_for_tests(**changes: object) -> Settings:
    """Settings with the contract's defaults and made-up secrets; nothing is read from the environment."""
    given: dict[str, object] = {
        "admin_user": "admin",
        "admin_pass": "secret",
        "jwt_secret": "s" * 32,
        "database_url": "postgresql://nowhere",
        "redis_url": "redis://nowhere",
    }
    return Settings.model_validate(given | changes)


@dataclass
class Batch:
    coin_id: str
    due_ms: int
    state: State = "open"
    size: int = 0
    fence: int = 0
    claimed_ms: int = 0
    lease_ms: int = 0
    currencies: set[str] = field(default_factory=set)
    result: Result | None = None

    def become(self, state: State) -> None:
        assert state in TRANSITIONS[self.state]
        self.state = state

    def is_of(self, claim: Claimed) -> bool:
        return (self.fence, self.claimed_ms) == (claim.fence, claim.claimed_at_ms)


class ModelRedis:
    """The state that the scripts keep, and the scripts as plain functions. A clock that jumps does not matter here."""

    def __init__(self, settings: Settings, now_ms: Callable[[], int]) -> None:
        self.settings = settings
        self.now_ms = now_ms
        self.batches: dict[str, Batch] = {}
        self.open: dict[str, str] = {}
        self.claimed: dict[str, str] = {}
        self.known: set[str] = set()  # for a day
        self.unknown: set[str] = set()  # for 10 minutes, which is for ever here
        self.outbox: list[Price] = []
        self.outbox_bound = 1_000_000
        self.charges: dict[str, list[int]] = {}
        self.full: list[tuple[str, int]] = []
        self.settled: list[list[Result]] = []
        self._ids = map("batch-{}".format, itertools.count(1))

    def charge(self, caller: str, limit: int) -> Charge:
        now, window = self.now_ms(), self.settings.throttle_ttl_ms
        log = self.charges[caller] = [at for at in self.charges.get(caller, []) if at + window > now]
        granted = len(log) < limit
        if granted:
            log.append(now)
        charge = Charge(caller, limit, limit - len(log), max(1, -(-(log[0] + window - now) // 1000)))
        if not granted:
            raise OverLimit(charge)
        return charge

    def admit(self, caller: str, coin_id: str, vs_currency: str) -> Admission | Unknown:
        if len(self.outbox) >= self.outbox_bound:
            raise OutboxFull
        charge = self.charge(caller, self.settings.throttle_global_limit)
        now = self.now_ms()
        if coin_id in self.unknown:
            return Unknown(charge)
        if coin_id not in self.open:
            self.open[coin_id] = next(self._ids)
            self.batches[self.open[coin_id]] = Batch(coin_id, now + self.settings.batch_window_ms)
        batch_id = self.open[coin_id]
        batch = self.batches[batch_id]
        batch.size += 1
        batch.currencies.add(vs_currency)
        if batch.size == self.settings.batch_threshold:
            self.full.append((batch_id, batch.size))
        return Admission(charge, batch_id, batch.size, max(batch.due_ms - now, 0))

    def claim(self, wanted: Sequence[tuple[str, Trigger]]) -> list[Standing]:
        answer: list[Standing] = []
        for batch_id, trigger in wanted:
            batch = self.batches.get(batch_id)
            if batch is None:
                answer.append(Gone(batch_id))
            elif batch.result:
                answer.append(Settled(batch_id, batch.result))
            else:
                answer += self._claim(batch_id, batch, trigger)
        return answer

    def _claim(self, batch_id: str, batch: Batch, trigger: Trigger) -> list[Standing]:
        answer: list[Standing] = []
        if holder := self.claimed.get(batch.coin_id):
            left = self.batches[holder].lease_ms - self.now_ms()
            if left > 0:
                return [Held(batch_id, left, batch.state == "claimed")]
            if holder != batch_id:
                answer.append(self._grant(holder, "takeover"))
        if batch.state == "open":
            del self.open[batch.coin_id]
        else:
            trigger = "takeover"
        return [*answer, self._grant(batch_id, trigger)]

    def _grant(self, batch_id: str, trigger: Trigger) -> Claimed:
        now, batch = self.now_ms(), self.batches[batch_id]
        batch.become("claimed")
        batch.claimed_ms, batch.lease_ms = now, now + LEASE_MS
        batch.fence += 1
        self.claimed[batch.coin_id] = batch_id
        asked = frozenset(batch.currencies)
        return Claimed(batch_id, batch.coin_id, trigger, batch.fence, batch.size, asked, now)

    def renew(self, claims: Sequence[Claimed]) -> int:
        held = [
            batch
            for claim in claims
            if (batch := self.batches.get(claim.batch_id)) and batch.state == "claimed" and batch.is_of(claim)
        ]
        for batch in held:
            batch.lease_ms = self.now_ms() + LEASE_MS
        return len(held)

    def complete(self, outcomes: Sequence[tuple[Claimed, Result]]) -> set[str]:
        accepted: set[str] = set()
        news: list[Result] = []
        for claim, result in outcomes:
            batch = self.batches.get(claim.batch_id)
            if batch is None or not batch.is_of(claim):
                continue
            accepted.add(claim.batch_id)
            if batch.state == "claimed":
                batch.become("failed" if result.failure else "answered")
                batch.result = result
                if self.claimed.get(claim.coin_id) == claim.batch_id:
                    del self.claimed[claim.coin_id]
                self.outbox += result.known_prices
                if result.known_prices:
                    self.known.add(claim.coin_id)
                elif result.failure and result.failure.kind == "unknown_coin" and claim.coin_id not in self.known:
                    self.unknown.add(claim.coin_id)
                news.append(result)
        if news:
            self.settled.append(news)
        return accepted

    def look(self, batch_ids: Sequence[str]) -> list[Standing]:
        return [self._look(batch_id) for batch_id in batch_ids]

    def _look(self, batch_id: str) -> Standing:
        batch = self.batches.get(batch_id)
        if batch is None:
            return Gone(batch_id)
        if batch.result:
            return Settled(batch_id, batch.result)
        if batch.state == "open":
            return Open(batch_id, batch.size)
        return Held(batch_id, max(batch.lease_ms - self.now_ms(), 0), itself=True)


class ModelLink(RedisLink):
    """A link that is up, or away, as a test says."""

    def __init__(self) -> None:
        super().__init__("redis://nowhere")
        self._come_up()

    def cut(self) -> None:
        self.away_since = trio.current_time()
        self._up = trio.Event()
        self._down.set()

    def mend(self) -> None:
        self._come_up()


class ModelCoordinator(Coordinator):
    """One instance's way to the model: a step takes a while, and fails while the link is down."""

    def __init__(self, fleet: "Fleet", link: ModelLink) -> None:
        self._fleet = fleet
        self._model_link = link

    async def _step(self) -> ModelRedis:
        await trio.sleep(self._fleet.redis_latency_s)
        if not self._model_link.is_up:
            raise RedisUnavailable
        return self._fleet.redis

    async def charge(self, caller: str, limit: int) -> Charge:
        return (await self._step()).charge(caller, limit)

    async def admit(self, caller: str, coin_id: str, vs_currency: str) -> Admission | Unknown:
        admission = (await self._step()).admit(caller, coin_id, vs_currency)
        self._fleet.spread_news()
        return admission

    async def claim(self, wanted: Sequence[tuple[str, Trigger]]) -> list[Standing]:
        return (await self._step()).claim(wanted)

    async def renew(self, claims: Sequence[Claimed]) -> int:
        return (await self._step()).renew(claims)

    async def complete(self, outcomes: Sequence[tuple[Claimed, Result]]) -> set[str]:
        accepted = (await self._step()).complete(outcomes)
        self._fleet.spread_news()
        return accepted

    async def look(self, batch_ids: Sequence[str]) -> list[Standing]:
        return (await self._step()).look(batch_ids)

    async def publish(self, channel: str, message: bytes) -> None:
        await self._step()


class ModelUpstream(CoinGecko):
    """An upstream whose price is the number of the call, unless a test says otherwise."""

    def __init__(self) -> None:
        self.latency_s = 0.1
        self.timeout_s = float("inf")
        self.calls: list[tuple[float, set[str], set[str]]] = []  # (trio time, coins, currencies)
        self.failure: CryptoPulseError | None = None
        self.unknown: set[str] = set()
        self.next_call = trio.Event()

    async def fetch(
        self, coin_ids: Collection[str], vs_currencies: Collection[str]
    ) -> dict[str, dict[str, Decimal | None]]:
        self.calls.append((trio.current_time(), set(coin_ids), set(vs_currencies)))
        self.next_call.set()
        self.next_call = trio.Event()
        price = Decimal(len(self.calls))
        latency_s, failure = self.latency_s, self.failure
        await trio.sleep(min(latency_s, self.timeout_s))
        if latency_s > self.timeout_s:
            raise UpstreamFailed("too slow")
        if failure:
            raise failure
        return {coin: dict.fromkeys(vs_currencies, price) for coin in coin_ids if coin not in self.unknown}


@dataclass
class Instance:
    name: str
    desk: PriceDesk
    windows: Windows
    link: ModelLink
    scope: trio.CancelScope
    deaf: bool = False  # hears nothing of the feed

    @property
    def is_flushing(self) -> bool:
        return any(view.state == "claimed" for view in self.desk.snapshot().batches)


class Fleet:
    """Instances that share one model of Redis and one upstream."""

    def __init__(self, nursery: trio.Nursery, settings: Settings | None = None) -> None:
        self._nursery = nursery
        self.settings = settings or settings_for_tests()
        self.redis = ModelRedis(self.settings, lambda: START_MS + round(trio.current_time() * 1000))
        self.upstream = ModelUpstream()
        self.redis_latency_s = 0.0
        self.instances: dict[str, Instance] = {}

    async def start_instance(self, name: str) -> PriceDesk:
        link = ModelLink()
        coordinator = ModelCoordinator(self, link)
        broadcast = Broadcast(coordinator)
        flusher = Flusher(name, coordinator, link, self.upstream, broadcast)
        windows = Windows(self.settings, link, coordinator, flusher)
        callers = Callers(name, coordinator, broadcast)
        desk = PriceDesk(name, self.settings, coordinator, flusher, windows, callers)
        scope = trio.CancelScope()

        started = trio.Event()
        self._nursery.start_soon(self._run, windows, scope, started)
        await started.wait()
        self.instances[name] = Instance(name, desk, windows, link, scope)
        return desk

    async def _run(self, windows: Windows, scope: trio.CancelScope, started: trio.Event) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(windows.run)
                started.set()

    def kill(self, name: str) -> None:
        """End an instance in whatever it is doing, as SIGKILL would."""
        self.instances.pop(name).scope.cancel()

    def spread_news(self) -> None:
        full, self.redis.full = self.redis.full, []
        settled, self.redis.settled = self.redis.settled, []
        for instance in self.instances.values():
            if instance.deaf or not instance.link.is_up:
                continue
            for message in full:
                instance.windows.hear_full(*message)
            for results in settled:
                instance.windows.hear_results(results)
