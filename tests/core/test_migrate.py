import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import asyncpg
import pytest
import trio
from alembic import command

from core.migrate import MigrationError, alembic_config, upgrade
from server.local import LocalPostgres

Sql = Callable[[str, str], list[Any]]

# Says that it has imported everything, and migrates when it is told.
PROGRAM = "import sys; from core.migrate import upgrade; print(flush=True); input(); upgrade(sys.argv[1])"
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'prices%'"
NEWEST = "0002"


@pytest.fixture
def empty_url(postgres: LocalPostgres, sql: Sql) -> Iterator[str]:
    """The URL of a database without our tables."""
    name = f"test_{uuid4().hex}"
    sql(postgres.url, f"CREATE DATABASE {name}")
    yield urlsplit(postgres.url)._replace(path=f"/{name}").geturl()
    sql(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def version_of(sql: Sql, url: str) -> list[str]:
    return [row["version_num"] for row in sql(url, "SELECT version_num FROM alembic_version")]


def test_an_empty_database_gets_a_partitioned_table_of_prices(empty_url: str, sql: Sql) -> None:
    upgrade(empty_url)
    (row,) = sql(empty_url, "SELECT pg_get_partkeydef('prices'::regclass) AS key")
    assert row["key"] == "RANGE (fetched_at)"
    assert version_of(sql, empty_url) == [NEWEST]


def test_calls_are_counted_once_a_month_and_never_below_nothing(empty_url: str, sql: Sql) -> None:
    upgrade(empty_url)
    sql(empty_url, "INSERT INTO upstream_calls VALUES ('2026-02-01', 0)")
    with pytest.raises(asyncpg.UniqueViolationError):
        sql(empty_url, "INSERT INTO upstream_calls VALUES ('2026-02-01', 1)")
    with pytest.raises(asyncpg.CheckViolationError):
        sql(empty_url, "INSERT INTO upstream_calls VALUES ('2026-03-01', -1)")


def test_an_upgrade_of_a_database_in_use_leaves_its_prices_alone(empty_url: str, sql: Sql) -> None:
    command.upgrade(alembic_config(empty_url), "0001")
    sql(empty_url, "SELECT ensure_prices_partition('2026-02-28T12:00Z')")
    sql(empty_url, f"INSERT INTO prices VALUES ('{uuid4()}', 'bitcoin', 'usd', 1.5, '2026-02-28T12:00Z')")
    upgrade(empty_url)
    assert sql(empty_url, "SELECT count(*) FROM prices")[0]["count"] == 1
    assert sql(empty_url, "SELECT count(*) FROM upstream_calls")[0]["count"] == 0


def test_a_second_upgrade_finds_nothing_to_do(empty_url: str, sql: Sql) -> None:
    upgrade(empty_url)
    sql(empty_url, "SELECT ensure_prices_partition('2026-02-28T12:00Z')")
    upgrade(empty_url)
    assert sql(empty_url, TABLES)[0]["count"] == 2


def test_processes_that_migrate_an_empty_database_at_once_migrate_it_once(empty_url: str, sql: Sql) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(migrating_process(empty_url)) for _ in range(5)]
        for process in processes:
            assert process.stdout
            process.stdout.readline()
        with ThreadPoolExecutor(5) as threads:
            outputs = list(threads.map(lambda process: process.communicate("\n"), processes))
    assert outputs == [("", "")] * 5
    assert version_of(sql, empty_url) == [NEWEST]


def migrating_process(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_downgrade_removes_everything_and_an_upgrade_brings_it_back(empty_url: str, sql: Sql) -> None:
    upgrade(empty_url)
    sql(empty_url, "SELECT ensure_prices_partition('2026-02-28T12:00Z')")
    command.downgrade(alembic_config(empty_url), "base")
    assert sql(empty_url, TABLES)[0]["count"] == 0
    assert sql(empty_url, "SELECT to_regclass('upstream_calls') AS left")[0]["left"] is None
    upgrade(empty_url)
    assert version_of(sql, empty_url) == [NEWEST]


def test_a_url_may_be_short_of_name_and_say_all_in_its_query(empty_url: str, sql: Sql) -> None:
    parts = urlsplit(empty_url)
    where = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    upgrade(f"postgres://{parts.path}?{urlencode(where)}")
    assert version_of(sql, empty_url) == [NEWEST]


def test_a_password_may_hold_any_characters(empty_url: str, sql: Sql) -> None:
    role = f"role_{uuid4().hex}"
    sql(empty_url, f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'p@ss/%:w?rd'")
    parts = urlsplit(empty_url)
    try:
        upgrade(f"postgresql://{role}:p%40ss%2F%25%3Aw%3Frd@{parts.hostname}:{parts.port}{parts.path}")
        assert version_of(sql, empty_url) == [NEWEST]
    finally:
        sql(empty_url, f"REASSIGN OWNED BY {role} TO postgres")
        sql(empty_url, f"DROP ROLE {role}")


async def test_it_may_run_in_a_thread_beside_an_asyncio_loop(empty_url: str, sql: Sql, asyncio_loop: object) -> None:
    await trio.to_thread.run_sync(upgrade, empty_url)
    assert version_of(sql, empty_url) == [NEWEST]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:secret@127.0.0.1:1/postgres",
        "postgresql://postgres:se/cret@127.0.0.1:1/postgres",
        "mysql://postgres:secret@127.0.0.1:1/postgres",
    ],
)
def test_a_database_that_cannot_be_reached_is_told_in_one_line_without_the_password(url: str) -> None:
    with pytest.raises(MigrationError) as caught:
        upgrade(url)
    assert len(str(caught.value).splitlines()) == 1
    assert "cret" not in str(caught.value)


def test_a_wrong_password_is_told_in_one_line(postgres: LocalPostgres) -> None:
    parts = urlsplit(postgres.url)
    with pytest.raises(MigrationError, match=r"password authentication failed[^\n]*$"):
        upgrade(f"postgresql://postgres:wrong@{parts.hostname}:{parts.port}/postgres")


def test_a_migration_that_fails_leaves_the_schema_as_it_was(empty_url: str, sql: Sql) -> None:
    sql(empty_url, "CREATE FUNCTION ensure_prices_partition(timestamptz) RETURNS void LANGUAGE sql AS ''")
    with pytest.raises(MigrationError, match=r'function "ensure_prices_partition" already exists[^\n]*$'):
        upgrade(empty_url)
    assert sql(empty_url, TABLES)[0]["count"] == 0


def test_a_version_from_the_future_is_told_in_one_line(empty_url: str, sql: Sql) -> None:
    upgrade(empty_url)
    sql(empty_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MigrationError, match="9999"):
        upgrade(empty_url)
