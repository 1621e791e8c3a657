"""How many upstream calls each month has seen, for a Redis that has lost its count."""

from alembic import op

revision = "0002"
down_revision = "0001"

_TABLE = """
    CREATE TABLE upstream_calls (
        month date PRIMARY KEY,
        calls bigint NOT NULL CHECK (calls >= 0)
    )
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_TABLE)


def downgrade() -> None:
    """Remove it, with every count."""
    op.execute("DROP TABLE upstream_calls")
