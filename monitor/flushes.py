"""The flushes that were told of, as the monitor remembers them. Pure."""

from collections.abc import Sequence
from sys import intern

import msgspec

from core.events import Flushed, FlushedBatch
from monitor.rows import FlushRow


class Flush(msgspec.Struct, frozen=True):
    """One flush. Its batches are packed: five hundred flushes of five hundred take 10 MB so, instead of 43."""

    row: FlushRow  # but for when it was kept
    flush_id: int
    ended_s: float
    batches: bytes

    def unpacked(self) -> list[FlushedBatch]:
        """The batches, as they were told."""
        return _unpack(self.batches)


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[FlushedBatch]).decode


def flushes_of(instance: str, told: Sequence[Flushed], heard_before: int, ago_s: float) -> list[Flush]:
    """The flushes that an instance tells of; `ago_s` brings its clock to the monitor's."""
    return [
        Flush(_row(str(number), instance, one), one.flush_id, one.at_ms / 1000 + ago_s, _pack(one.batches))
        for number, one in enumerate(told, heard_before + 1)
    ]


def _row(key: str, instance: str, told: Flushed) -> FlushRow:
    return FlushRow(
        key=key,
        at_ms=told.at_ms,
        instance=instance,
        trigger=told.trigger,
        coins=[intern(coin_id) for coin_id in dict.fromkeys(batch.coin_id for batch in told.batches)],
        requests=told.requests,
        open_ms=max((batch.open_ms for batch in told.batches), default=0),
        claim_ms=told.claim_ms,
        upstream_ms=told.upstream_ms,
        publish_ms=told.publish_ms,
        kept_after_ms=None,
        outcome=told.outcome,
        reason=told.reason,
    )
