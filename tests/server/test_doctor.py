"""What the doctor finds in real servers, and does when they are away."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import trio

from core.settings import Settings
from server import doctor
from server.doctor import Finding, examine
from server.local import LocalPostgres
from simulator import Simulator, SimulatorConfig, failures
from tests.server.fakes import make_settings

Sql = Callable[[str, str], list[Any]]
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


async def test_coingecko_is_asked_only_when_that_is_wanted(nursery: trio.Nursery) -> None:
    upstream = Simulator(SimulatorConfig())
    url = await nursery.start(upstream.serve, "127.0.0.1", 0)
    settings = make_settings(coingecko_base_url=url, **NOBODY)
    [unasked] = of(await examine(settings), "CoinGecko")
    assert (unasked.state, upstream.calls) == ("skipped", [])

    [asked] = of(await examine(settings, ask_upstream=True), "CoinGecko")
    assert (asked.state, [call.path for call in upstream.calls]) == ("well", ["/api/v3/ping"])

    upstream.config.failures = [failures.TooManyRequests()]
    [limited] = of(await examine(settings, ask_upstream=True), "CoinGecko")
    assert (limited.state, "HTTP 429" in limited.told) == ("trouble", True)
