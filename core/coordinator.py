"""The Lua scripts as methods of the same names. Makes no decisions; all raise RedisUnavailable."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec

from core import keys, lua
from core.admissions import Admissions, Ask, admission_in, price_at_hand
from core.batches import Result
from core.completions import completion_of, report_of
from core.errors import OutboxFull
from core.flush_policy import MOST_ID_CHARACTERS, Call
from core.freshness import Freshness
from core.ids import new_ids
from core.limits import Charge, OverLimit
from core.permits import Called, Permit, Unsure, call_in, terms
from core.prices import Price
from core.redis_link import RedisLink
from core.settings import Settings
from core.standings import Claimed, Standing, standing_in

# A flusher that is silent for this long has lost its batches to whoever waits for them.
LEASE_MS = 1500
# A batch outlives the deadlines of all its requests by this much, for whoever still looks it up.
_KEEP_LONGER_MS = 10_000
# A coin that CoinGecko did not know is not asked for again so soon: a mistyped id must not spend calls.
_UNKNOWN_MS = 600_000
# So long a price is kept at hand. Nor does one odd answer make a coin unknown that had a price meanwhile.
LATEST_MS = 86_400_000
# So many requests for one unit of the caller's limit, if they come as one.
COINS_A_UNIT = 50
# Some 200 MB of Redis: at ten prices a second, more than a day without Postgres.
OUTBOX_BOUND = 1_000_000

_ADMISSION_KEYS = (keys.PREFIX, keys.OUTBOX, keys.FEED, keys.BUDGET, keys.PENDING, keys.UNDER_WAY)


class Outlook(msgspec.Struct, frozen=True):
    """When the next upstream call may be made."""

    now_ms: int  # unix time, by Redis' clock
    call_in_ms: int | Unsure
    calls: int  # of the month


class Grant(Outlook, frozen=True):
    """How the batches that were to be claimed stand, and those that ride along; none is while no call may be made."""

    standings: list[Standing]


class Outbox(msgspec.Struct, frozen=True):
    """The prices that Postgres does not have yet."""

    depth: int
    oldest_ms: int | None  # when the oldest was fetched and put there, by Redis' clock
    refused: int  # what came out of it and is no price


class Coordinator:
    """What the instances agree on, kept in Redis."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._keep_ms = settings.batch_result_timeout_ms + _KEEP_LONGER_MS
        self._terms = terms(settings)
        self._ids = new_ids()
        most_together = settings.upstream_max_ids if settings.batch_ride_along else 1
        # Written once: to write sixteen numbers takes as long as all else that admits a request on this side.
        self._admission_terms = [
            str(number).encode()
            for number in (
                settings.throttle_global_limit,
                settings.throttle_ttl_ms,
                settings.batch_threshold,
                settings.batch_window_ms,
                self._keep_ms,
                OUTBOX_BOUND,
                settings.batch_result_timeout_ms,
                *self._terms,
                most_together,
                MOST_ID_CHARACTERS,
                LEASE_MS,
            )
        ]

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

    async def admit(
        self, asks: Sequence[Ask], *, may_claim: bool = False
    ) -> tuple[list[Admissions | OverLimit | OutboxFull], Grant | None]:
        """Charge the caller of each once, and have each coin's open batch joined; or tell why not.

        A batch that they fill exactly, and join no other, is claimed in the same step if this instance `may_claim`,
        and a call may be made; what others have pending rides along.
        """
        now_ms, granted, *answers = await self._link.run_script(
            lua.ADMIT,
            [*_ADMISSION_KEYS, *(keys.limit_of(ask.caller) for ask in asks)],
            [*self._admission_terms, int(may_claim), *chain.from_iterable(map(self._terms_of, asks))],
        )
        admissions = [self._admissions_in(ask, answer, now_ms) for ask, answer in zip(asks, answers, strict=True)]
        return admissions, _grant_in(now_ms, *granted) if granted else None

    def _terms_of(self, ask: Ask) -> list[str | int]:
        """What one asks for, as the script of admission takes it."""
        return [
            -(-len(ask.wanted) // COINS_A_UNIT),
            *_allowed(ask.freshness, honour=self._settings.upstream_honour_cache),
            len(ask.wanted),
            *(part for coin in ask.wanted for part in (coin.coin_id, ",".join(coin.vs_currencies), next(self._ids))),
        ]

    def _admissions_in(self, ask: Ask, answer: list[Any], now_ms: int) -> Admissions | OverLimit | OutboxFull:
        """Read what became of one."""
        verdict, *rest = answer
        if verdict == b"outbox full":
            return OutboxFull()
        remaining, reset_ms, *each = rest
        charge = _charge(ask.caller, self._settings.throttle_global_limit, remaining, reset_ms)
        if verdict == b"limited":
            return OverLimit(charge)
        of_coins = [admission_in(coin, answer, now_ms) for coin, answer in zip(ask.wanted, each, strict=True)]
        return Admissions(charge, of_coins)

    async def outlook(self) -> Outlook:
        """Read when the next upstream call may be made."""
        now_ms, call_in_ms, calls = await self._link.run_script(lua.OUTLOOK, [keys.BUDGET], [*self._terms])
        return Outlook(now_ms, call_in(call_in_ms), calls)

    async def claim(self, call: Call) -> Grant:
        """Take the permit for a call, and claim its batches, and what others have pending as far as there is room.

        What cannot be claimed is told how it stands.
        """
        args = [part for view, trigger in call.batches for part in (f"{view.batch_id}:{view.coin_id}", trigger)]
        answer = await self._link.run_script(
            lua.CLAIM,
            [keys.PREFIX, keys.PENDING, keys.BUDGET, keys.FEED, keys.UNDER_WAY],
            [*self._terms, LEASE_MS, self._keep_ms, call.coins_left, call.characters_left, *args],
        )
        return _grant_in(*answer)

    async def renew(self, claims: Sequence[Claimed]) -> int:
        """Lengthen the leases of claims; return how many are still held."""
        held: int = await self._link.run_script(lua.RENEW, [keys.PREFIX], [LEASE_MS, self._keep_ms, *_marks(claims)])
        return held

    async def release(self, claims: Sequence[Claimed]) -> None:
        """Give claims back whose call was not made."""
        await self._link.run_script(
            lua.RELEASE, [keys.PREFIX, keys.BUDGET, keys.UNDER_WAY, keys.FEED], [*self._terms, *_marks(claims)]
        )

    async def complete(self, called: Called, outcomes: Sequence[tuple[Claimed, Result]]) -> set[str]:
        """Settle the claims of one call for everybody; return the ids of those whose fencing token was the latest."""
        accepted = await self._link.run_script(
            lua.COMPLETE,
            [keys.PREFIX, keys.OUTBOX, keys.FEED, keys.BUDGET, keys.UNDER_WAY],
            [
                *self._terms,
                self._keep_ms,
                _UNKNOWN_MS,
                LATEST_MS,
                msgspec.json.encode(completion_of(called, outcomes, self._settings.batch_window_ms)),
            ],
        )
        return {batch_id.decode() for batch_id in accepted}

    async def permit(self, once: str | None = None, every_ms: int = 0) -> Permit:
        """Take the permit for one upstream call that is no flush; of one name only `once` in so many milliseconds."""
        now_ms, wait_ms, calls = await self._link.run_script(
            lua.PERMIT, [keys.BUDGET, keys.once(once or ""), keys.FEED], [*self._terms, every_ms]
        )
        return Permit(now_ms, call_in(wait_ms), calls)

    async def report(self, called: Called, permit: Permit) -> None:
        """Tell what a call that was no flush says of the next one."""
        report = msgspec.json.encode(report_of(called, permit.now_ms, self._settings.batch_window_ms))
        await self._link.run_script(lua.REPORT, [keys.BUDGET, keys.FEED], [*self._terms, report])

    async def restore(self, until_ms: int, calls: int) -> int:
        """Make the budget one to rely on; the month ends at `until_ms`, and had so many calls by what else is known.

        Returns how many it had, by all that is known.
        """
        counted: int = await self._link.run_script(
            lua.RESTORE, [keys.BUDGET, keys.FEED], [*self._terms, until_ms, calls]
        )
        return counted

    async def correct(self, calls_then: int, reported: int) -> None:
        """Set the month's count to what CoinGecko reported when it was `calls_then` here."""
        await self._link.run_script(lua.CORRECT, [keys.BUDGET, keys.FEED], [*self._terms, calls_then, reported])

    async def kept_coin_list(self) -> bytes | None:
        """Read the list of all coins, if an instance fetched it lately."""
        body: bytes | None = await self._link.call("GET", keys.COIN_LIST)
        return body

    async def keep_coin_list(self, body: bytes, ttl_ms: int) -> None:
        """Keep the list of all coins for all instances."""
        await self._link.call("SET", keys.COIN_LIST, body, "PX", ttl_ms)

    async def look(self, batch_ids: Sequence[str]) -> list[Standing]:
        """Read how batches stand."""
        answers = await self._link.run_script(lua.LOOK, [keys.PREFIX], list(batch_ids))
        return [standing_in(answer, 0) for answer in answers]

    async def latest(self, coin_ids: Sequence[str], vs_currencies: Sequence[str]) -> list[Price]:
        """Read the prices at hand of these coins in these currencies."""
        answers = await self._link.run_script(lua.LATEST, [keys.PREFIX], [",".join(vs_currencies), *coin_ids])
        prices = [
            price_at_hand(coin_id, vs_currency, text)
            for coin_id, texts in zip(coin_ids, answers, strict=True)
            for vs_currency, text in zip(vs_currencies, texts, strict=True)
            if text is not None
        ]
        return [price for price in prices if price is not None]

    async def outbox_depth(self) -> int:
        """Count the prices that Postgres does not have yet."""
        depth: int = await self._link.call("XLEN", keys.OUTBOX)
        return depth

    async def outbox(self) -> Outbox:
        """Look at the prices that Postgres does not have yet."""
        depth = await self.outbox_depth()
        oldest = await self._link.call("XRANGE", keys.OUTBOX, "-", "+", "COUNT", 1)
        refused = await self._link.call("XLEN", keys.OUTBOX_REFUSED)
        # An entry's id begins with the time at which it was added.
        return Outbox(depth, int(oldest[0][0].partition(b"-")[0]) if oldest else None, refused)

    async def publish(self, channel: str, message: bytes) -> None:
        """Publish a message to whoever listens."""
        await self._link.call("PUBLISH", channel, message)


def _allowed(freshness: Freshness, *, honour: bool) -> list[int]:
    """How old a price may be, as the script of admission takes it."""
    return [
        min(freshness.max_age_s * 1000, LATEST_MS) if freshness.max_age_s else -1,
        -1 if freshness.stale_if_error_s is None else min(freshness.stale_if_error_s * 1000, LATEST_MS),
        int(freshness.only_if_cached),
        int(honour and freshness.is_silent),
    ]


def _grant_in(now_ms: int, call_in_ms: int, calls: int, *standings: list[Any]) -> Grant:
    return Grant(now_ms, call_in(call_in_ms), calls, [standing_in(each, now_ms) for each in standings])


def _marks(claims: Sequence[Claimed]) -> list[str | int]:
    return [part for claim in claims for part in (claim.batch_id, claim.fence, claim.claimed_at_ms)]


def _charge(caller: str, limit: int, remaining: int, reset_ms: int) -> Charge:
    return Charge(caller, limit, remaining, max(1, -(-reset_ms // 1000)))
