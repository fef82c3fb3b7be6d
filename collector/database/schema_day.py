"""Sums of postings by day, so that a question about months reads days: kept by whoever recomputes postings.

A day is one of the billing time zone: whole ledger hours. Which sums of a day are true stands in `summed_day`; a day
that has no row there is read from its postings. Columns stand by their width, as in `schema`.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, String, Table, UniqueConstraint

from gputally.collector.database.coded import BASIS, REASON
from gputally.collector.database.schema_waste import metadata

__all__ = ["AMOUNTS", "MEMORY", "metadata", "namespace_day", "place", "posting_day", "summed_day"]

_STATES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")
_MEMOS = ("burst_us", "intruder_us", "gap_us")
_ENERGIES = ("energy_idle_mj", "energy_dynamic_mj")
_QUALITY = ("quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")

# What sums are made of, besides memory, which a fleet has more of than a column holds.
AMOUNTS = (*_STATES, *_MEMOS, *_ENERGIES, *_QUALITY)
MEMORY = "memory_byte_s"


def _edges() -> list[Column[int]]:
    return [
        Column("first_us", BigInteger, nullable=False, comment="the first ledger hour that it has time in"),
        Column("last_us", BigInteger, nullable=False, comment="the last one"),
    ]


def _states() -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False) for name in _STATES]


def _known() -> list[Column[int]]:
    """What may be unknown, or is nearly always 0: NULL takes no room."""
    memos = [Column(name, BigInteger, comment="microseconds; NULL: 0") for name in _MEMOS]
    return memos + [Column(name, BigInteger, comment="NULL: unknown") for name in (*_ENERGIES, *_QUALITY)]


def _hash() -> Column[int]:
    return Column("hash", BigInteger, nullable=False, comment="a sum of the rows' fingerprints, 40 bits each")


posting_day = Table(
    "posting_day",
    metadata,
    Column("day_us", BigInteger, nullable=False, comment="where the day begins"),
    *_edges(),
    *_states(),
    _hash(),
    *_known(),
    Column(MEMORY, BigInteger, comment="NULL: unknown"),
    Column("node_id", Integer, nullable=False),
    Column("device_id", Integer, nullable=False),
    Column("owner_id", Integer, nullable=False),
    Column("basis", BASIS, nullable=False, comment=f"why the owner is charged: {BASIS.legend}"),
    Column("reason", REASON, nullable=False, comment=f"why the time is unobserved or unallocated: {REASON.legend}"),
    Column("partition", String, nullable=False, comment="gpu, replica, or a MIG instance's UUID"),
    Column("profile", String, nullable=False, comment="a MIG instance's, such as 1g.10gb"),
    PrimaryKeyConstraint(
        *("day_us", "node_id", "device_id", "partition", "owner_id", "basis", "reason", "profile")
    ).ddl_if(dialect="sqlite"),
    comment="Postings summed into a day; recomputed with them, never incremented",
    sqlite_with_rowid=False,
)
Index("ix_posting_day_day_us_node_id", posting_day.c.day_us, posting_day.c.node_id).ddl_if(dialect="postgresql")

place = Table(
    "place",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("cluster", String, nullable=False),
    Column("kind", String, nullable=False, comment="pod, host or platform"),
    Column("namespace", String, nullable=False),
    Column("model", String, nullable=False),
    Column("profile", String, nullable=False),
    UniqueConstraint("cluster", "kind", "namespace", "model", "profile"),
    comment="What rows of namespace_day are about",
)

namespace_day = Table(
    "namespace_day",
    metadata,
    Column("day_us", BigInteger, primary_key=True, comment="where the day begins"),
    *_edges(),
    *_states(),
    _hash(),
    *_known(),
    Column("reserved_us", BigInteger, nullable=False, comment="held by a reservation"),
    Column("memory_high", BigInteger, comment="byte-seconds of memory / 2^20; NULL: unknown"),
    Column("memory_low", BigInteger, comment="the rest of each row summed, not below 0"),
    Column("place_id", Integer, primary_key=True),
    comment="Sums of a sealed day by namespace and model: made of posting_day",
    sqlite_with_rowid=False,
)

summed_day = Table(
    "summed_day",
    metadata,
    Column("day_us", BigInteger, primary_key=True, comment="where the day begins"),
    Column("end_us", BigInteger, nullable=False, comment="where the next one does"),
    Column("sealed", Integer, nullable=False, comment="1: namespace_day has it; 0: only posting_day"),
    comment="The days whose postings are summed; any other day is read from its postings",
    sqlite_with_rowid=False,
)
