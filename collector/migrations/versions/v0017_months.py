"""Sums of months by namespace. The tables are empty: the collector makes one month in each turn, the newest first."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of `schema_month`."""
    op.create_table(
        "namespace_month",
        *_sums(),
        _us("reserved_us", "held by a reservation"),
        sa.Column("memory_high", sa.BigInteger, comment="byte-seconds of memory / 2^20; NULL: unknown"),
        sa.Column("memory_low", sa.BigInteger, comment="the rest of each row summed, not below 0"),
        sa.Column("place_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("month_us", "place_id", name=op.f("pk_namespace_month")),
        comment="Sums of a month by namespace and model: made of namespace_day",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "summed_month",
        _us("month_us", "where the month begins"),
        _us("end_us", "where the next one does"),
        sa.PrimaryKeyConstraint("month_us", name=op.f("pk_summed_month")),
        comment="The months that namespace_month has: each that is over, while all of its days are sealed",
        sqlite_with_rowid=False,
    )


def _sums() -> list[sa.Column[Any]]:
    known = ("energy_idle_mj", "energy_dynamic_mj", "quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
    return [
        _us("month_us", "where the month begins"),
        _us("first_us", "the first ledger hour that it has time in"),
        _us("last_us", "the last one"),
        *map(_us, ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")),
        _us("hash", "a sum of the rows' fingerprints, 40 bits each"),
        *(
            sa.Column(name, sa.BigInteger, comment="microseconds; NULL: 0")
            for name in ("burst_us", "intruder_us", "gap_us")
        ),
        *(sa.Column(name, sa.BigInteger, comment="NULL: unknown") for name in known),
    ]


def _us(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)
