"""The tables, and through their comments the data dictionary. Times are microseconds since the epoch or of a state.

Lines are what agents sent, kept for 14 days; postings are derived from them and recomputed per (hour, node).
No index but the keys stands on the hot path: a line is found through its window, a window through its node and start.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

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


_TIMES = ("used", "idle", "unallocated", "unavailable", "unobserved", "burst", "intruder", "held")

# The columns that totals are made of, in the order of the tables.
AMOUNTS = (*(f"{name}_us" for name in _TIMES), "energy_idle_mj", "energy_dynamic_mj")

# What a line and a posting have besides, each of them NULL where it is unknown. Totals leave them out: a fleet's
# byte-seconds would not fit a column for long.
MEMOS = ("memory_byte_s", "quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
_MEMO_COMMENTS = (
    "memory that the owner's processes held, byte-seconds; NULL unknown",
    "time that GPM measured, microseconds; NULL: none of it",
    "SM activity times time, microseconds; NULL unknown",
    "SM occupancy times time, microseconds; NULL unknown",
    "activity of the tensor cores times time, microseconds; NULL unknown",
    "use of the memory's bandwidth times time, microseconds; NULL unknown",
)


def _amounts() -> list[Column[int]]:
    """The integers of a line: states, memos, energies. An energy of NULL is unknown, which is not 0."""
    return [
        *(Column(f"{name}_us", BigInteger, nullable=False, comment=f"{name}, microseconds") for name in _TIMES),
        Column("energy_idle_mj", BigInteger, comment="energy it would have drawn idle, millijoules; NULL unknown"),
        Column("energy_dynamic_mj", BigInteger, comment="the rest of its energy, millijoules; NULL unknown"),
    ]


def _memos() -> list[Column[int]]:
    return [Column(name, BigInteger, comment=text) for name, text in zip(MEMOS, _MEMO_COMMENTS, strict=True)]


def _profile() -> Column[str]:
    return Column("profile", String, nullable=False, server_default="", comment="a MIG instance's, such as 1g.10gb")


node = Table(
    "node",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("cluster", String, nullable=False),
    Column("name", String, nullable=False),
    UniqueConstraint("cluster", "name"),
    comment="A node of a cluster, made when its first window arrives",
)

device = Table(
    "device",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("uuid", String, nullable=False, comment="NVML's UUID: the identity of a device"),
    Column("model", String, nullable=False, comment="NVML's product name"),
    UniqueConstraint("uuid", "model"),
    comment="One physical GPU",
)

owner = Table(
    "owner",
    metadata,
    Column("id", _ID, primary_key=True),
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
    Column("node_id", BigInteger, ForeignKey("node.id"), nullable=False),
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
    comment="A window is accepted once and whole",
)

window_device = Table(
    "window_device",
    metadata,
    Column("window_id", BigInteger, ForeignKey("window.id"), primary_key=True),
    Column("device_id", BigInteger, ForeignKey("device.id"), primary_key=True),
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
    comment="A device's part of a window",
    sqlite_with_rowid=False,
)

line = Table(
    "line",
    metadata,
    Column("window_id", BigInteger, ForeignKey("window.id"), primary_key=True),
    Column("position", Integer, primary_key=True, comment="row of the window"),
    Column("device_id", BigInteger, ForeignKey("device.id"), nullable=False),
    Column("partition", String, nullable=False, comment="gpu, replica, or a MIG instance's UUID"),
    Column("owner_id", BigInteger, ForeignKey("owner.id"), nullable=False),
    Column("basis", String, nullable=False, comment="reservation, process, or empty for the platform"),
    Column("reason", String, nullable=False, comment="why the time is unobserved or unallocated"),
    Column("source", String, nullable=False, comment="how busy time was measured"),
    *_amounts(),
    _profile(),
    *_memos(),
    comment="One row of a window, as the agent sent it",
    sqlite_with_rowid=False,
)

posting = Table(
    "posting",
    metadata,
    Column("hour_us", BigInteger, primary_key=True, comment="UTC start of the ledger hour"),
    Column("node_id", BigInteger, ForeignKey("node.id"), primary_key=True),
    Column("device_id", BigInteger, ForeignKey("device.id"), primary_key=True),
    Column("partition", String, primary_key=True),
    Column("owner_id", BigInteger, ForeignKey("owner.id"), primary_key=True),
    Column("basis", String, primary_key=True),
    Column("reason", String, primary_key=True),
    Column("source", String, nullable=False, comment="the least certain of the lines' sources"),
    *_amounts(),
    Column("profile", String, primary_key=True, server_default="", comment="a MIG instance's, such as 1g.10gb"),
    *_memos(),
    Column(
        "gap_us",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="the part of its unobserved or unavailable time that no window covers, microseconds",
    ),
    comment="Lines summed into a ledger hour; recomputed, never incremented",
    sqlite_with_rowid=False,
)

dirty_hour = Table(
    "dirty_hour",
    metadata,
    Column("hour_us", BigInteger, primary_key=True),
    Column("node_id", BigInteger, ForeignKey("node.id"), primary_key=True),
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
    *_amounts(),
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
