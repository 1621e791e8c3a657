"""What is told of a flush, to monitors and in the log."""

from collections.abc import Sequence

import msgspec

from core.batches import Result, Trigger
from core.counts import FlushOutcome
from core.events import MOST_BATCHES, Claimed, Flushed, FlushedBatch, unix_ms
from core.standings import Claimed as Claim

# Of hundreds of batches that one call flushed, the first are named.
MOST_NAMED = 20


class FlushReport(msgspec.Struct):
    """One flush, filled in as it goes."""

    claims: Sequence[Claim]
    claim_ms: float
    upstream_ms: float = 0.0
    publish_ms: float = 0.0
    results: Sequence[Result] = ()
    call: str = "given up"  # what it came to
    lapsed: bool = False

    @property
    def trigger(self) -> Trigger:
        """That of the first batch that made the call necessary."""
        return next((claim.trigger for claim in self.claims if claim.trigger != "ride-along"), "ride-along")

    @property
    def requests(self) -> int:
        """How many requests the batches hold, over all instances."""
        return sum(claim.size for claim in self.claims)

    @property
    def outcome(self) -> FlushOutcome:
        """What it came to."""
        if not self.results:
            return "lapsed" if self.lapsed else "fenced"
        return "failed" if all(result.failure for result in self.results) else "answered"

    @property
    def reason(self) -> str:
        """What failed, if anything did."""
        return ", ".join(sorted({result.failure.kind for result in self.results if result.failure}))

    @property
    def named(self) -> Sequence[Claim]:
        """The first claims."""
        return self.claims[:MOST_NAMED]

    def claimed(self) -> Claimed:
        """What monitors are told when it begins."""
        return Claimed(
            at_ms=unix_ms(),
            flush_id=self._flush_id,
            trigger=self.trigger,
            coins=[claim.coin_id for claim in self.named],
            batches=len(self.claims),
        )

    def flushed(self, window_ms: int) -> Flushed:
        """What monitors are told when it is over."""
        failures = {result.batch_id: result.failure.kind for result in self.results if result.failure}
        return Flushed(
            at_ms=unix_ms(),
            flush_id=self._flush_id,
            trigger=self.trigger,
            batches=[
                FlushedBatch(
                    coin_id=claim.coin_id,
                    trigger=claim.trigger,
                    size=claim.size,
                    open_ms=max(0, claim.claimed_at_ms - claim.due_at_ms + window_ms),
                    failure=failures.get(claim.batch_id),
                )
                for claim in self.claims[:MOST_BATCHES]
            ],
            requests=self.requests,
            claim_ms=round(self.claim_ms, 3),
            upstream_ms=round(self.upstream_ms, 3),
            publish_ms=round(self.publish_ms, 3),
            outcome=self.outcome,
            reason=self.reason,
        )

    @property
    def _flush_id(self) -> int:
        return self.claims[0].claimed_at_ms
