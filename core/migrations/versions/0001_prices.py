"""The prices, partitioned by month of fetch."""

from alembic import op

revision = "0001"
down_revision = None

# A primary key of a partitioned table must hold the partition key. A batch may be fetched again after a takeover,
# which is another price then, at another time.
_TABLE = """
    CREATE TABLE prices (
        batch_id uuid NOT NULL,
        coin_id text NOT NULL CHECK (coin_id ~ '^[a-z0-9-]{1,128}$'),
        vs_currency text NOT NULL CHECK (char_length(vs_currency) BETWEEN 1 AND 16),
        price numeric NOT NULL CHECK (price >= 0 AND price < 'Infinity'),
        fetched_at timestamptz(3) NOT NULL,
        PRIMARY KEY (batch_id, vs_currency, fetched_at)
    ) PARTITION BY RANGE (fetched_at)
"""

_INDEX = "CREATE INDEX prices_by_coin ON prices (coin_id, vs_currency, fetched_at DESC)"

# Made apart and then attached: CREATE TABLE … PARTITION OF would lock readers of the whole table out. The lock is the
# one that attaching takes anyway; taken first, and always, it lets a session see what another has just made, which an
# advisory lock would not: only a table's lock makes a session read the catalogue anew. A look before the lock could
# find a partition that the insert which follows does not know yet.
# The month is reckoned in UTC, whatever the time zone of the session.
_ENSURE_PARTITION = """
    CREATE FUNCTION ensure_prices_partition(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        month timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
        partition text := 'prices_' || to_char(month, 'YYYY_MM');
    BEGIN
        LOCK TABLE prices IN SHARE UPDATE EXCLUSIVE MODE;
        IF to_regclass(partition) IS NOT NULL THEN
            RETURN;
        END IF;
        EXECUTE format('CREATE TABLE %I (LIKE prices INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
        EXECUTE format(
            'ALTER TABLE prices ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC'
        );
    END
    $$
"""


def upgrade() -> None:
    """Make the table, its index, and the function that makes a month's partition unless there is one."""
    for statement in (_TABLE, _INDEX, _ENSURE_PARTITION):
        op.execute(statement)


def downgrade() -> None:
    """Remove all of it, with every price."""
    op.execute("DROP FUNCTION ensure_prices_partition(timestamptz)")
    op.execute("DROP TABLE prices")
