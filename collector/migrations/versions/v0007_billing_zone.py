"""The billing time zone that a ledger is booked in."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it, unknown until a collector starts: what was booked before does not say."""
    op.add_column(
        "ledger_state",
        sa.Column("zone", sa.String, comment="the billing time zone; NULL: no collector has started yet"),
    )
