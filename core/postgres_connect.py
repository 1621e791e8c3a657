"""How to reach Postgres, and what asyncpg raises when it cannot be reached or used.

Apart from core/postgres.py, so that who only looks loads no pool.
"""

from typing import Any

import asyncpg
from asyncpg.exceptions import InternalClientError

# Away, restarting, overloaded, broken off in mid-sentence, or without our tables: asyncpg says each in its own words.
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, InternalClientError)


async def connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
    """What `asyncpg.connect` does, and nothing but AWAY of a server that does not speak as Postgres does."""
    try:
        return await asyncpg.connect(*arguments, **options)
    except AttributeError as error:
        # asyncpg asks for the version without a look whether the server told it.
        raise ConnectionError("it does not answer as Postgres does") from error
