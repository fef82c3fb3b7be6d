"""Sums by namespace of sealed days only. The collector seals again what was sealed, one day after the other."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make `namespace_day` anew, without nodes and empty."""
    op.execute("UPDATE summed_day SET sealed = 0")
    op.drop_table("namespace_day")
    op.create_table(
        "namespace_day",
        *_sums(),
        _us("reserved_us", "held by a reservation"),
        sa.Column("memory_high", sa.BigInteger, comment="byte-seconds of memory / 2^20; NULL: unknown"),
        sa.Column("memory_low", sa.BigInteger, comment="the rest of each row summed, not below 0"),
        sa.Column("place_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("day_us", "place_id", name=op.f("pk_namespace_day")),
        comment="Sums of a sealed day by namespace and model: made of posting_day",
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name != "sqlite":  # which has no comments
        op.alter_column("summed_day", "sealed", comment="1: namespace_day has it; 0: only posting_day")


def _sums() -> list[sa.Column[Any]]:
    known = ("energy_idle_mj", "energy_dynamic_mj", "quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
    return [
        _us("day_us", "where the day begins"),
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
