"""What Alembic runs before each migration; core/migrate.py is the way in."""

import asyncio

import asyncpg
from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

_CONNECT_S = 10
# Long enough for another process to apply everything, and for readers to finish; then somebody should look at it.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '60s'"
# Held to the end of the transaction: whoever comes second reads the version that the first has written.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('cryptopulse migrate'))"


async def _connect_and_migrate(database_url: str) -> None:
    async def connect() -> asyncpg.Connection:
        settings = {"application_name": "cryptopulse migrate"}
        return await asyncpg.connect(database_url, timeout=_CONNECT_S, server_settings=settings)

    # asyncpg reads the URL itself, so migrations and history understand it alike, query arguments and all.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection)
    with context.begin_transaction():
        connection.execute(text(_LOCK_TIMEOUT))
        connection.execute(text(_LOCK))
        context.run_migrations()


def _run() -> None:
    # A plain loop by name, since trio-asyncio makes its own the default wherever it was imported.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_connect_and_migrate(context.config.attributes["database_url"]))


_run()
