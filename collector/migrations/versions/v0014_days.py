"""Sums of postings by day. Days that are booked already are summed by the collector, one after the other."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_BASIS = "0 empty, 10 process, 20 reservation"
_REASON = (
    "0 empty, 10 claim-unused, 20 invalid-reading, 30 mig-remainder, 40 no-sample, 50 no-utilisation, 60 two-holders, "
    "70 unattributed"
)
_UNKNOWN = "NULL: unknown"


def upgrade() -> None:
    """Create the tables of `schema_day`."""
    _posting_day()
    op.create_table(
        "place",
        sa.Column("id", sa.Integer, primary_key=True),
        _text("cluster"),
        _text("kind", "pod, host or platform"),
        *map(_text, ("namespace", "model", "profile")),
        sa.UniqueConstraint(
            *("cluster", "kind", "namespace", "model", "profile"),
            name=op.f("uq_place_cluster_kind_namespace_model_profile"),
        ),
        comment="What rows of namespace_day are about",
    )
    op.create_table(
        "namespace_day",
        *_sums(),
        _us("reserved_us", "held by a reservation"),
        sa.Column("memory_high", sa.BigInteger, comment="byte-seconds of memory / 2^20; NULL: unknown"),
        sa.Column("memory_low", sa.BigInteger, comment="the rest of each row summed, not below 0"),
        sa.Column("node_id", sa.Integer, nullable=False, comment="0: all nodes together, of a day that is sealed"),
        sa.Column("place_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("day_us", "node_id", "place_id", name=op.f("pk_namespace_day")),
        comment="Sums of a day by namespace and model: made of posting_day, and anew whenever that changes",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "summed_day",
        _us("day_us", "where the day begins"),
        _us("end_us", "where the next one does"),
        sa.Column("sealed", sa.Integer, nullable=False, comment="1: namespace_day has it without nodes; 0: with them"),
        sa.PrimaryKeyConstraint("day_us", name=op.f("pk_summed_day")),
        comment="The days whose postings are summed; any other day is read from its postings",
        sqlite_with_rowid=False,
    )


def _posting_day() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    key = ("day_us", "node_id", "device_id", "partition", "owner_id", "basis", "reason", "profile")
    op.create_table(
        "posting_day",
        *_sums(),
        sa.Column("memory_byte_s", sa.BigInteger, comment=_UNKNOWN),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("node_id", "device_id", "owner_id")),
        sa.Column("basis", sa.SmallInteger, nullable=False, comment=f"why the owner is charged: {_BASIS}"),
        sa.Column(
            "reason", sa.SmallInteger, nullable=False, comment=f"why the time is unobserved or unallocated: {_REASON}"
        ),
        _text("partition", "gpu, replica, or a MIG instance's UUID"),
        _text("profile", "a MIG instance's, such as 1g.10gb"),
        *([sa.PrimaryKeyConstraint(*key, name=op.f("pk_posting_day"))] if sqlite else []),
        comment="Postings summed into a day; recomputed with them, never incremented",
        sqlite_with_rowid=False,
    )
    if not sqlite:
        op.create_index("ix_posting_day_day_us_node_id", "posting_day", ["day_us", "node_id"])


def _sums() -> list[sa.Column[Any]]:
    energies = ("energy_idle_mj", "energy_dynamic_mj", "quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
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
        *(sa.Column(name, sa.BigInteger, comment=_UNKNOWN) for name in energies),
    ]


def _us(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False, comment=comment)
