"""The model of Redis and the scripts on a real Valkey agree, whatever is done to both."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import redis
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core import keys
from core.admissions import Admissions, Ask, Fresh, Joined
from core.batches import Failure, FailureKind, Result, Trigger, Wanted
from core.coordinator import Coordinator, Grant, Outlook
from core.flush_policy import Call, View
from core.freshness import Freshness, Latest
from core.limits import OverLimit
from core.month import month_ends_ms
from core.permits import Called, Permit
from core.redis_link import RedisLink
from core.settings import Settings
from core.standings import Claimed, Held
from tests.core.model import ModelRedis, settings_for_tests

SETTINGS = [
    settings_for_tests(throttle_global_limit=12),
    settings_for_tests(throttle_global_limit=12, upstream_calls_per_minute=1, upstream_max_ids=1),
    settings_for_tests(throttle_global_limit=12, upstream_calls_per_month=3, upstream_honour_cache=True),
    settings_for_tests(throttle_global_limit=12, upstream_calls_per_minute=8, batch_ride_along=False),
]
COINS = ["bitcoin", "ethereum", "tea", "xrp"]
CURRENCIES = st.sampled_from([("usd",), ("eur",), ("usd", "eur")])
FRESHNESS = st.sampled_from(
    [
        *[Freshness()] * 4,
        Freshness(max_age_s=1000),
        Freshness(stale_if_error_s=1000),
        Freshness(only_if_cached=True),
        Freshness(max_age_s=0, stale_if_error_s=1000),
    ]
)
WHICH = st.integers(0, 3)  # the n-th batch, or the n-th claim, that there has been

# The model's clock moves a millisecond an operation, and a month is never over: what depends on the time that passes
# is set by hand on both sides.
NOW_MS = 1_772_250_900_000
UNTIL_MS = month_ends_ms(4_000_000_000_000)

Operation = tuple[Any, ...]
ADMIT = st.tuples(
    st.just("admit"),
    st.sampled_from(["ann", "bob"]),
    st.lists(st.builds(Wanted, st.sampled_from(COINS), CURRENCIES), min_size=1, max_size=2),
    FRESHNESS,
    st.booleans(),
)
ADMIT_TOGETHER = st.tuples(st.just("admit together"), st.lists(ADMIT, min_size=2, max_size=3), st.booleans())
CLAIM = st.tuples(
    st.just("claim"),
    st.lists(
        st.tuples(WHICH, st.sampled_from(["window", "threshold"])),
        min_size=1,
        max_size=3,
        unique_by=lambda each: each[0],
    ),
    st.integers(0, 2),
    st.sampled_from([4, 12, 100]),
)
FAILURES = st.sampled_from([None, None, None, None, "upstream_failed", "upstream_limited", "unknown_coin"])
COMPLETE = st.tuples(st.just("complete"), WHICH, FAILURES, st.booleans())
RENEW = st.tuples(st.just("renew"), WHICH)
RELEASE = st.tuples(st.just("release"), WHICH)
LOOK = st.tuples(st.just("look"), st.lists(WHICH, min_size=1, max_size=3))
OUTLOOK = st.tuples(st.just("outlook"))
PERMIT = st.tuples(st.just("permit"), st.sampled_from([0, 100_000]))
REPORT = st.tuples(st.just("report"), FAILURES, st.booleans())
RESTORE = st.tuples(st.just("restore"), st.integers(0, 3))
CORRECT = st.tuples(st.just("correct"), st.integers(0, 3), st.integers(0, 3))
END_LEASE = st.tuples(st.just("end lease"), WHICH)
WAIT = st.tuples(st.just("wait for the next call"))
FORGET = st.tuples(st.just("forget"))
# Much must happen before something interesting can: most operations admit and claim.
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    *[ADMIT] * 4, *[ADMIT_TOGETHER] * 2, *[CLAIM] * 5, *[END_LEASE] * 2, *[COMPLETE] * 4, *[WAIT] * 3, *[OUTLOOK] * 2,
    *[RESTORE] * 2, RENEW, RELEASE, LOOK, PERMIT, REPORT, CORRECT, FORGET,
)  # fmt: skip


class Side(ABC):
    """One of the two, with its own batch ids, told apart by when they first came up."""

    @abstractmethod
    def coin(self, batch_id: str) -> str: ...

    def __init__(self) -> None:
        self.batch_ids: list[str] = []
        self.claims: list[Claimed] = []
        self.permits: list[Permit] = []

    def batch(self, which: int) -> str:
        return self.batch_ids[which] if which < len(self.batch_ids) else "unheard-of"

    def claim(self, which: int) -> Claimed:
        if which < len(self.claims):
            return self.claims[which]
        return Claimed("unheard-of", "bitcoin", "window", 1, 1, frozenset(["usd"]), 0, 0)

    def number(self, batch_id: str) -> int:
        if batch_id == "unheard-of":
            return -1
        if batch_id not in self.batch_ids:
            self.batch_ids.append(batch_id)
        return self.batch_ids.index(batch_id)

    def timeless(self, answer: object) -> object:
        """An answer without times and with numbers for batch ids: what both sides must agree on."""
        match answer:
            case (list() as answers, Grant() | None as grant):
                return (self.timeless(answers), grant and self.timeless(grant))
            case Admissions(charge=charge, of_coins=of_coins):
                return (charge.remaining, self.timeless(of_coins))
            case OverLimit(charge=charge):
                return ("limited", charge.remaining)
            case Joined(batch_id=batch_id, size=size, at_hand=at_hand):
                return ("joined", self.number(batch_id), size, self.prices(at_hand))
            case Fresh(prices=prices):
                return ("at hand", self.prices(prices))
            case Grant(call_in_ms=call_in_ms, calls=calls, standings=standings):
                return ("grant", self.soon(call_in_ms), calls, self.timeless(standings))
            case Outlook(call_in_ms=call_in_ms, calls=calls):
                return ("outlook", self.soon(call_in_ms), calls)
            case Permit(wait_ms=wait_ms, calls=calls):
                return ("permit", self.soon(wait_ms), calls)
            case Claimed():
                self.claims.append(answer)
                asked = sorted(answer.vs_currencies)
                return (self.number(answer.batch_id), answer.coin_id, answer.trigger, answer.fence, answer.size, asked)
            case Held(batch_id=batch_id, lease_ms=lease_ms, itself=itself):
                return ("held", self.number(batch_id), lease_ms > 0, itself)
            case list():
                return [self.timeless(each) for each in answer]
            case set():
                return sorted(self.number(each) for each in answer)
            case int():
                return answer
        return (type(answer).__name__, self.number(getattr(answer, "batch_id", "unheard-of")))

    def soon(self, call_in_ms: int | str) -> int | str | bool:
        return call_in_ms if isinstance(call_in_ms, str) else call_in_ms > 0

    def prices(self, at_hand: Mapping[str, Latest]) -> object:
        return {code: (self.number(each.batch_id), each.size, each.price) for code, each in at_hand.items()}

    def view(self, which: int) -> View:
        # Of which coin a batch is, both sides learn in the same order.
        return View(self.batch(which), self.coin(self.batch(which)), due_at=0)

    def call(self, wanted: Sequence[tuple[int, Trigger]], coins_left: int, characters_left: int) -> Call:
        return Call(coins_left, characters_left, batches=[(self.view(which), trigger) for which, trigger in wanted])

    def called(self, failure: FailureKind | None, *, billed: bool) -> Called:
        match failure:
            case "upstream_failed":
                return Called("failed", billed=billed)
            case "upstream_limited":
                return Called("limited", wait_s=100, billed=False)
            case _:
                return Called("answered")

    def result(self, claim: Claimed, failure: FailureKind | None) -> Result:
        return Result(
            batch_id=claim.batch_id,
            coin_id=claim.coin_id,
            trigger=claim.trigger,
            size=claim.size,
            fetched_at_ms=claim.claimed_at_ms,
            upstream_ms=1.0,
            fresh_for_s=100,
            prices={} if failure else dict.fromkeys(claim.vs_currencies, Decimal(1)),
            failure=Failure(failure, "no") if failure else None,
        )


class Model(Side):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.now_ms = NOW_MS
        self.redis = ModelRedis(settings, lambda: self.now_ms)

    def coin(self, batch_id: str) -> str:
        batch = self.redis.batches.get(batch_id)
        return batch.coin_id if batch else "bitcoin"

    async def do(self, operation: Operation) -> object:
        self.now_ms += 1
        budget = self.redis.budget
        match operation:
            case ("admit", *ask, may_claim):
                return self.redis.admit([Ask(*ask)], may_claim=may_claim)
            case ("admit together", admissions, may_claim):
                return self.redis.admit([Ask(*each[1:-1]) for each in admissions], may_claim=may_claim)
            case ("claim", *call):
                return self.redis.claim(self.call(*call))
            case ("complete", which, failure, billed):
                claim = self.claim(which)
                return self.redis.complete(self.called(failure, billed=billed), [(claim, self.result(claim, failure))])
            case ("renew", which):
                return self.redis.renew([self.claim(which)])
            case ("release", which):
                self.redis.release([self.claim(which)])
            case ("look", which):
                return self.redis.look([self.batch(each) for each in which])
            case ("outlook",):
                return self.redis.outlook()
            case ("permit", every_ms):
                self.permits.append(permit := budget.permit("key", every_ms))
                return permit
            case ("report", failure, billed):
                if self.permits and not self.permits[-1].wait_ms:
                    budget.learn(self.called(failure, billed=billed), self.permits[-1].now_ms)
            case ("restore", calls):
                return budget.restore(UNTIL_MS, calls)
            case ("correct", then, reported):
                budget.correct(then, reported)
            case ("end lease", which):
                if batch := self.redis.batches.get(self.batch(which)):
                    batch.lease_ms = 0
            case ("wait for the next call",):
                budget.next = 0
            case _:
                self.redis.forget()
                budget.process -= 1  # it lost its memory, and is the same process
        return 0

    def known(self) -> object:
        budget, troubled = self.redis.budget, self.redis.budget.trouble
        return len(self.redis.outbox), budget.calls, troubled


class Real(Side):
    def __init__(self, coordinator: Coordinator, client: redis.Redis) -> None:
        super().__init__()
        self.coordinator = coordinator
        self.client = client

    def coin(self, batch_id: str) -> str:
        coin: Any = self.client.hget(f"{keys.PREFIX}:batch:{batch_id}", "coin")  # its types know of text too
        return coin.decode() if coin else "bitcoin"

    def tick(self) -> None:
        """See Redis' clock move on, so that of two operations it is never a tie which came first."""
        before = self.now_ms()
        while self.now_ms() == before:
            pass

    def now_ms(self) -> int:
        seconds, microseconds = self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def do(self, operation: Operation) -> object:
        if operation[0] in {"admit", "admit together", "claim", "permit", "restore"}:
            self.tick()
        match operation:
            case ("admit", *ask, may_claim):
                return await self.coordinator.admit([Ask(*ask)], may_claim=may_claim)
            case ("admit together", admissions, may_claim):
                return await self.coordinator.admit([Ask(*each[1:-1]) for each in admissions], may_claim=may_claim)
            case ("claim", *call):
                return await self.coordinator.claim(self.call(*call))
            case ("complete", which, failure, billed):
                claim = self.claim(which)
                outcomes = [(claim, self.result(claim, failure))]
                return await self.coordinator.complete(self.called(failure, billed=billed), outcomes)
            case ("renew", which):
                return await self.coordinator.renew([self.claim(which)])
            case ("release", which):
                await self.coordinator.release([self.claim(which)])
            case ("look", which):
                return await self.coordinator.look([self.batch(each) for each in which])
            case ("outlook",):
                return await self.coordinator.outlook()
            case ("permit", every_ms):
                self.permits.append(permit := await self.coordinator.permit("key", every_ms))
                return permit
            case ("report", failure, billed):
                if self.permits and not self.permits[-1].wait_ms:
                    await self.coordinator.report(self.called(failure, billed=billed), self.permits[-1])
            case ("restore", calls):
                return await self.coordinator.restore(UNTIL_MS, calls)
            case ("correct", then, reported):
                await self.coordinator.correct(then, reported)
            case ("end lease", which):
                name = f"{keys.PREFIX}:batch:{self.batch(which)}"
                if self.client.exists(name):
                    self.client.hset(name, "lease", "0")
                    member = f"{self.batch(which)}:{self.coin(self.batch(which))}"
                    self.client.zadd(keys.UNDER_WAY, {member: 0}, xx=True)
            case ("wait for the next call",):
                self.client.hset(keys.BUDGET, "next", 0)
            case _:
                self.client.flushdb()
        return 0

    def budget(self, field: str) -> int:
        return int(self.client.hget(keys.BUDGET, field) or 0)

    def known(self) -> object:
        outbox = int(self.client.xlen(keys.OUTBOX))
        return outbox, self.budget("calls"), self.budget("trouble")


async def outcome(side: Side, operation: Operation) -> object:
    return side.timeless(await side.do(operation))  # type: ignore[attr-defined] # both sides have it


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example(
    terms=SETTINGS[2],
    operations=[("restore", 0), ("permit", 0), ("forget",), ("restore", 0), ("report", "upstream_failed", False)],
)
@given(terms=st.sampled_from(SETTINGS), operations=st.lists(OPERATIONS, min_size=20, max_size=40))
async def test_model_and_valkey_agree_on_every_sequence_of_operations(
    redis_url: str, terms: Settings, operations: Sequence[Operation]
) -> None:
    link = RedisLink(redis_url)
    coordinator = Coordinator(link, terms)
    coordinator._ids = map("{:032x}".format, itertools.count(1))  # of batches due at once, the first opened goes first
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        async with trio.open_nursery() as nursery:
            await nursery.start(link.run)
            model, real = Model(terms), Real(coordinator, client)
            for operation in operations:
                assert await outcome(model, operation) == await outcome(real, operation), operation
                assert model.known() == real.known(), operation
            nursery.cancel_scope.cancel()
