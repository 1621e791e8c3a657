"""Whether a database is migrated, as a real Postgres tells it."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from alembic.script import ScriptDirectory

from core import schema
from core.migrate import alembic_config
from core.schema import DatabaseAway, look
from server.local import LocalPostgres

Sql = Callable[[str, str], list[Any]]


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
