"""The model of Redis and the scripts on a real Valkey agree, whatever is done to both."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import redis
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import keys
from core.batches import Failure, FailureKind, Result
from core.coordinator import Admission, Claimed, Coordinator, Held, Unknown
from core.limits import OverLimit
from core.redis_link import RedisLink
from tests.core.model import ModelRedis, settings_for_tests

SETTINGS = settings_for_tests(throttle_global_limit=12)
COINS = st.sampled_from(["bitcoin", "ethereum"])
WHICH = st.integers(0, 3)  # the n-th batch, or the n-th claim, that there has been

Operation = tuple[Any, ...]
ADMIT = st.tuples(st.just("admit"), st.sampled_from(["ann", "bob"]), COINS, st.sampled_from(["usd", "eur"]))
CLAIM = st.tuples(st.just("claim"), st.lists(WHICH, min_size=1, max_size=2, unique=True))
COMPLETE = st.tuples(st.just("complete"), WHICH, st.sampled_from([None, None, None, "upstream_failed", "unknown_coin"]))
RENEW = st.tuples(st.just("renew"), WHICH)
LOOK = st.tuples(st.just("look"), st.lists(WHICH, min_size=1, max_size=3))
END_LEASE = st.tuples(st.just("end lease"), WHICH)
FORGET = st.tuples(st.just("forget"))
# Much must happen before something interesting can: most operations admit and claim.
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    *[ADMIT] * 5, *[CLAIM] * 4, *[END_LEASE] * 2, *[COMPLETE] * 2, RENEW, LOOK, FORGET
)


class Side:
    """One of the two, with its own batch ids, told apart by when they first came up."""

    def __init__(self) -> None:
        self.batch_ids: list[str] = []
        self.claims: list[Claimed] = []

    def batch(self, which: int) -> str:
        return self.batch_ids[which] if which < len(self.batch_ids) else "unheard-of"

    def claim(self, which: int) -> Claimed:
        if which < len(self.claims):
            return self.claims[which]
        return Claimed("unheard-of", "bitcoin", "window", 1, 1, frozenset(["usd"]), 0)

    def number(self, batch_id: str) -> int:
        if batch_id == "unheard-of":
            return -1
        if batch_id not in self.batch_ids:
            self.batch_ids.append(batch_id)
        return self.batch_ids.index(batch_id)

    def timeless(self, answer: object) -> object:
        """An answer without times and with numbers for batch ids: what both sides must agree on."""
        match answer:
            case Admission(charge=charge, batch_id=batch_id, size=size):
                return ("admitted", self.number(batch_id), size, charge.remaining)
            case Unknown(charge=charge):
                return ("unknown", charge.remaining)
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

    def result(self, claim: Claimed, failure: FailureKind | None) -> Result:
        return Result(
            batch_id=claim.batch_id,
            coin_id=claim.coin_id,
            trigger=claim.trigger,
            size=claim.size,
            fetched_at_ms=claim.claimed_at_ms,
            upstream_ms=1.0,
            prices={} if failure else dict.fromkeys(claim.vs_currencies, Decimal(1)),
            failure=Failure(failure, "no") if failure else None,
        )


class Model(Side):
    def __init__(self) -> None:
        super().__init__()
        self.redis = ModelRedis(SETTINGS, lambda: 1_000_000)

    async def do(self, operation: Operation) -> object:
        match operation:
            case ("admit", caller, coin_id, currency):
                return self.redis.admit(caller, coin_id, currency)
            case ("claim", which):
                return self.redis.claim([(self.batch(each), "window") for each in which])
            case ("complete", which, failure):
                claim = self.claim(which)
                return self.redis.complete([(claim, self.result(claim, failure))])
            case ("renew", which):
                return self.redis.renew([self.claim(which)])
            case ("look", which):
                return self.redis.look([self.batch(each) for each in which])
            case ("end lease", which):
                if batch := self.redis.batches.get(self.batch(which)):
                    batch.lease_ms = 0
            case _:
                for memory in (self.redis.batches, self.redis.open, self.redis.claimed, self.redis.charges):
                    memory.clear()
                self.redis.unknown.clear()
                self.redis.known.clear()
                self.redis.outbox.clear()
        return 0

    def outbox_size(self) -> int:
        return len(self.redis.outbox)


class Real(Side):
    def __init__(self, coordinator: Coordinator, client: redis.Redis) -> None:
        super().__init__()
        self.coordinator = coordinator
        self.client = client

    async def do(self, operation: Operation) -> object:
        match operation:
            case ("admit", caller, coin_id, currency):
                return await self.coordinator.admit(caller, coin_id, currency)
            case ("claim", which):
                return await self.coordinator.claim([(self.batch(each), "window") for each in which])
            case ("complete", which, failure):
                claim = self.claim(which)
                return await self.coordinator.complete([(claim, self.result(claim, failure))])
            case ("renew", which):
                return await self.coordinator.renew([self.claim(which)])
            case ("look", which):
                return await self.coordinator.look([self.batch(each) for each in which])
            case ("end lease", which):
                name = f"{keys.PREFIX}:batch:{self.batch(which)}"
                if self.client.exists(name):
                    self.client.hset(name, "lease", "0")
            case _:
                self.client.flushdb()
        return 0

    def outbox_size(self) -> int:
        return int(self.client.xlen(keys.OUTBOX))


async def outcome(side: Side, operation: Operation) -> object:
    try:
        answer = await side.do(operation)  # type: ignore[attr-defined] # both sides have it
    except OverLimit as refusal:
        return ("limited", refusal.charge.remaining)
    return side.timeless(answer)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(operations=st.lists(OPERATIONS, min_size=20, max_size=40))
async def test_model_and_valkey_agree_on_every_sequence_of_operations(
    redis_url: str, operations: Sequence[Operation]
) -> None:
    link = RedisLink(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        async with trio.open_nursery() as nursery:
            await nursery.start(link.run)
            model, real = Model(), Real(Coordinator(link, SETTINGS), client)
            for operation in operations:
                assert await outcome(model, operation) == await outcome(real, operation), operation
            assert model.outbox_size() == real.outbox_size()
            nursery.cancel_scope.cancel()
