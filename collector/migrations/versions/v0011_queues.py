"""Queues: their quotas of GPUs, and which queues namespaces lead into."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of `schema_queue`."""
    key: tuple[str, ...] = ("cluster", "system", "queue", "uid", "resource", "flavor")
    op.create_table(
        "queue_quota",
        *(sa.Column(name, sa.String, nullable=False, comment=_COMMENTS.get(name)) for name in key),
        *_history(),
        sa.Column("cohort", sa.String, comment="whom it borrows from: Kueue's cohort, Volcano's parent; NULL nobody"),
        *_amounts(),
        sa.PrimaryKeyConstraint(*key, "valid_from_us", name=op.f("pk_queue_quota")),
        comment="Quotas of GPUs as they were",
        sqlite_with_rowid=False,
    )
    key = ("cluster", "namespace", "name", "uid")
    op.create_table(
        "local_queue",
        *(sa.Column(name, sa.String, nullable=False) for name in key),
        *_history(),
        sa.Column("cluster_queue", sa.String, nullable=False, comment="the ClusterQueue that it leads into"),
        sa.PrimaryKeyConstraint(*key, "valid_from_us", name=op.f("pk_local_queue")),
        comment="Kueue's LocalQueues as they were; of one name only one at a time",
        sqlite_with_rowid=False,
    )


def _history() -> list[sa.Column[Any]]:
    return [
        sa.Column("valid_from_us", sa.BigInteger, nullable=False),
        sa.Column("valid_to_us", sa.BigInteger, comment="NULL: it still holds"),
        sa.Column("resource_version", sa.BigInteger, nullable=False, comment="the API's version of the object"),
        sa.Column("recorded_us", sa.BigInteger, nullable=False, comment="when the collector learnt it"),
    ]


def _amounts() -> list[sa.Column[Any]]:
    return [
        sa.Column("nominal", sa.BigInteger, comment="Kueue's nominalQuota, Volcano's deserved; NULL unknown"),
        sa.Column("guaranteed", sa.BigInteger, comment="what it never lends; NULL: nothing is said of it"),
        sa.Column("most", sa.BigInteger, comment="what it may hold with all that it borrows; NULL: no limit"),
        sa.Column("reserved", sa.BigInteger, comment="what it held when it was last told; NULL unknown"),
        sa.Column("borrowed", sa.BigInteger, comment="the part of it above its quota, as Kueue tells it; NULL unknown"),
    ]


_COMMENTS = {
    "system": "kueue (a ClusterQueue) or volcano (a Queue)",
    "uid": "one made again under its name is another queue",
    "resource": "such as nvidia.com/gpu; only those of GPUs are kept",
    "flavor": "Kueue's ResourceFlavor; empty of Volcano",
}
