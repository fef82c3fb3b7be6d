"""Tables behind the time that no window covers, and what all replicas of a ledger must agree on."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, text

from gputally.collector.database.schema import posting, window
from gputally.collector.database.schema_billing import metadata

__all__ = ["FOREVER_US", "gap", "ledger_state", "metadata"]

FOREVER_US = 2**63 - 1  # the end of a gap that no window ended yet

gap = Table(
    "gap",
    metadata,
    Column("node_id", BigInteger, ForeignKey("node.id"), primary_key=True),
    Column("end_us", BigInteger, primary_key=True, comment="where the window after it begins; 2^63 - 1: none yet"),
    Column("device_id", BigInteger, ForeignKey("device.id"), primary_key=True),
    Column("start_us", BigInteger, nullable=False, comment="where the window before it ends; 0 where there is none"),
    Column("before_id", BigInteger, comment="the window before it; NULL: the device was not seen before"),
    Column("after_id", BigInteger, comment="the window after it; NULL: none yet"),
    comment="Time of a device that no accepted window covers: before the first, between two, after the last",
    sqlite_with_rowid=False,
)

ledger_state = Table(
    "ledger_state",
    metadata,
    Column("id", Integer, primary_key=True, comment="1: there is one row"),
    Column("booked_until_us", BigInteger, nullable=False, comment="the time of silent devices is booked up to here"),
    Column("absent_after_us", BigInteger, nullable=False, comment="a device that is silent for longer is absent"),
    Column("lines_from_us", BigInteger, nullable=False, comment="lines before this are removed, or soon will be"),
    Column("zone", String, comment="the billing time zone; NULL: no collector has started yet"),
    comment="What the replicas of a collector must agree on",
)

# A device that moves is looked for wherever it was.
Index("ix_gap_device_id", gap.c.device_id)

# Steps of a clock are rare, and gaps should be; both are looked for often.
Index(
    "ix_window_skips",
    window.c.node_id,
    window.c.start_us,
    postgresql_where=text("skipped_us > 0"),
    sqlite_where=text("skipped_us > 0"),
)
Index(
    "ix_posting_gaps",
    posting.c.node_id,
    posting.c.device_id,
    posting.c.gap_us,
    postgresql_where=text("gap_us > 0"),
    sqlite_where=text("gap_us > 0"),
)
