"""The way to Postgres: a few connections, borrowed for one piece of work at a time.

async with trio_asyncio.open_loop(), open_postgres(database_url) as postgres:
    rows = await postgres.ask("SELECT …", argument, deadline_s=3)

Postgres may be away at any time, at the start too. A piece of work is one asyncio coroutine from borrowing a connection
to giving it back: were they two, a cancel between them would take the connection from the pool for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg
import trio
from asyncpg.pool import PoolConnectionProxy
from trio_asyncio import aio_as_trio

from core.errors import HistoryUnavailable
from core.postgres_connect import AWAY, connect

_AWAY = (*AWAY, trio.TooSlowError)

_CLOSE_S = 0.3

# One bulk write and some readers at a time; Postgres allows 100 connections by default, for all instances together.
_MAX_CONNECTIONS = 5

_T = TypeVar("_T")


@asynccontextmanager
async def open_postgres(database_url: str) -> AsyncIterator["Postgres"]:
    """Open the way to this database inside an open trio_asyncio loop; Postgres need not be up.

    Takes `postgres://` and `postgresql://`, with query arguments. Closes within 0.3 s, also when cancelled.
    """
    pool = await aio_as_trio(_open_pool)(database_url)
    try:
        yield Postgres(pool)
    finally:
        with trio.move_on_after(_CLOSE_S, shield=True), suppress(*_AWAY):
            await aio_as_trio(pool.close)()
        pool.terminate()


async def _open_pool(database_url: str) -> asyncpg.Pool:
    _forgive_orphans(asyncio.get_running_loop())
    # No connection is made before somebody asks.
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=_MAX_CONNECTIONS,
        connect=connect,
        server_settings={"application_name": "cryptopulse"},
    )


def _forgive_orphans(loop: asyncio.AbstractEventLoop) -> None:
    """Let no connection that broke after its caller had left end the program.

    A connect that is cancelled in the wrong moment leaves a future with an error that nobody awaits. asyncio would
    log that; trio-asyncio raises it out of `open_loop()`.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), _AWAY):
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


class Postgres:
    """The connections; any number of tasks may call its methods at a time."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ask(self, text: str, *arguments: object, deadline_s: float) -> list[asyncpg.Record]:
        """The rows that one statement gives, or HistoryUnavailable within the deadline."""

        async def fetch(connection: PoolConnectionProxy) -> list[asyncpg.Record]:
            return await connection.fetch(text, *arguments)

        return await self.run(fetch, deadline_s=deadline_s)

    async def run(self, work: Callable[[PoolConnectionProxy], Awaitable[_T]], *, deadline_s: float) -> _T:
        """What an asyncio coroutine makes of one connection, or HistoryUnavailable within the deadline."""
        # Giving back, which may have to cancel a query over the network, is bounded by this timeout as well.
        timeout_s = deadline_s / 3

        async def borrow_work_give_back() -> _T:
            async with self._pool.acquire(timeout=timeout_s) as connection:
                return await work(connection)

        try:
            with trio.fail_after(deadline_s - timeout_s):
                result: _T = await aio_as_trio(borrow_work_give_back)()
        except _AWAY as error:
            raise HistoryUnavailable from error
        return result
