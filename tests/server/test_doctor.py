"""What the doctor finds in real servers, and does when they are away."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import trio

from core import keys
from core.settings import Settings
from server import doctor
from server.doctor import Finding, examine
from server.local import LocalPostgres
from simulator import Simulator, SimulatorConfig, failures
from tests.server.fakes import make_settings

Sql = Callable[[str, str], list[Any]]
Upstream = tuple[Simulator, str]  # and its URL
NOBODY = {"redis_url": "redis://:canary@127.0.0.1:1", "database_url": "postgresql://ann:canary@127.0.0.1:1/none"}


@pytest.fixture
def settings(redis_url: str, migrated_url: str) -> Settings:
    return make_settings(redis_url=redis_url, database_url=migrated_url)


def of(findings: list[Finding], about: str) -> list[Finding]:
    return [finding for finding in findings if finding.about == about]


async def test_all_is_well_where_all_is_there(settings: Settings) -> None:
    findings = await examine(settings)
    told = [finding.told for finding in of(findings, "Redis")]
    assert told[0].startswith("Valkey 9")
    assert told[1].startswith("answers in ")
    assert told[2].startswith("its clock differs from ours by 0.")
    assert told[4] == "evicts nothing"
    assert [finding.told for finding in of(findings, "Postgres")][1].startswith("migrated, to 000")
    assert {finding.state for finding in findings} <= {"well", "warning", "skipped"}
    assert all(finding.to_do for finding in findings if finding.state != "well")


async def test_a_redis_that_forgets_is_warned_of(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        before: Any = client.config_get("appendonly", "maxmemory-policy")
        try:
            client.config_set("appendonly", "no")
            client.config_set("maxmemory-policy", "allkeys-lru")
            forgetful = await examine(settings)
            client.config_set("appendonly", "yes")
            client.config_set("maxmemory-policy", "noeviction")
            faithful = await examine(settings)
        finally:
            for name, value in before.items():
                client.config_set(name, value)
    assert [(each.state, each.told) for each in of(forgetful, "Redis")[3:]] == [
        ("warning", "keeps no append-only file"),
        ("warning", "may evict keys: allkeys-lru"),
    ]
    assert [(each.state, each.told) for each in of(faithful, "Redis")[3:]] == [
        ("well", "keeps an append-only file"),
        ("well", "evicts nothing"),
    ]


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (doctor._version({"redis_version": "6.2.14"}), "trouble"),
        (doctor._version({"redis_version": "7.0.0"}), "well"),
        (doctor._version({}), "trouble"),
        (doctor._latency(19), "well"),
        (doctor._latency(21), "warning"),
        (doctor._clock(-1.9), "well"),
        (doctor._clock(-2.1), "warning"),
    ],
)
def test_what_is_not_well_says_what_to_do(finding: Finding, state: str) -> None:
    assert (finding.state, bool(finding.to_do)) == (state, state != "well")


async def test_an_unmigrated_database_is_trouble(settings: Settings, postgres: LocalPostgres, sql: Sql) -> None:
    sql(postgres.url, "CREATE DATABASE unmigrated")
    url = urlsplit(postgres.url)._replace(path="/unmigrated").geturl()
    findings = await examine(make_settings(redis_url=settings.redis_url, database_url=url))
    assert [(each.state, each.to_do) for each in of(findings, "Postgres")] == [
        ("well", ""),
        ("trouble", "run `cryptopulse migrate`"),
    ]


async def test_whoever_is_away_is_named_with_what_to_check_and_no_secret() -> None:
    findings = await examine(make_settings(**NOBODY))
    assert [(each.about, each.state) for each in findings[:2]] == [("Redis", "trouble"), ("Postgres", "trouble")]
    assert "REDIS_URL" in findings[0].to_do
    assert "DATABASE_URL" in findings[1].to_do
    assert "canary" not in str(findings)


async def test_a_postgres_that_refuses_us_is_not_said_to_be_away(migrated_url: str) -> None:
    stranger = urlsplit(migrated_url)
    url = stranger._replace(netloc=f"nobody:wrong@{stranger.hostname}:{stranger.port}").geturl()
    [refused] = of(await examine(make_settings(redis_url=NOBODY["redis_url"], database_url=url)), "Postgres")
    assert refused.told.startswith("refuses us: ")
    assert refused.to_do.startswith("check user, password and database in DATABASE_URL")


async def test_whoever_says_nothing_is_left_after_a_while(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def say_nothing(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    for name in ("_REDIS_S", "_POSTGRES_S"):
        monkeypatch.setattr(doctor, name, 0.05)
    listener, *_ = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1"))
    port = listener.socket.getsockname()[1]
    urls = {"redis_url": f"redis://127.0.0.1:{port}", "database_url": f"postgresql://127.0.0.1:{port}/none"}
    findings = await examine(make_settings(**urls))
    assert [finding.state for finding in findings] == ["trouble", "trouble", "skipped"]


@pytest.fixture
async def upstream(nursery: trio.Nursery) -> Upstream:
    simulator = Simulator(SimulatorConfig())
    return simulator, await nursery.start(simulator.serve, "127.0.0.1", 0)


async def test_coingecko_is_asked_only_when_that_is_wanted(
    upstream: Upstream, redis_url: str, migrated_url: str
) -> None:
    simulator, url = upstream
    settings = make_settings(coingecko_base_url=url, redis_url=redis_url, database_url=migrated_url)
    [unasked] = of(await examine(settings), "CoinGecko")
    assert (unasked.state, simulator.calls) == ("skipped", [])

    [asked] = of(await examine(settings, ask_upstream=True), "CoinGecko")
    assert (asked.state, [call.path for call in simulator.calls]) == ("well", ["/api/v3/ping"])

    simulator.config.failures = [failures.TooManyRequests()]
    [limited] = of(await examine(settings, ask_upstream=True), "CoinGecko")
    assert (limited.state, "HTTP 429" in limited.told) == ("trouble", True)

    [paused] = of(await examine(settings, ask_upstream=True), "CoinGecko")
    assert (paused.state, paused.told) == ("skipped", "was not asked: the budget has no call for it")
    assert re.fullmatch(r"try again in \d\d s", paused.to_do), "the others heard of it, as we of what they are told"
    assert len(simulator.calls) == 2


async def test_asking_coingecko_takes_a_call_of_the_budget_that_all_share(
    upstream: Upstream, redis_url: str, database_url: str
) -> None:
    simulator, url = upstream
    limits = {"upstream_calls_per_minute": 60, "upstream_calls_per_month": 1}
    settings = make_settings(coingecko_base_url=url, redis_url=redis_url, database_url=database_url, **limits)
    [asked] = of(await examine(settings, ask_upstream=True), "CoinGecko")
    assert asked.state == "well", "a budget that nobody has used is set up, and its first interval waited for"

    [refused] = of(await examine(settings, ask_upstream=True), "CoinGecko")
    assert (refused.state, refused.told) == ("skipped", "was not asked: the budget has no call for it")
    assert refused.to_do.startswith("try again in ")
    assert len(simulator.calls) == 1
    with redis.Redis.from_url(redis_url) as client:
        assert client.hget(keys.BUDGET, "calls") == b"1"


@pytest.mark.parametrize(("away", "to_do"), [("redis_url", "see to Redis"), ("database_url", "see to Postgres")])
async def test_where_nobody_tells_of_the_budget_coingecko_is_not_asked(
    upstream: Upstream, redis_url: str, migrated_url: str, away: str, to_do: str
) -> None:
    simulator, url = upstream
    urls = {"redis_url": redis_url, "database_url": migrated_url} | {away: NOBODY[away]}
    settings = make_settings(coingecko_base_url=url, upstream_calls_per_month=10, **urls)
    [unasked] = of(await examine(settings, ask_upstream=True), "CoinGecko")
    assert (unasked.state, unasked.to_do) == ("skipped", to_do)
    assert simulator.calls == []
