"""Whether a database is migrated, as a real Postgres tells it."""

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio_asyncio
from alembic.script import ScriptDirectory

from core import schema
from core.errors import HistoryUnavailable
from core.migrate import alembic_config
from core.postgres import open_postgres
from core.schema import DatabaseAway, look
from server.local import LocalPostgres

Sql = Callable[[str, str], list[Any]]

BROKEN_OFF = b"R\0\0\0\4"  # a demand for a password that ends before it says which
READY_WITHOUT_A_VERSION = b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\5I"


@contextmanager
def answering(words: bytes) -> Iterator[str]:
    """The URL of what says so to the first that greets it, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(4096)
                connection.sendall(words)

        thread = Thread(target=answer)
        thread.start()
        yield f"postgresql://ann:canary@127.0.0.1:{listener.getsockname()[1]}/x?sslmode=disable"
        thread.join()


def test_the_newest_migration_is_the_one_that_migrate_ends_with() -> None:
    assert schema.newest() == ScriptDirectory.from_config(alembic_config("")).get_current_head()


def test_a_migrated_database_is_current(migrated_url: str) -> None:
    found = look(migrated_url)
    assert (found.applied, found.is_current) == (schema.newest(), True)
    assert found.server.startswith("18")


def test_a_database_without_tables_is_not(postgres: LocalPostgres, sql: Sql) -> None:
    sql(postgres.url, "CREATE DATABASE bare")
    found = look(urlsplit(postgres.url)._replace(path="/bare").geturl())
    assert (found.applied, found.is_current) == (None, False)


def test_what_a_newer_release_applied_is_current_too() -> None:
    assert schema.Schema("18", applied="9999", newest="0002").is_current
    assert not schema.Schema("18", applied="0001", newest="0002").is_current


@pytest.mark.parametrize("url", ["postgresql://ann:canary@127.0.0.1:1/none", "postgresql://ann@127.0.0.1:canary/x"])
def test_a_database_that_cannot_be_asked_is_told_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseAway) as caught:
        look(url)
    assert str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("words", [b"", BROKEN_OFF, READY_WITHOUT_A_VERSION])
def test_a_server_that_breaks_off_or_is_no_postgres_is_away(words: bytes) -> None:
    with answering(words) as url, pytest.raises(DatabaseAway) as caught:
        look(url)
    assert str(caught.value)
    assert "canary" not in str(caught.value)


# A connection of asyncpg's that never came to be complains in the end, of itself and of its socket.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("words", [BROKEN_OFF, READY_WITHOUT_A_VERSION])
async def test_it_is_away_for_who_needs_the_history_too(words: bytes) -> None:
    with answering(words) as url:
        async with trio_asyncio.open_loop(), open_postgres(url) as postgres:
            with pytest.raises(HistoryUnavailable):
                await postgres.ask("SELECT 1", deadline_s=5)
    gc.collect()  # or else it does so in the midst of another test
