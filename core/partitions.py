"""The months of the prices table: made before their first price comes, dropped when nobody wants them any more.

nursery.start_soon(Partitions(postgres, retention_s=90 * 86_400).run)

Every instance looks, and one at a time does what there is to do. Months are reckoned by Postgres' clock. Writers need
none of it: they make a month that is missing themselves.
"""

from datetime import timedelta

import structlog
import trio
from asyncpg.pool import PoolConnectionProxy

from core.errors import HistoryUnavailable
from core.postgres import Postgres

_LOOK_EVERY_S = 3600
_LOOK_AGAIN_S = 60  # where Postgres was away, or busy
_DEADLINE_S = 10.0

# Whoever waits for a table's lock makes all wait who come after it. A bulk write takes some 10 ms, so one of these
# moments is soon free; else the next look finds one.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '200ms'"
_IS_OURS = "SELECT pg_try_advisory_xact_lock(hashtext('cryptopulse partitions'))"

# This month and two more, by UTC, whatever the time zone of the session.
_MAKE = """
    SELECT ensure_prices_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + ahead) AT TIME ZONE 'UTC')
    FROM unnest(ARRAY[interval '0', interval '1 month', interval '2 months']) AS ahead
"""

# By what a partition says of itself: nothing is dropped for its name. One without an upper bound never ends.
_OLD = r"""
    SELECT oid::regclass::text AS name
    FROM pg_inherits JOIN pg_class ON oid = inhrelid
    WHERE inhparent = 'prices'::regclass
        AND substring(pg_get_expr(relpartbound, oid) FROM 'TO \(''([^'']+)''\)')::timestamptz <= now() - $1::interval
    ORDER BY name
"""

_log = structlog.get_logger(__name__)


class Partitions:
    """Looks after the months; one an instance, all sharing the work."""

    def __init__(self, postgres: Postgres, *, retention_s: int | None) -> None:
        self._postgres = postgres
        self._retention = None if retention_s is None else timedelta(seconds=retention_s)

    async def run(self) -> None:
        """Look every hour until cancelled, and again after a minute if Postgres was away or too busy."""
        while True:
            try:
                await self.run_once()
            except HistoryUnavailable as error:
                _log.warning("partitions wait", reason=repr(error.__cause__))
                await trio.sleep(_LOOK_AGAIN_S)  # a timer, since Postgres tells nobody when it is back
            else:
                await trio.sleep(_LOOK_EVERY_S)  # a timer, for lack of news to wait for: time itself tells nobody

    async def run_once(self) -> None:
        """Make the coming months, and drop those of which every price is older than is to be kept.

        Raises HistoryUnavailable where Postgres is away, or somebody else held the table for too long; then some
        months may be dropped and others not.
        """
        await self._do_alone(_MAKE)
        if self._retention is not None:
            for row in await self._postgres.ask(_OLD, self._retention, deadline_s=_DEADLINE_S):
                # Another instance may just have been as far. The name comes quoted where it must be.
                if await self._do_alone(f"DROP TABLE IF EXISTS {row['name']}"):
                    _log.info("old prices dropped", partition=row["name"])

    async def _do_alone(self, statement: str) -> bool:
        """Do this in a transaction, unless another instance is at it; say whether it was done."""

        async def work(connection: PoolConnectionProxy) -> bool:
            async with connection.transaction():
                await connection.execute(_LOCK_TIMEOUT)
                ours: bool = await connection.fetchval(_IS_OURS)
                if ours:
                    await connection.execute(statement)
                return ours

        return await self._postgres.run(work, deadline_s=_DEADLINE_S)
