"""Whether the database has the tables that this release needs.

    schema = look(database_url)         # blocking: call it in a thread; raises DatabaseAway within some 4 s
    schema.is_current                   # False: `cryptopulse migrate`

Apart from core/migrate.py, so that a server that only looks loads none of what migrates.
"""

import asyncio
from pathlib import Path

import asyncpg
import msgspec

from core.postgres_connect import AWAY, connect

_CONNECT_S = 3.0
_ANSWER_S = 1.0
_APPLIED = "SELECT version_num FROM alembic_version"


class DatabaseAway(Exception):
    """Postgres did not answer, or refused; str() says why, in one line that names no password."""


class Schema(msgspec.Struct, frozen=True):
    """A database, as far as it was prepared for us."""

    server: str  # Postgres' version
    applied: str | None  # the latest migration; None before the first
    newest: str

    @property
    def is_current(self) -> bool:
        """Whether all is there; what a newer release added does no harm."""
        return self.applied is not None and self.applied >= self.newest


def newest() -> str:
    """The latest migration that this release has."""
    return max(path.name.partition("_")[0] for path in Path(__file__).with_name("migrations").glob("versions/0*.py"))


def look(database_url: str) -> Schema:
    """Ask Postgres what was applied."""
    # A plain loop by name, since trio-asyncio makes its own the default wherever it was imported.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        try:
            return runner.run(_look(database_url))
        except TimeoutError as error:
            raise DatabaseAway("no answer in time") from error
        except AWAY as error:
            raise DatabaseAway(next(iter(str(error).splitlines()), "") or type(error).__name__) from error
        except ValueError as error:
            # asyncpg names the part that it could not read, which may be a piece of the password.
            raise DatabaseAway("DATABASE_URL cannot be read") from error


async def _look(database_url: str) -> Schema:
    settings = {"application_name": "cryptopulse look"}
    connection = await connect(database_url, timeout=_CONNECT_S, server_settings=settings)
    try:
        server = await connection.fetchval("SHOW server_version", timeout=_ANSWER_S)
        try:
            applied = await connection.fetchval(_APPLIED, timeout=_ANSWER_S)
        except asyncpg.UndefinedTableError:
            applied = None
    finally:
        connection.terminate()
    return Schema(server, applied, newest())
