"""What agents say of their spools."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "spool_report",
        _number("node_id"),
        sa.Column("agent_id", sa.String, nullable=False, comment="one spool; a node whose spool was lost has another"),
        _number("refused_windows", "that it could not keep, since it was made"),
        _number("refused_us", "device time of these windows: it is unobserved"),
        _number("waiting_windows", "not yet committed when it said so"),
        _number("oldest_us", "start of the oldest that waits; 0: none"),
        _number("reported_us", "when it said so"),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_spool_report_node_id")),
        sa.PrimaryKeyConstraint("node_id", "agent_id", name=op.f("pk_spool_report")),
        comment="What agents say of their spools: nobody else could know what never arrived",
        sqlite_with_rowid=False,
    )


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)
