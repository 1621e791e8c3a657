"""Sees everything that one instance exchanges with Redis, Postgres and the upstream, and writes down what counts.

    witness = Witness("a1", record, meet)
    Proxy(redis, witness.redis), Proxy(postgres, witness.postgres), Proxy(upstream, witness.upstream)

`meet` is asked before each chunk goes on, with the moments that it holds; it forwards the chunk, or does not.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from tests.faults.history import Claim, Completion, Opening
from tests.faults.moments import Moment
from tests.faults.proxy import Forward, Tap, Taps
from tests.faults.record import Record
from tests.faults.wire import (
    Command,
    Grant,
    PostgresWire,
    RedisWire,
    accepted_in,
    granted_in,
    opened_in,
    settlements_in,
    writes_prices,
)

Meet = Callable[[set[Moment], bytes, Forward], Awaitable[None]]


class Witness:
    """The taps of one instance's connections."""

    def __init__(self, instance: str, record: Record, meet: Meet) -> None:
        self._instance = instance
        self._record = record
        self._meet = meet

    def redis(self) -> Taps:
        """Watch one connection to Redis."""
        wire = RedisWire()
        completing: deque[list[int]] = deque()  # of each completion on its way: where in the record it stands

        def sent(chunk: bytes) -> set[Moment]:
            moments = set()
            for command in wire.sent(chunk):
                if command.script == "claim":
                    moments.add(Moment.RIPE)
                if command.script == "complete":
                    moments.add(Moment.ANSWERED)
                    completing.append([self._note_completion(done) for done in self._completions(command)])
            return moments

        def answered(chunk: bytes) -> set[Moment]:
            moments = set()
            for command, reply in wire.answered(chunk):
                if command.script == "admit":
                    self._note_openings(reply)
                if self._note_claims(granted_in(command, reply)):
                    moments.add(Moment.CLAIMED)
                if command.script == "complete" and self._note_accepted(completing.popleft(), reply):
                    moments.add(Moment.COMPLETED)
            return moments

        return Taps(self._tap(sent), self._tap(answered))

    def postgres(self) -> Taps:
        """Watch one connection to Postgres."""
        wire = PostgresWire()
        return Taps(
            self._tap(lambda chunk: {Moment.NOT_KEPT} if writes_prices(wire.sent(chunk)) else set()),
            self._tap(_nothing),
        )

    def upstream(self) -> Taps:
        """Watch one connection to the upstream; a call fits into a chunk."""
        return Taps(
            self._tap(lambda chunk: {Moment.CALLING} if chunk.startswith(b"GET ") else set()),
            self._tap(_nothing),
        )

    def _tap(self, moments_in: Callable[[bytes], set[Moment]]) -> Tap:
        async def tap(chunk: bytes, forward: Forward) -> None:
            await self._meet(moments_in(chunk), chunk, forward)

        return tap

    def _note_openings(self, reply: object) -> None:
        self._record.openings += [
            Opening(redis_ms=opened.at_ms, instance=self._instance, batch_id=opened.batch_id)
            for opened in opened_in(reply)
        ]

    def _note_claims(self, grants: Sequence[Grant]) -> bool:
        self._record.claims += [
            Claim(
                at=time.monotonic(),
                redis_ms=grant.at_ms,
                instance=self._instance,
                batch_id=grant.batch_id,
                coin=grant.coin_id,
                trigger=grant.trigger,
                fence=grant.fence,
            )
            for grant in grants
        ]
        return bool(grants)

    def _completions(self, command: Command) -> list[Completion]:
        return [
            Completion(
                sent_at=time.monotonic(),
                instance=self._instance,
                batch_id=done.batch_id,
                coin=done.coin_id,
                fence=done.fence,
                fetched_at_ms=int(done.fetched_at),
                prices={currency: Decimal(price) for currency, price in done.prices},
            )
            for done in settlements_in(command)
        ]

    def _note_completion(self, completion: Completion) -> int:
        self._record.completions.append(completion)
        return len(self._record.completions) - 1

    def _note_accepted(self, places: list[int], reply: object) -> bool:
        accepted = accepted_in(reply)
        for place in places:
            completion = self._record.completions[place]
            self._record.completions[place] = replace(completion, accepted=completion.batch_id in accepted)
        return bool(accepted)


def _nothing(_chunk: bytes) -> set[Moment]:
    return set()
