"""Brings the database schema up to date.

upgrade(database_url)       # raises MigrationError, one plain line

Blocking, and with an asyncio loop of its own: call it before anything else runs, or in a thread, once a process.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from core.postgres_connect import AWAY

_MIGRATIONS = Path(__file__).with_name("migrations")


class MigrationError(Exception):
    """The schema is not up to date; str() is one line that says why."""


def upgrade(database_url: str) -> None:
    """Apply what is missing, or raise MigrationError and leave the schema as it was.

    Several processes may do so at once: one applies, the others wait for it and find nothing to do.
    """
    try:
        command.upgrade(alembic_config(database_url), "head")
    except (*AWAY, SQLAlchemyError, CommandError) as error:
        to_do = ": check DATABASE_URL, and that Postgres runs there" if isinstance(error, OSError) else ""
        raise MigrationError(f"The database could not be migrated: {_first_line_of(error)}{to_do}") from error
    except ValueError as error:
        # asyncpg names the part that it could not read, which may be a piece of the password.
        raise MigrationError("The database could not be migrated: DATABASE_URL cannot be read.") from error


def alembic_config(database_url: str) -> Config:
    """Tell Alembic where the migrations are, and the migrations where the database is."""
    config = Config(attributes={"database_url": database_url})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _first_line_of(error: Exception) -> str:
    # SQLAlchemy's own words go on with the statement and its arguments; the driver's say what happened.
    cause = getattr(error, "orig", None) or error
    return next(iter(str(cause).splitlines()), "") or type(cause).__name__
