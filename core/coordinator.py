"""The Lua scripts as methods of the same names. Makes no decisions; all raise RedisUnavailable."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import structlog

from core import keys, lua
from core.batches import Result, Trigger
from core.errors import OutboxFull
from core.limits import Charge, OverLimit
from core.redis_link import RedisLink
from core.settings import Settings

# A flusher that is silent for this long has lost its batches to whoever waits for them.
LEASE_MS = 1500
# A batch outlives the deadlines of all its requests by this much, for whoever still looks it up.
_KEEP_LONGER_MS = 10_000
# A coin that CoinGecko did not know is not asked for again so soon: a mistyped id must not spend calls.
_UNKNOWN_MS = 600_000
# Nor does one odd answer make a coin unknown that had a price a day ago.
_KNOWN_MS = 86_400_000
# Some 200 MB of Redis: at ten prices a second, more than a day without Postgres.
OUTBOX_BOUND = 1_000_000

_log = structlog.get_logger()

encode_result = msgspec.json.Encoder(decimal_format="string").encode
decode_result = msgspec.json.Decoder(Result).decode


class Admission(msgspec.Struct, frozen=True):
    """A request was charged and joined a batch."""

    charge: Charge
    batch_id: str
    size: int
    due_in_ms: int


class Unknown(msgspec.Struct, frozen=True):
    """A request was charged for a coin that CoinGecko was lately found not to know; there is no batch."""

    charge: Charge


class Claimed(msgspec.Struct, frozen=True):
    """This instance may flush a batch until its lease ends."""

    batch_id: str
    coin_id: str
    trigger: Trigger
    fence: int
    size: int
    vs_currencies: frozenset[str]
    claimed_at_ms: int


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


class Coordinator:
    """What the instances agree on, kept in Redis."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._keep_ms = settings.batch_result_timeout_ms + _KEEP_LONGER_MS

    async def ping(self) -> None:
        """Return if Redis answers."""
        await self._link.call("PING")

    async def charge(self, caller: str, limit: int) -> Charge:
        """Charge a caller for one request, or raise OverLimit."""
        granted, remaining, reset_ms = await self._link.run_script(
            lua.CHARGE,
            [keys.PREFIX, keys.limit_of(caller)],
            [limit, self._settings.throttle_ttl_ms],
        )
        charge = _charge(caller, limit, remaining, reset_ms)
        if not granted:
            raise OverLimit(charge)
        return charge

    async def admit(self, caller: str, coin_id: str, vs_currency: str) -> Admission | Unknown:
        """Charge a caller and join the coin's open batch, or raise OverLimit or OutboxFull."""
        settings = self._settings
        limit = settings.throttle_global_limit
        verdict, *rest = await self._link.run_script(
            lua.ADMIT,
            [keys.PREFIX, keys.limit_of(caller), keys.OUTBOX, keys.FEED],
            [
                limit,
                settings.throttle_ttl_ms,
                coin_id,
                vs_currency,
                uuid4().hex,
                settings.batch_threshold,
                settings.batch_window_ms,
                self._keep_ms,
                OUTBOX_BOUND,
            ],
        )
        if verdict == b"outbox full":
            raise OutboxFull
        remaining, reset_ms, *joined = rest
        charge = _charge(caller, limit, remaining, reset_ms)
        if verdict == b"limited":
            raise OverLimit(charge)
        if verdict == b"unknown":
            return Unknown(charge)
        batch_id, size, due_in_ms = joined
        return Admission(charge, batch_id.decode(), size, due_in_ms)

    async def claim(self, wanted: Sequence[tuple[str, Trigger]]) -> list[Standing]:
        """Claim batches; what cannot be claimed is told how it stands."""
        args = [part for pair in wanted for part in pair]
        now_ms, *answers = await self._link.run_script(lua.CLAIM, [keys.PREFIX], [LEASE_MS, self._keep_ms, *args])
        return [_standing(answer, now_ms) for answer in answers]

    async def renew(self, claims: Sequence[Claimed]) -> int:
        """Lengthen the leases of claims; return how many are still held."""
        args = [part for claim in claims for part in (claim.batch_id, claim.fence, claim.claimed_at_ms)]
        held: int = await self._link.run_script(lua.RENEW, [keys.PREFIX], [LEASE_MS, self._keep_ms, *args])
        return held

    async def complete(self, outcomes: Sequence[tuple[Claimed, Result]]) -> set[str]:
        """Settle claims for everybody; return the ids of those whose fencing token was still the latest."""
        done = msgspec.json.encode([_completion(claim, result) for claim, result in outcomes])
        accepted = await self._link.run_script(
            lua.COMPLETE, [keys.PREFIX, keys.OUTBOX, keys.FEED], [self._keep_ms, _UNKNOWN_MS, _KNOWN_MS, done]
        )
        return {batch_id.decode() for batch_id in accepted}

    async def look(self, batch_ids: Sequence[str]) -> list[Standing]:
        """Read how batches stand."""
        answers = await self._link.run_script(lua.LOOK, [keys.PREFIX], list(batch_ids))
        return [_standing(answer, 0) for answer in answers]

    async def publish(self, channel: str, message: bytes) -> None:
        """Publish a message to whoever listens."""
        await self._link.call("PUBLISH", channel, message)


def _charge(caller: str, limit: int, remaining: int, reset_ms: int) -> Charge:
    return Charge(caller, limit, remaining, max(1, -(-reset_ms // 1000)))


def _standing(answer: list[Any], now_ms: int) -> Standing:
    kind, batch_id = answer[0], answer[1].decode()
    match kind:
        case b"granted":
            coin_id, trigger, fence, size, currencies = answer[2:]
            asked = frozenset(currencies.decode().strip(",").split(","))
            return Claimed(batch_id, coin_id.decode(), trigger.decode(), fence, size, asked, now_ms)
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


def _completion(claim: Claimed, result: Result) -> dict[str, Any]:
    return {
        "batch_id": claim.batch_id,
        "coin_id": claim.coin_id,
        "fence": str(claim.fence),
        "state": "failed" if result.failure else "answered",
        "unknown_coin": result.failure is not None and result.failure.kind == "unknown_coin",
        "result": encode_result(result).decode(),
        "fetched_at": str(result.fetched_at_ms),
        "prices": [(price.vs_currency, _plain(price.price)) for price in result.known_prices],
    }


def _plain(price: Decimal) -> str:
    return format(price, "f")
