"""A model of what the Lua scripts do, on trio's clock, and instances that share it: for exact, instant time.

    fleet = Fleet(nursery)
    desk = await fleet.start_instance("a")

The same sequences of operations on this model and on a real Valkey must agree: tests/core/test_model.py.
"""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import inf
from typing import TypeVar

import msgspec
import trio

from core import keys
from core.admissions import Absent, Admission, Admissions, Ask, Fresh, Joined, Refused, Unknown
from core.batches import TRANSITIONS, Result, State, Trigger, Wanted
from core.callers import Callers
from core.coingecko import CoinGecko, Fetched, PermitLapsed
from core.coordinator import COINS_A_UNIT, LEASE_MS, Coordinator, Grant, Outlook
from core.errors import CryptoPulseError, OutboxFull, RedisUnavailable, UpstreamFailed
from core.events import Event, Message, decode_message
from core.flush_policy import Call, View, ride_along
from core.flusher import Flusher
from core.freshness import AtHand, Freshness, Latest
from core.limits import Charge, OverLimit
from core.permits import Called, Permit
from core.price_desk import PriceDesk
from core.prices import Price
from core.redis_link import RedisLink
from core.settings import Settings
from core.snapshots import Snapshots
from core.standings import Claimed, Gone, Held, Open, Settled, Standing
from core.tally import Tally
from core.watch import Broadcast
from core.windows import Windows
from tests.core.model_budget import TROUBLED, ModelBudget, ModelLedger

_EventT = TypeVar("_EventT", bound=Event)

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
        # {coin: {currency: (fetched at, fresh until, size, batch, price)}}, for a day
        self.latest: dict[str, dict[str, tuple[int, int, int, str, Decimal | None]]] = {}
        self.unknown: set[str] = set()  # for 10 minutes, which is for ever here
        self.outbox: list[Price] = []
        self.outbox_bound = 1_000_000
        self.charges: dict[str, list[int]] = {}
        self.full: list[tuple[str, int]] = []
        self.told: list[list[str]] = []  # claimed without having been full or due
        self.next_calls: list[int] = []
        self.settled: list[list[Result]] = []
        self.budget = ModelBudget(settings, now_ms, self.next_calls.append)
        self._ids = map("batch-{:03}".format, itertools.count(1))

    def charge(self, caller: str, limit: int, cost: int = 1) -> Charge:
        now, window = self.now_ms(), self.settings.throttle_ttl_ms
        log = self.charges[caller] = [at for at in self.charges.get(caller, []) if at + window > now]
        over = len(log) + cost - limit
        if over <= 0:
            log += [now] * cost
        first = log[max(over - 1, 0)] if log else now
        charge = Charge(caller, limit, limit - len(log), max(1, -(-(first + window - now) // 1000)))
        if over > 0:
            raise OverLimit(charge)
        return charge

    def admit(
        self, asks: Sequence[Ask], *, may_claim: bool
    ) -> tuple[list[Admissions | OverLimit | OutboxFull], Grant | None]:
        sizes = {batch_id: batch.size for batch_id, batch in self.batches.items()}
        answers = [self._admit(ask.caller, ask.wanted, ask.freshness) for ask in asks]
        joined = [batch_id for batch_id, batch in self.batches.items() if batch.size != sizes.get(batch_id, 0)]
        filled = [
            each for each in joined if sizes.get(each, 0) < self.settings.batch_threshold <= self.batches[each].size
        ]
        self.full += [(batch_id, self.batches[batch_id].size) for batch_id in filled if sizes.get(batch_id, 0)]
        return answers, self._claim_filled(filled[0]) if may_claim and filled and len(joined) == 1 else None

    def _claim_filled(self, batch_id: str) -> Grant | None:
        batch = self.batches[batch_id]
        view = View(batch_id, batch.coin_id, due_at=0)
        if batch.size > self.settings.batch_threshold or self.budget.permit_in() != 0:
            return None
        if not isinstance(self._stand(view), Open):
            return None
        call = Call(self.settings.upstream_max_ids if self.settings.batch_ride_along else 1)
        call.take(view, "threshold")
        return self.claim(call)

    def _admit(
        self, caller: str, wanted: Sequence[Wanted], freshness: Freshness
    ) -> Admissions | OverLimit | OutboxFull:
        answers = [self._without_call(coin, freshness) for coin in wanted]
        if None in answers and len(self.outbox) >= self.outbox_bound:
            return OutboxFull()
        is_free = all(isinstance(answer, Refused) for answer in answers)
        cost = 0 if is_free else -(-len(wanted) // COINS_A_UNIT)
        try:
            charge = self.charge(caller, self.settings.throttle_global_limit, cost)
        except OverLimit as refusal:
            return refusal
        of_coins = [answer or self._join(coin, freshness) for coin, answer in zip(wanted, answers, strict=True)]
        return Admissions(charge, of_coins)

    def _without_call(self, coin: Wanted, freshness: Freshness) -> Admission | None:
        if coin.coin_id in self.unknown:
            return Unknown()
        honour = self.settings.upstream_honour_cache and freshness.is_silent
        if (freshness.max_age_s or honour) and (fresh := self._at_hand(coin, freshness.max_age_s, honour=honour)):
            return Fresh(fresh)
        if freshness.only_if_cached:
            return Absent()
        wait, deadline = max(self.budget.next_call() - self.now_ms(), 0), self.settings.batch_result_timeout_ms
        earliest = self._call_in(coin, wait)
        in_trouble = wait > 0 and self.budget.trouble >= TROUBLED
        stale_s = freshness.stale_if_error_s
        if (in_trouble or earliest > deadline) and (stale := self._at_hand(coin, stale_s)):
            return Fresh(stale)
        return Refused(earliest) if earliest > deadline else None

    def _call_in(self, coin: Wanted, wait: int) -> int:
        most = self.settings.upstream_max_ids if self.settings.batch_ride_along else 1
        if not self.budget.interval or len(self.open) < most:
            return wait
        before = len(self.open)
        if coin.coin_id in self.open:
            before = [view.coin_id for view in self._open_views()].index(coin.coin_id)
        return wait + before // most * self.budget.interval

    def _at_hand(self, coin: Wanted, age_s: int | None, *, honour: bool = False) -> AtHand | None:
        now, found = self.now_ms(), {}
        for code in coin.vs_currencies:
            latest = self.latest.get(coin.coin_id, {}).get(code)
            if latest is None:
                return None
            at, fresh_until, size, batch_id, price = latest
            if (age_s is None or now - at > age_s * 1000) and not (honour and fresh_until > now):
                return None
            found[code] = Latest(batch_id, size, price, at, (now - at) / 1000, (fresh_until - now) / 1000)
        return found

    def _join(self, coin: Wanted, freshness: Freshness) -> Joined:
        now, coin_id = self.now_ms(), coin.coin_id
        if coin_id not in self.open:
            self.open[coin_id] = next(self._ids)
            self.batches[self.open[coin_id]] = Batch(coin_id, now + self.settings.batch_window_ms)
        batch_id = self.open[coin_id]
        batch = self.batches[batch_id]
        batch.size += 1
        batch.currencies |= set(coin.vs_currencies)
        at_hand = self._at_hand(coin, freshness.stale_if_error_s) or {}
        return Joined(batch_id, batch.size, max(batch.due_ms - now, 0), now, at_hand)

    def _open_views(self) -> list[View]:
        """The open batches, the earliest due first; of those due at once, by id as Redis sorts."""
        due = sorted((self.batches[each].due_ms, f"{each}:{coin}", each, coin) for coin, each in self.open.items())
        at = trio.current_time()
        return [View(each, coin, at + (ms - self.now_ms()) / 1000) for ms, _, each, coin in due]

    def _abandoned_views(self) -> list[View]:
        """The claimed batches whose lease is over, the earliest claimed first."""
        abandoned = sorted(
            (batch.claimed_ms if batch.lease_ms else 0, f"{batch_id}:{batch.coin_id}", batch_id, batch.coin_id)
            for batch_id, batch in self.batches.items()
            if batch.state == "claimed" and batch.lease_ms <= self.now_ms()
        )
        return [View(batch_id, coin_id, due_at=-inf) for *_, batch_id, coin_id in abandoned]

    def outlook(self) -> Outlook:
        return Outlook(self.now_ms(), self.budget.permit_in(), self.budget.calls)

    def _lease_left(self, coin_id: str) -> int:
        holder = self.batches.get(self.claimed.get(coin_id, ""))
        return max(holder.lease_ms - self.now_ms(), 0) if holder else 0

    def claim(self, call: Call) -> Grant:
        standings = [self._stand(view) for view, _ in call.batches]
        free = [
            (at, view.batch_id, trigger)
            for at, (view, trigger) in enumerate(call.batches)
            if isinstance(standings[at], Open)
        ]
        wait = self.budget.permit_in()
        if wait != 0 or not free:
            return Grant(self.now_ms(), wait, self.budget.calls, standings)
        self.budget.take_permit()
        for view in self._riders(call, {batch_id for _, batch_id, _ in free}):
            free.append((len(standings), view.batch_id, "ride-along"))
            standings.append(Open(view.batch_id, 0))
        proposed = {batch_id for _, batch_id, _ in free}
        abandoned = {batch_id: self.claimed.get(self.batches[batch_id].coin_id) for _, batch_id, _ in free}
        told = []
        for at, batch_id, trigger in free:
            holder = abandoned[batch_id]
            if holder in self.batches and holder not in proposed:
                proposed.add(holder)
                standings.append(self._grant(holder, "takeover"))
            claimed = self._grant(batch_id, trigger)
            standings[at] = claimed
            is_early = claimed.trigger == "window" and claimed.due_at_ms > self.now_ms()
            told += [batch_id] if claimed.trigger in {"ride-along", "drain"} or is_early else []
        if told:
            self.told.append(told)
        return Grant(self.now_ms(), 0, self.budget.calls, standings)

    def _riders(self, call: Call, known: set[str]) -> list[View]:
        """What else the call has room for, of all that could be claimed."""
        most = 2 * (len(call.batches) + call.coins_left)
        views = [*self._abandoned_views()[:most], *self._open_views()[:most]]
        free = [view for view in views if view.batch_id not in known and isinstance(self._stand(view), Open)]
        room = Call(call.coins_left, call.characters_left, coin_ids={view.coin_id for view, _ in call.batches})
        ride_along(room, free)
        return [view for view, _ in room.batches]

    def _stand(self, view: View) -> Standing:
        batch = self.batches.get(view.batch_id)
        if batch is None:
            return Gone(view.batch_id)
        if batch.result:
            return Settled(view.batch_id, batch.result)
        if left := self._lease_left(batch.coin_id):
            return Held(view.batch_id, left, batch.state == "claimed")
        return Open(view.batch_id, batch.size)

    def _grant(self, batch_id: str, trigger: Trigger) -> Claimed:
        now, batch = self.now_ms(), self.batches[batch_id]
        if batch.state == "open":
            del self.open[batch.coin_id]
        else:
            trigger = "takeover"
        batch.become("claimed")
        batch.claimed_ms, batch.lease_ms = now, now + LEASE_MS
        batch.fence += 1
        self.claimed[batch.coin_id] = batch_id
        asked = frozenset(batch.currencies)
        return Claimed(batch_id, batch.coin_id, trigger, batch.fence, batch.size, asked, now, batch.due_ms)

    def _held(self, claims: Sequence[Claimed]) -> list[Batch]:
        found = ((claim, self.batches.get(claim.batch_id)) for claim in claims)
        return [batch for claim, batch in found if batch and batch.state == "claimed" and batch.is_of(claim)]

    def renew(self, claims: Sequence[Claimed]) -> int:
        held = self._held(claims)
        for batch in held:
            batch.lease_ms = self.now_ms() + LEASE_MS
        return len(held)

    def release(self, claims: Sequence[Claimed]) -> None:
        held = self._held(claims)
        for batch in held:
            batch.lease_ms = 0
        if held:
            self.budget.refund(claims[0].claimed_at_ms)

    def complete(self, called: Called, outcomes: Sequence[tuple[Claimed, Result]]) -> set[str]:
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
                self._remember(claim, result)
                news.append(result)
        if not accepted:
            self.budget.learn(msgspec.structs.replace(called, billed=True), outcomes[0][0].claimed_at_ms)
        if news:
            self.budget.learn(called, news[0].fetched_at_ms)
            self.settled.append(news)
        return accepted

    def _remember(self, claim: Claimed, result: Result) -> None:
        at, latest = claim.claimed_at_ms, self.latest.get(claim.coin_id, {})
        known = {price.vs_currency: price.price for price in result.known_prices}
        unlisted = result.unlisted
        for code, price in (known | dict.fromkeys(unlisted)).items():
            latest[code] = (at, at + result.fresh_for_s * 1000, claim.size, claim.batch_id, price)
        if known or unlisted:
            self.latest[claim.coin_id] = latest
            self.unknown.discard(claim.coin_id)
        elif not latest and result.failure and result.failure.kind == "unknown_coin":
            self.unknown.add(claim.coin_id)

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

    def forget(self) -> None:
        """Come back empty."""
        for memory in (self.batches, self.open, self.claimed, self.charges, self.latest, self.unknown, self.outbox):
            memory.clear()
        self.budget.forget()


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

    async def admit(
        self, asks: Sequence[Ask], *, may_claim: bool = False
    ) -> tuple[list[Admissions | OverLimit | OutboxFull], Grant | None]:
        admissions = (await self._step()).admit(asks, may_claim=may_claim)
        self._fleet.spread_news()
        return admissions

    async def outlook(self) -> Outlook:
        return (await self._step()).outlook()

    async def claim(self, call: Call) -> Grant:
        grant = (await self._step()).claim(call)
        self._fleet.spread_news()
        return grant

    async def renew(self, claims: Sequence[Claimed]) -> int:
        return (await self._step()).renew(claims)

    async def release(self, claims: Sequence[Claimed]) -> None:
        (await self._step()).release(claims)
        self._fleet.spread_news()

    async def complete(self, called: Called, outcomes: Sequence[tuple[Claimed, Result]]) -> set[str]:
        accepted = (await self._step()).complete(called, outcomes)
        self._fleet.spread_news()
        return accepted

    async def permit(self, once: str | None = None, every_ms: int = 0) -> Permit:
        return (await self._step()).budget.permit(once, every_ms)

    async def report(self, called: Called, permit: Permit) -> None:
        (await self._step()).budget.learn(called, permit.now_ms)
        self._fleet.spread_news()

    async def restore(self, until_ms: int, calls: int) -> int:
        counted = (await self._step()).budget.restore(until_ms, calls)
        self._fleet.spread_news()
        return counted

    async def look(self, batch_ids: Sequence[str]) -> list[Standing]:
        return (await self._step()).look(batch_ids)

    async def publish(self, channel: str, message: bytes) -> None:
        await self._step()
        self._fleet.published.append((trio.current_time(), channel, message))

    async def outbox_depth(self) -> int:
        return len((await self._step()).outbox)


class ModelUpstream(CoinGecko):
    """An upstream whose price is the number of the call, unless a test says otherwise."""

    def __init__(self) -> None:
        self.latency_s = 0.1
        self.timeout_s = float("inf")
        self.calls: list[tuple[float, set[str], set[str]]] = []  # (trio time, coins, currencies)
        self.failure: CryptoPulseError | None = None
        self.unknown: set[str] = set()
        self.fresh_for_s = 0
        self.next_call = trio.Event()

    async def fetch(
        self, coin_ids: Collection[str], vs_currencies: Collection[str], *, start_by: float = float("inf")
    ) -> Fetched:
        if trio.current_time() > start_by:
            raise PermitLapsed
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
        of_coin: dict[str, Decimal | None] = dict.fromkeys(vs_currencies, price)
        prices = {coin: dict(of_coin) for coin in coin_ids if coin not in self.unknown}
        return Fetched(prices, self.fresh_for_s)


@dataclass
class Instance:
    name: str
    desk: PriceDesk
    windows: Windows
    link: ModelLink
    scope: trio.CancelScope
    broadcast: Broadcast
    snapshots: Snapshots
    tally: Tally
    deaf: bool = False  # hears nothing of the feed

    @property
    def is_flushing(self) -> bool:
        return any(window.view.flushing or window.view.claimed for window in self.windows)


class Fleet:
    """Instances that share one model of Redis and one upstream."""

    def __init__(self, nursery: trio.Nursery, settings: Settings | None = None) -> None:
        self._nursery = nursery
        self.settings = settings or settings_for_tests()
        self.redis = ModelRedis(self.settings, lambda: START_MS + round(trio.current_time() * 1000))
        self.upstream = ModelUpstream()
        self.redis_latency_s = 0.0
        self.published: list[tuple[float, str, bytes]] = []  # (trio time, channel, message), beside the news of batches
        self.instances: dict[str, Instance] = {}

    async def start_instance(self, name: str) -> PriceDesk:
        link = ModelLink()
        coordinator = ModelCoordinator(self, link)
        broadcast, tally = Broadcast(name, coordinator), Tally()
        flusher = Flusher(self.settings, coordinator, link, self.upstream, tally, broadcast)
        ledger = ModelLedger(coordinator)
        windows = Windows(self.settings, link, coordinator, flusher, ledger, tally)
        callers = Callers(coordinator, broadcast)
        desk = PriceDesk(self.settings, coordinator, windows, callers, tally, broadcast)
        snapshots = Snapshots(self.settings, coordinator, desk, windows, callers, tally)
        instance = Instance(name, desk, windows, link, trio.CancelScope(), broadcast, snapshots, tally)

        started = trio.Event()
        self._nursery.start_soon(self._run, instance, started)
        await started.wait()
        self.instances[name] = instance
        return desk

    async def _run(self, instance: Instance, started: trio.Event) -> None:
        with instance.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(instance.windows.run)
                await nursery.start(instance.desk.run)
                nursery.start_soon(instance.broadcast.run, instance.snapshots)
                started.set()

    def watch(self, word: bytes = b"watch") -> None:
        """Say once that a monitor watches."""
        for instance in self.instances.values():
            instance.broadcast.hear_watch(word)

    async def keep_watching(self) -> None:
        """Say so each second, as a monitor does."""
        while True:
            self.watch()
            await trio.sleep(1)

    @property
    def messages(self) -> list[Message]:
        """What monitors were told."""
        return [decode_message(message) for _, channel, message in self.published if channel == keys.EVENTS]

    def told(self, kind: type[_EventT]) -> list[_EventT]:
        """The events of one kind that monitors were told of."""
        return [event for message in self.messages for event in message.events if isinstance(event, kind)]

    def kill(self, name: str) -> None:
        """End an instance in whatever it is doing, as SIGKILL would."""
        self.instances.pop(name).scope.cancel()

    def spread_news(self) -> None:
        redis = self.redis
        full, told, settled = redis.full[:], redis.told[:], redis.settled[:]
        next_calls = redis.next_calls[:]
        for news in (redis.full, redis.told, redis.settled, redis.next_calls):
            news.clear()
        for instance in self.instances.values():
            if instance.deaf or not instance.link.is_up:
                continue
            for message in full:
                instance.windows.hear_full(*message)
            for batch_ids in told:
                instance.windows.hear_claimed(batch_ids, LEASE_MS / 1000)
            for in_ms in next_calls:
                instance.windows.hear_next_call(in_ms, redis.now_ms())
            for results in settled:
                instance.windows.hear_results(results)
