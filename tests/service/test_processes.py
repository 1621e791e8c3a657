"""Instances as real processes: `cryptopulse serve`, its environment, its signals, its logs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis
import trio

from server.local import LocalPostgres
from simulator import Simulator, failures
from tests.conftest import Sql
from tests.service.conftest import ClientFor
from tests.waiting import until

SERVE_BY_ANOTHER_CLOCK = """
import sys, time
ahead_s = int(sys.argv[1])
time_ns, time_s = time.time_ns, time.time
time.time = lambda: time_s() + ahead_s
time.time_ns = lambda: time_ns() + ahead_s * 1_000_000_000
from cryptopulse import main
main(["serve"])
"""

StartProcess = Callable[..., Awaitable["Instance"]]


class Instance:
    """A running `cryptopulse serve`, and what it said."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.log = b""

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.log += chunk

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    async def url(self) -> str:
        await until(lambda: b'"listening"' in self.log)
        return next(str(line["url"]) for line in self.lines if line["event"] == "listening")


def environment(given: dict[str, Any], **changes: Any) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    return clean | {name.upper(): str(value) for name, value in (given | changes).items()}


@pytest.fixture
def start_process(given: dict[str, Any], nursery: trio.Nursery) -> StartProcess:
    """Starts an instance with some settings changed; what still runs at the end of the test is ended."""

    async def start(*, clock_ahead_s: int = 0, **changes: Any) -> Instance:
        command = [sys.executable, "-c", SERVE_BY_ANOTHER_CLOCK, str(clock_ahead_s)]
        run = partial(trio.run_process, env=environment(given, **changes), stderr=subprocess.PIPE, check=False)
        instance = Instance(await nursery.start(run, command))
        nursery.start_soon(instance.read_log)
        return instance

    return start


async def test_sigterm_answers_everybody_who_waits_and_ends_with_0(
    start_process: StartProcess, client_for: ClientFor, upstream: Simulator
) -> None:
    instance = await start_process()
    ann = await client_for(await instance.url())
    answers: list[httpx.Response] = []

    async def ask(coin_id: str) -> None:
        answers.append(await ann.get(f"/v1/price/{coin_id}"))

    async with trio.open_nursery() as nursery:
        for coin_id in ("bitcoin", "ethereum"):
            nursery.start_soon(ask, coin_id)
        await trio.sleep(0.5)  # well within the window of 5 s
        instance.process.send_signal(signal.SIGTERM)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.headers["X-Batch-Trigger"] for answer in answers} == {"drain"}
    assert [call.ids for call in upstream.calls] == [("bitcoin", "ethereum")]
    assert await instance.process.wait() == 0


async def test_who_comes_during_a_drain_is_told_to_go_elsewhere(
    start_process: StartProcess, client_for: ClientFor, upstream: Simulator
) -> None:
    upstream.config.latency_ms = 1000
    instance = await start_process()
    url = await instance.url()
    ann, bob = await client_for(url), await client_for(url, "bob")
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await ann.get("/v1/price/bitcoin"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.3)  # admitted, well within its window
        instance.process.send_signal(signal.SIGTERM)
        await until(lambda: upstream.calls)
        refused = [await bob.get(path) for path in ("/v1/price/bitcoin", "/health/ready")]

    assert [answer.status_code for answer in refused] == [503, 503]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert [answer.status_code for answer in answers] == [200]
    assert await instance.process.wait() == 0


async def test_two_processes_share_one_batch(
    start_process: StartProcess, client_for: ClientFor, upstream: Simulator
) -> None:
    clients = [await client_for(await (await start_process()).url()) for _ in range(2)]
    answers: list[httpx.Response] = []

    async def ask(client: httpx.AsyncClient) -> None:
        answers.append(await client.get("/v1/price/bitcoin"))

    async with trio.open_nursery() as nursery:
        for client in (*clients, clients[0]):
            nursery.start_soon(ask, client)

    assert len({answer.text for answer in answers}) == 1
    assert len(upstream.calls) == 1


async def test_clocks_that_differ_by_minutes_change_nothing(
    start_process: StartProcess, client_for: ClientFor, upstream: Simulator, redis_url: str
) -> None:
    late, early = [await start_process(clock_ahead_s=ahead_s, batch_window_ms=500) for ahead_s in (-300, 300)]
    clients = [await client_for(await instance.url()) for instance in (late, early)]
    answers: list[httpx.Response] = []

    async def ask(client: httpx.AsyncClient) -> None:
        answers.append(await client.get("/v1/price/bitcoin"))

    with redis.Redis.from_url(redis_url) as client:
        before: Any = client.time()
        async with trio.open_nursery() as nursery:
            for each in clients:
                nursery.start_soon(ask, each)
        after: Any = client.time()

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.text for answer in answers}) == 1
    assert {answer.headers["X-Batch-Trigger"] for answer in answers} == {"window"}
    assert len(upstream.calls) == 1
    fetched_at = datetime.fromisoformat(answers[0].json()["fetchedAt"]).timestamp()
    assert before[0] <= fetched_at <= after[0] + 1


async def test_the_log_is_json_with_a_line_a_request_a_flush_and_an_error_and_no_secret(
    start_process: StartProcess, client_for: ClientFor, upstream: Simulator
) -> None:
    upstream.config.failures = [failures.ServerError(status=500, calls=1)]
    secrets = {"admin_pass": "canary-pass", "coingecko_api_key": "canary-key"}
    instance = await start_process(**secrets, batch_window_ms=50)
    ann = await client_for(await instance.url())
    await ann.get("/v1/price/bitcoin?vsCurrency=usd")
    await ann.post("/auth/login", json={"username": "admin", "password": "canary-pass"})
    await ann.get("/v1/price/bitcoin?token=canary-query")

    await until(lambda: instance.log.count(b'"request"') >= 3)
    by_event: dict[str, list[dict[str, Any]]] = {}
    for line in instance.lines:
        by_event.setdefault(line["event"], []).append(line)
    assert [line["status"] for line in by_event["request"]] == [502, 200, 400]
    assert [(line["outcome"], line["trigger"]) for line in by_event["flush"]] == [("failed", "window")]
    assert "HTTP 500" in by_event["coingecko failed"][0]["reason"]
    assert b"canary" not in instance.log
    assert ann.headers["Authorization"].removeprefix("Bearer ").encode() not in instance.log


async def test_each_wrong_setting_is_named_in_one_line_and_nothing_starts(given: dict[str, Any]) -> None:
    env = environment(given, jwt_secret="short", batch_window_ms="soon", port=-1)
    ended = await trio.run_process(
        [sys.executable, "-m", "cryptopulse", "serve"], env=env, capture_stderr=True, check=False
    )

    assert ended.returncode == 2
    told = ended.stderr.decode().splitlines()
    assert sorted(line.split(":")[0] for line in told) == ["BATCH_WINDOW_MS", "JWT_SECRET", "PORT"]
    assert "short" not in ended.stderr.decode()


async def test_without_migrations_it_says_so_once_and_serves_prices_but_no_history(
    start_process: StartProcess, client_for: ClientFor, postgres: LocalPostgres, sql: Sql
) -> None:
    sql(postgres.url, "CREATE DATABASE not_migrated")
    bare = urlsplit(postgres.url)._replace(path="/not_migrated").geturl()
    instance = await start_process(database_url=bare, batch_threshold=1)
    ann = await client_for(await instance.url())
    await until(lambda: b"cryptopulse migrate" in instance.log)
    answers = [await ann.get(path) for path in ("/v1/price/bitcoin", "/v1/price/bitcoin/history")]
    assert [answer.status_code for answer in answers] == [200, 503]
    [line] = [line for line in instance.lines if "cryptopulse migrate" in line["event"]]
    assert (line["level"], line["applied"]) == ("error", None)


async def test_of_a_migrated_database_it_says_nothing(start_process: StartProcess, client_for: ClientFor) -> None:
    instance = await start_process(batch_threshold=1)
    ann = await client_for(await instance.url())
    assert (await ann.get("/v1/price/bitcoin/history")).status_code == 200
    instance.process.terminate()
    assert await instance.process.wait() == 0
    assert b"cryptopulse migrate" not in instance.log
