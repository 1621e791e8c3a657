"""What `cryptopulse doctor` does: asks everything that a server needs how it is, and says what to do about it.

findings = trio.run(examine, settings)      # within some 10 s, whatever is away
"""

import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil, inf
from statistics import median
from typing import Literal

import asyncpg
import msgspec
import trio
import trio_asyncio

from core.coingecko import CoinGecko, PermitLapsed, open_coingecko
from core.coordinator import Coordinator
from core.errors import HistoryUnavailable, RedisUnavailable, UpstreamFailed, UpstreamLimited, told_wait
from core.history import History
from core.ledger import Ledger
from core.permits import PERMIT_S, Permit
from core.postgres import open_postgres
from core.redis_connection import ConnectionLost, RedisConnection, connect, no_errors, pack
from core.redis_link import RedisLink
from core.schema import DatabaseAway, Schema, look
from core.settings import Settings
from core.tally import Tally

_REDIS_S = 5.0
_POSTGRES_S = 6.0
# For a call of the budget: with thirty a minute there is one each 2.1 s.
_PATIENCE_S = 3.0
_PINGS = 9
# Batches are by Redis' clock alone; tokens end by an instance's own, and people compare logs.
_CLOCKS_DIFFER_S = 2.0
_SLOW_MS = 20.0
_OLDEST_REDIS = 7

State = Literal["well", "warning", "trouble", "skipped"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one thing is, and what to do if it is not well."""

    about: str
    state: State
    told: str
    to_do: str = ""


async def examine(settings: Settings, *, ask_upstream: bool = False) -> list[Finding]:
    """Look at Redis, Postgres and, if that may cost a call, CoinGecko."""
    findings: dict[str, list[Finding]] = {"Redis": [], "Postgres": [], "CoinGecko": []}

    async def note(about: str, look_at: Callable[[Settings], Awaitable[list[Finding]]]) -> None:
        findings[about] = await look_at(settings)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, "Redis", _redis)
        nursery.start_soon(note, "Postgres", _postgres)
        nursery.start_soon(note, "CoinGecko", _coingecko if ask_upstream else _coingecko_unasked)
    return [finding for each in findings.values() for finding in each]


async def _redis(settings: Settings) -> list[Finding]:
    try:
        with trio.fail_after(_REDIS_S):
            async with connect(settings.redis_url.get_secret_value()) as connection:
                return await _redis_findings(connection)
    except (ConnectionLost, trio.TooSlowError) as error:
        told = str(error) or f"no answer within {_REDIS_S:.0f} s"
        return [Finding("Redis", "trouble", f"cannot be reached: {told}", "check REDIS_URL, and that it runs there")]


async def _redis_findings(connection: RedisConnection) -> list[Finding]:
    (text,) = no_errors(await connection.call(pack("INFO")))
    info = dict(re.findall(r"^(\w+):(.*?)\r?$", text.decode(errors="replace"), re.MULTILINE))
    took_ms = [await _ping_ms(connection) for _ in range(_PINGS)]
    return [_version(info), _latency(median(took_ms)), _clock(await _ahead_s(connection)), _kept(info), _evicted(info)]


async def _ping_ms(connection: RedisConnection) -> float:
    began = time.perf_counter()
    no_errors(await connection.call(pack("PING")))
    return (time.perf_counter() - began) * 1000


async def _ahead_s(connection: RedisConnection) -> float:
    before = time.time()
    ((seconds, microseconds),) = no_errors(await connection.call(pack("TIME")))
    return int(seconds) + int(microseconds) / 1e6 - (before + time.time()) / 2


def _version(info: dict[str, str]) -> Finding:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "unknown")
    major = int((re.match(r"\d+", info.get("redis_version", "")) or ["0"])[0])
    if major < _OLDEST_REDIS:
        return Finding("Redis", "trouble", f"{name} {version}", "use a Redis of 7.0 or later, or a Valkey")
    return Finding("Redis", "well", f"{name} {version}")


def _latency(took_ms: float) -> Finding:
    told = f"answers in {took_ms:.1f} ms"
    if took_ms > _SLOW_MS:
        return Finding("Redis", "warning", told, "each request waits for it: bring it nearer")
    return Finding("Redis", "well", told)


def _clock(ahead_s: float) -> Finding:
    told = f"its clock differs from ours by {abs(ahead_s):.1f} s"
    if abs(ahead_s) > _CLOCKS_DIFFER_S:
        return Finding("Redis", "warning", told, "have both machines set their clocks, by NTP")
    return Finding("Redis", "well", told)


def _kept(info: dict[str, str]) -> Finding:
    if info.get("aof_enabled") == "1":
        return Finding("Redis", "well", "keeps an append-only file")
    to_do = "set `appendonly yes`: what Postgres does not have yet is lost with it"
    return Finding("Redis", "warning", "keeps no append-only file", to_do)


def _evicted(info: dict[str, str]) -> Finding:
    policy = info.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return Finding("Redis", "well", "evicts nothing")
    return Finding("Redis", "warning", f"may evict keys: {policy}", "set `maxmemory-policy noeviction`")


async def _postgres(settings: Settings) -> list[Finding]:
    try:
        with trio.fail_after(_POSTGRES_S):
            url = settings.database_url.get_secret_value()
            schema: Schema = await trio.to_thread.run_sync(look, url, abandon_on_cancel=True)
    except (DatabaseAway, trio.TooSlowError) as error:
        return [_away(error)]
    return [Finding("Postgres", "well", f"Postgres {schema.server}"), _migrations(schema)]


def _away(error: Exception) -> Finding:
    if isinstance(error.__cause__, asyncpg.PostgresError):
        to_do = "check user, password and database in DATABASE_URL, or see to Postgres"
        return Finding("Postgres", "trouble", f"refuses us: {error}", to_do)
    told = str(error) or f"no answer within {_POSTGRES_S:.0f} s"
    return Finding("Postgres", "trouble", f"cannot be reached: {told}", "check DATABASE_URL, and that it runs there")


def _migrations(schema: Schema) -> Finding:
    applied = schema.applied or "none"
    if schema.is_current:
        return Finding("Postgres", "well", f"migrated, to {applied}")
    return Finding("Postgres", "trouble", f"migrated to {applied} of {schema.newest}", "run `cryptopulse migrate`")


async def _coingecko_unasked(settings: Settings) -> list[Finding]:
    await trio.lowlevel.checkpoint()
    told = f"{settings.coingecko_base_url} was not asked, since that may cost a call of the month"
    return [Finding("CoinGecko", "skipped", told, "to ask it, --upstream")]


async def _coingecko(settings: Settings) -> list[Finding]:
    """Ask once, with a permit of the budget that all instances share."""
    link = RedisLink(settings.redis_url.get_secret_value())
    async with (
        trio_asyncio.open_loop(),
        open_postgres(settings.database_url.get_secret_value()) as postgres,
        open_coingecko(settings) as coingecko,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(link.run)
        ledger = Ledger(settings, Coordinator(link, settings), History(postgres), coingecko, Tally())
        finding = await _asked(coingecko, ledger)
        nursery.cancel_scope.cancel()
    return [finding]


async def _asked(coingecko: CoinGecko, ledger: Ledger) -> Finding:
    """What CoinGecko says; the call's own time-out bounds it."""
    try:
        asked_at, permit = await _permit(ledger)
        if permit.wait_ms:
            return _not_asked("the budget has no call for it", f"try again in {_wait(permit)}")
        ask = partial(_ask, coingecko, start_by=asked_at + PERMIT_S)
        told = await ledger.spend(permit, ask, billed=not coingecko.tells_usage)
    except PermitLapsed:
        return _not_asked("this machine was too slow to use its permit", "try again")
    except RedisUnavailable:
        return _not_asked("Redis says when a call may be made, and does not answer", "see to Redis")
    except HistoryUnavailable:
        return _not_asked("Postgres alone knows the month's calls, and does not tell", "see to Postgres")
    except (UpstreamFailed, UpstreamLimited) as error:
        told = f"{error.message.rstrip('.')} ({_reason(error)})"
        to_do = "check COINGECKO_BASE_URL, COINGECKO_API_KEY, and that this machine may reach it"
        return Finding("CoinGecko", "trouble", told, to_do)
    return Finding("CoinGecko", "well", told)


def _not_asked(why: str, to_do: str) -> Finding:
    return Finding("CoinGecko", "skipped", f"was not asked: {why}", to_do)


def _wait(permit: Permit) -> str:
    return told_wait(ceil(permit.wait_ms / 1000) if isinstance(permit.wait_ms, int) else 1)


async def _permit(ledger: Ledger) -> tuple[float, Permit]:
    """The permit for one call, waited for a little, and when it was asked for; or when to ask again."""
    give_up_at = trio.current_time() + _PATIENCE_S
    while True:
        asked_at = trio.current_time()
        permit = await ledger.permit()
        wait_s = permit.wait_ms / 1000 if isinstance(permit.wait_ms, int) else inf
        if not wait_s or asked_at + wait_s > give_up_at:
            return asked_at, permit
        await trio.sleep(wait_s)  # a timer: the budget gives the next call by the clock


async def _ask(coingecko: CoinGecko, *, start_by: float) -> str:
    if coingecko.tells_usage:
        return f"answers, and has counted {await coingecko.usage(start_by=start_by)} calls this month"
    await coingecko.ping(start_by=start_by)
    return "answers; whether it takes the key only prices tell"


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error)
