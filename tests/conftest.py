"""Real servers for the tests that need them: started once a session, emptied before each test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
import redis
import structlog
import trio_asyncio

from core import migrate
from server.local import LocalPostgres, LocalValkey, running_postgres, running_valkey

# structlog's own way to show an error, with every local variable in a box, takes seconds of a test's event loop.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso"),
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback, colors=False),
    ]
)

Sql = Callable[[str, str], list[asyncpg.Record]]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalValkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    with running_postgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture
def redis_url(valkey: LocalValkey) -> str:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture(scope="session")
def migrated_url(postgres: LocalPostgres) -> str:
    migrate.upgrade(postgres.url)
    return postgres.url


@pytest.fixture
def database_url(migrated_url: str, sql: Sql) -> str:
    sql(migrated_url, "TRUNCATE prices, upstream_calls")
    return migrated_url


@pytest.fixture
async def asyncio_loop() -> AsyncIterator[asyncio.AbstractEventLoop]:
    async with trio_asyncio.open_loop() as loop:
        yield loop


@pytest.fixture(scope="session")
def sql() -> Iterator[Sql]:
    """Runs one statement on a database, as an operator would; blocks, also in the midst of an async test."""

    async def run(database_url: str, statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    def run_in_plain_loop(database_url: str, statement: str) -> list[asyncpg.Record]:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(run(database_url, statement))

    with ThreadPoolExecutor(1) as thread:
        yield lambda database_url, statement: thread.submit(run_in_plain_loop, database_url, statement).result()
