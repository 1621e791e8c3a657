"""How batches stand in Redis, as the scripts answer."""

from typing import Any

import msgspec
import structlog

from core.batches import Result, Trigger

_log = structlog.get_logger(__name__)

encode_result = msgspec.json.Encoder(decimal_format="string").encode
decode_result = msgspec.json.Decoder(Result).decode


class Claimed(msgspec.Struct, frozen=True):
    """This instance may flush a batch until its lease ends."""

    batch_id: str
    coin_id: str
    trigger: Trigger
    fence: int
    size: int
    vs_currencies: frozenset[str]
    claimed_at_ms: int
    due_at_ms: int  # both by Redis' clock


class Open(msgspec.Struct, frozen=True):
    """The batch collects."""

    batch_id: str
    size: int


class Held(msgspec.Struct, frozen=True):
    """Somebody else has a lease: on this batch (`itself`), or on the coin's batch before it."""

    batch_id: str
    lease_ms: int
    itself: bool


class Settled(msgspec.Struct, frozen=True):
    """The batch has its result."""

    batch_id: str
    result: Result


class Gone(msgspec.Struct, frozen=True):
    """Redis knows no such batch: it expired, or Redis came back empty."""

    batch_id: str


Standing = Claimed | Open | Held | Settled | Gone


def standing_in(answer: list[Any], now_ms: int) -> Standing:
    """Read how one batch stands; `now_ms` is when a claim was granted."""
    kind, batch_id = answer[0], answer[1].decode()
    match kind:
        case b"granted":
            coin_id, trigger, fence, size, currencies, due = answer[2:]
            asked = frozenset(currencies.decode().strip(",").split(","))
            return Claimed(batch_id, coin_id.decode(), trigger.decode(), fence, size, asked, now_ms, due)
        case b"open":
            return Open(batch_id, answer[2])
        case b"held":
            return Held(batch_id, answer[2], bool(answer[3]))
        case b"settled":
            return _settled(batch_id, answer[2])
        case _:
            return Gone(batch_id)


def _settled(batch_id: str, result: bytes) -> Settled | Gone:
    try:
        return Settled(batch_id, decode_result(result))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.error("a result could not be read", batch=batch_id, reason=str(error))
        return Gone(batch_id)
