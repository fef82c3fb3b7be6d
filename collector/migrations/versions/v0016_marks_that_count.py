"""Marks say how often they were set, gaps are found by their device, and rows that change each minute stay in place."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Of PostgreSQL's pages so much is filled with new rows: a row that changes has its next version in the same page, and
# its key in the index stays. These change with each window, or each time that an hour is recomputed.
_FILLED = {"gap": 50, "tenure": 50, "dirty_hour": 50}


def upgrade() -> None:
    """Marks that wait were set once; tables that are full get room as they are vacuumed."""
    op.add_column(
        "dirty_hour",
        sa.Column(
            "changes", sa.BigInteger, nullable=False, server_default="1", comment="how often it was marked since"
        ),
    )
    op.create_index("ix_gap_device_id", "gap", ["device_id"])
    if op.get_bind().dialect.name != "sqlite":
        for table, percent in _FILLED.items():
            op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")
