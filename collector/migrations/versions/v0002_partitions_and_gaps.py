"""Partitions with profiles, memory and quality of a line, and what gaps are booked by."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MEMOS = {
    "memory_byte_s": "memory that the owner's processes held, byte-seconds; NULL unknown",
    "quality_us": "time that GPM measured, microseconds; NULL: none of it",
    "sm_us": "SM activity times time, microseconds; NULL unknown",
    "occupancy_us": "SM occupancy times time, microseconds; NULL unknown",
    "tensor_us": "activity of the tensor cores times time, microseconds; NULL unknown",
    "dram_us": "use of the memory's bandwidth times time, microseconds; NULL unknown",
}
_KEY = ["hour_us", "node_id", "device_id", "partition", "owner_id", "basis", "reason", "profile"]


def upgrade() -> None:
    """Add the columns; a posting's key grows by its profile."""
    for edge in _edges():
        op.add_column("window_device", edge)
    for of_line in (_profile(), *_memos()):
        op.add_column("line", of_line)
    # SQLite can change a key only by making the table anew, which is what a batch does there.
    with op.batch_alter_table("posting", table_kwargs={"sqlite_with_rowid": False}) as posting:
        for of_posting in (_profile(), *_memos(), _gap()):
            posting.add_column(of_posting)
        posting.drop_constraint("pk_posting", type_="primary")
        posting.create_primary_key("pk_posting", _KEY)


def _edges() -> list[sa.Column[Any]]:
    end = "who held it at the end: JSON [[owner_id, partition, profile, numerator, denominator]]; NULL nobody"
    return [
        sa.Column("holders_start", sa.String, comment="who held it at the start: JSON, as holders_end; NULL nobody"),
        sa.Column("holders_end", sa.String, comment=end),
        sa.Column("unavailable_end", sa.Integer, nullable=False, server_default="0", comment="1: unusable at the end"),
        sa.Column(
            "idle_power_mw",
            sa.BigInteger,
            comment="the lowest power seen with no process, milliwatts; NULL unknown",
        ),
        sa.Column(
            "ghost_memory_byte_s", sa.BigInteger, comment="memory of processes that no longer exist, byte-seconds"
        ),
    ]


def _profile() -> sa.Column[Any]:
    return sa.Column(
        "profile", sa.String, nullable=False, server_default="", comment="a MIG instance's, such as 1g.10gb"
    )


def _memos() -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.BigInteger, comment=text) for name, text in _MEMOS.items()]


def _gap() -> sa.Column[Any]:
    return sa.Column(
        "gap_us",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="the part of its unobserved or unavailable time that no window covers, microseconds",
    )
