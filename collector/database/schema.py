"""The tables, and through their comments the data dictionary. Times are microseconds since the epoch or of a state.

Lines are what agents sent, kept for 14 days; postings are derived from them and recomputed per (hour, node).
No index but the keys stands on the hot path: a line is found through its window, a window through its node and start.
Columns stand by their width, 8 bytes before 4 before 2 before texts, so that PostgreSQL pads nothing.

PostgreSQL keeps no key of lines and postings, which would take as much room as the rows; it has an index of what they
are found by. Whoever writes them makes each key once: lines of a window that is new in the transaction, postings of an
hour whose mark it has locked.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

from gputally.collector.database.coded import BASIS, REASON, SOURCE, Coded
from gputally.collector.database.seldom import Seldom

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives ids by itself only to INTEGER keys.
_ID = BigInteger().with_variant(Integer, "sqlite")


_STATES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")
# Memos that are nearly always 0, and always known.
SELDOM = ("burst_us", "intruder_us", "held_us")
_ENERGIES = ("energy_idle_mj", "energy_dynamic_mj")

# The columns that totals are made of.
AMOUNTS = (*_STATES, *SELDOM, *_ENERGIES)

# What a line and a posting have besides, each of them NULL where it is unknown. Totals leave them out: a fleet's
# byte-seconds would not fit a column for long.
_QUALITY = ("quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
MEMOS = ("memory_byte_s", *_QUALITY)
_COMMENTS = {
    **{name: f"{name.removesuffix('_us')}, microseconds" for name in _STATES},
    **{name: f"{name.removesuffix('_us')}, microseconds; NULL: 0" for name in SELDOM},
    "energy_idle_mj": "energy it would have drawn idle, millijoules; NULL unknown",
    "energy_dynamic_mj": "the rest of its energy, millijoules; NULL unknown",
    "memory_byte_s": "memory that the owner's processes held, byte-seconds; NULL unknown",
    "quality_us": "time that GPM measured, microseconds; NULL: none of it",
    "sm_us": "SM activity times time, microseconds; NULL unknown",
    "occupancy_us": "SM occupancy times time, microseconds; NULL unknown",
    "tensor_us": "activity of the tensor cores times time, microseconds; NULL unknown",
    "dram_us": "use of the memory's bandwidth times time, microseconds; NULL unknown",
}


def _counts(
    names: tuple[str, ...], kind: type[BigInteger | Integer | Seldom], *, nullable: bool = True
) -> list[Column[int]]:
    return [Column(name, kind, nullable=nullable, comment=_COMMENTS[name]) for name in names]


def _totals() -> list[Column[int]]:
    """The columns of AMOUNTS where their sums stand."""
    times = (*_STATES, *SELDOM)
    known = [Column(name, BigInteger, nullable=False, comment=_COMMENTS[name].partition(";")[0]) for name in times]
    return known + _counts(_ENERGIES, BigInteger)


def _word(name: str, kind: Coded, comment: str) -> Column[str]:
    return Column(name, kind, nullable=False, comment=f"{comment}: {kind.legend}")


def _texts() -> list[Column[str]]:
    """The texts of a line, after all that has a width."""
    profile = "a MIG instance's, such as 1g.10gb"
    return [
        Column("partition", String, nullable=False, comment="gpu, replica, or a MIG instance's UUID"),
        Column("profile", String, nullable=False, server_default="", comment=profile),
    ]


def _points(*tables: str) -> list[ForeignKeyConstraint]:
    """Where ids of a large table point. The database does not look whether they do, which would take it longer than
    to write the rows: they are found or made in the same transaction, and of these tables nothing is removed."""
    return [
        ForeignKeyConstraint([f"{table}_id"], [f"{table}.id"]).ddl_if(callable_=lambda *_, **__: False)
        for table in tables
    ]


def _key(*columns: str) -> PrimaryKeyConstraint:
    """The key of a large table; SQLite keeps the rows by it, PostgreSQL does not know it."""
    return PrimaryKeyConstraint(*columns).ddl_if(dialect="sqlite")


node = Table(
    "node",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("cluster", String, nullable=False),
    Column("name", String, nullable=False),
    UniqueConstraint("cluster", "name"),
    comment="A node of a cluster, made when its first window arrives",
)

device = Table(
    "device",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uuid", String, nullable=False, comment="NVML's UUID: the identity of a device"),
    Column("model", String, nullable=False, comment="NVML's product name"),
    UniqueConstraint("uuid", "model"),
    comment="One physical GPU",
)

owner = Table(
    "owner",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False, comment="pod, host or platform"),
    Column("namespace", String, nullable=False),
    Column("pod", String, nullable=False),
    Column("container", String, nullable=False),
    Column("pod_uid", String, nullable=False, comment="empty while the agent could not know it"),
    Column(
        "first_seen_us",
        BigInteger,
        nullable=False,
        comment="keeps pods of one name apart while the UID is empty",
    ),
    Column("user", String, nullable=False, comment="host: login name"),
    Column("unit", String, nullable=False, comment="host: systemd unit"),
    UniqueConstraint(
        "kind",
        "namespace",
        "pod",
        "container",
        "pod_uid",
        "first_seen_us",
        "user",
        "unit",
        name="uq_owner_key",  # the convention's name would be longer than PostgreSQL's 63 characters
    ),
    comment="Who time is charged to",
)

window = Table(
    "window",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("node_id", BigInteger, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("content_hash", LargeBinary, nullable=False, comment="SHA-256 of the message as received"),
    Column("agent_id", String, nullable=False),
    Column("boot_id", String, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("skipped_us", BigInteger, nullable=False, comment="wall time that a forward clock step skipped"),
    Column("waited_us", BigInteger, nullable=False, comment="time uncounted after the clock was set back"),
    Column("accepted_us", BigInteger, nullable=False, comment="when it was committed"),
    UniqueConstraint("node_id", "start_us"),
    *_points("node"),
    comment="A window is accepted once and whole",
)

window_device = Table(
    "window_device",
    metadata,
    Column("window_id", BigInteger, primary_key=True),
    Column("device_id", BigInteger, primary_key=True),
    Column("capacity_us", BigInteger, nullable=False),
    Column("energy_start_mj", BigInteger, comment="counter at the window's start"),
    Column("energy_end_mj", BigInteger, comment="counter at the window's end"),
    Column("energy_estimated", Integer, nullable=False, comment="1: the integral of power, not a counter"),
    Column("energy_breaks", Integer, nullable=False, comment="restarts of the counter and stretches without it"),
    Column("holders_start", String, comment="who held it at the start: JSON, as holders_end; NULL nobody"),
    Column(
        "holders_end",
        String,
        comment="who held it at the end: JSON [[owner_id, partition, profile, numerator, denominator]]; NULL nobody",
    ),
    Column("unavailable_end", Integer, nullable=False, server_default="0", comment="1: unusable at the end"),
    Column("idle_power_mw", BigInteger, comment="the lowest power seen with no process, milliwatts; NULL unknown"),
    Column("ghost_memory_byte_s", BigInteger, comment="memory of processes that no longer exist, byte-seconds"),
    *_points("window", "device"),
    comment="A device's part of a window",
    sqlite_with_rowid=False,
)

line = Table(
    "line",
    metadata,
    Column("window_id", BigInteger, nullable=False),
    Column("position", Integer, nullable=False, comment="row of the window"),
    Column("device_id", Integer, nullable=False),
    Column("owner_id", Integer, nullable=False),
    *_counts(_STATES, Integer, nullable=False),  # no window is longer than a minute
    *_counts((*_ENERGIES, "memory_byte_s"), BigInteger),
    *_counts(SELDOM, Seldom),
    *_counts(_QUALITY, Integer),
    _word("basis", BASIS, "why the owner is charged"),
    _word("reason", REASON, "why the time is unobserved or unallocated"),
    _word("source", SOURCE, "how busy time was measured"),
    *_texts(),
    _key("window_id", "position"),
    *_points("window", "device", "owner"),
    comment="One row of a window, as the agent sent it",
    sqlite_with_rowid=False,
)
Index("ix_line_window_id", line.c.window_id).ddl_if(dialect="postgresql")

posting = Table(
    "posting",
    metadata,
    Column("hour_us", BigInteger, nullable=False, comment="UTC start of the ledger hour"),
    Column("node_id", Integer, nullable=False),
    Column("device_id", Integer, nullable=False),
    Column("owner_id", Integer, nullable=False),
    _word("basis", BASIS, "why the owner is charged"),
    _word("reason", REASON, "why the time is unobserved or unallocated"),
    *_counts(_STATES, BigInteger, nullable=False),
    *_counts((*_ENERGIES, "memory_byte_s"), BigInteger),
    *_counts(SELDOM, Seldom),
    Column(
        "gap_us",
        Seldom,
        comment="the part of its unobserved or unavailable time that no window covers, microseconds; NULL: 0",
    ),
    *_counts(_QUALITY, BigInteger),
    _word("source", SOURCE, "the least certain of the lines' sources"),
    *_texts(),
    _key("hour_us", "node_id", "device_id", "partition", "owner_id", "basis", "reason", "profile"),
    *_points("node", "device", "owner"),
    comment="Lines summed into a ledger hour; recomputed, never incremented",
    sqlite_with_rowid=False,
)
Index("ix_posting_hour_us_node_id", posting.c.hour_us, posting.c.node_id).ddl_if(dialect="postgresql")

dirty_hour = Table(
    "dirty_hour",
    metadata,
    Column("hour_us", BigInteger, primary_key=True),
    Column("node_id", BigInteger, ForeignKey("node.id"), primary_key=True),
    Column("changes", BigInteger, nullable=False, server_default="1", comment="how often it was marked since"),
    comment="Postings that no longer match their lines and wait to be recomputed",
)

spool_report = Table(
    "spool_report",
    metadata,
    Column("node_id", BigInteger, ForeignKey("node.id"), primary_key=True),
    Column("agent_id", String, primary_key=True, comment="one spool; a node whose spool was lost has another"),
    Column("refused_windows", BigInteger, nullable=False, comment="that it could not keep, since it was made"),
    Column("refused_us", BigInteger, nullable=False, comment="device time of these windows: it is unobserved"),
    Column("waiting_windows", BigInteger, nullable=False, comment="not yet committed when it said so"),
    Column("oldest_us", BigInteger, nullable=False, comment="start of the oldest that waits; 0: none"),
    Column("reported_us", BigInteger, nullable=False, comment="when it said so"),
    comment="What agents say of their spools: nobody else could know what never arrived",
    sqlite_with_rowid=False,
)

namespace_total = Table(
    "namespace_total",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("owner_kind", String, primary_key=True, comment="pod, host or platform"),
    Column("namespace", String, primary_key=True),
    Column("model", String, primary_key=True),
    *_totals(),
    comment="Sums of all committed lines, for Prometheus; grows in the transaction that commits them",
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("cluster", String, nullable=False),
    Column("node", String, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("content_hash", LargeBinary, nullable=False, unique=True),
    Column("received_us", BigInteger, nullable=False),
    Column("reason", String, nullable=False, comment="invalid, conflict, clock or too-old"),
    Column("detail", String, nullable=False),
    Column("message", LargeBinary, nullable=False, comment="the window as received: nothing is dropped"),
    comment="Windows that were refused, kept whole",
)
