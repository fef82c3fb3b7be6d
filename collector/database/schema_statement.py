"""Tables of closed months. A row here is never changed nor deleted: it is what was billed."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table

from gputally.collector.database.schema_gaps import metadata

__all__ = ["metadata", "statement", "statement_account", "statement_line"]


def _month() -> Column[str]:
    return Column("month", String, primary_key=True, comment="YYYY-MM in the billing time zone")


def _name(name: str, comment: str | None = None) -> Column[str]:
    return Column(name, String, nullable=False, comment=comment)


def _price(name: str, comment: str) -> Column[int]:
    return Column(name, BigInteger, comment=f"10^-9 of the currency per {comment}")


def _time(name: str) -> Column[int]:
    return Column(
        f"{name}_us", BigInteger, nullable=False, comment=f"{name}, microseconds; a correction may be below 0"
    )


statement = Table(
    "statement",
    metadata,
    _month(),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    _name("zone", "the billing time zone when it was closed"),
    Column("closed_us", BigInteger, nullable=False),
    _name("closed_by", "user@host of who ran the command"),
    Column(
        "final_before_us",
        BigInteger,
        nullable=False,
        comment="hours before this could not change any more when it was closed",
    ),
    _name("content_hash", "SHA-256 of the document in UTF-8, hexadecimal"),
    _name("document", "the statement as JSON, byte for byte"),
    comment="Closed months, kept for ever",
)

statement_account = Table(
    "statement_account",
    metadata,
    _month(),
    Column("id", Integer, primary_key=True, comment="1, 2, 3 … within its month"),
    _name("cluster"),
    _name("node"),
    _name("uuid", "of the device"),
    _name("model"),
    _name("partition"),
    _name("profile"),
    _name("kind", "pod, host or platform"),
    _name("namespace"),
    _name("pod"),
    _name("container"),
    _name("pod_uid"),
    Column("first_seen_us", BigInteger, nullable=False),
    _name("user"),
    _name("unit"),
    _name("basis"),
    _name("reason"),
    _name("namespace_uid", "empty: not known"),
    Column("team", String, comment="NULL: not known"),
    Column("cost_center", String, comment="NULL: not known"),
    _name("tags", "labels of the namespace as they were: a JSON object with sorted keys"),
    _price("price", "GPU-hour; NULL: unpriced"),
    _price("list_price", "GPU-hour before what was negotiated; NULL: there is none"),
    _price("kwh_price", "kilowatt-hour; NULL: energy has no price"),
    _price("overhead_price", "kilowatt-hour of the devices for what the building draws besides; NULL: none"),
    Column("rate_version", Integer, comment="of the rate card; NULL: there was none"),
    comment="What lines of a closed month have in common: who, what, where, and at which price",
    sqlite_with_rowid=False,
)

statement_line = Table(
    "statement_line",
    metadata,
    _month(),
    Column("position", Integer, primary_key=True, comment="1, 2, 3 … within its month, by hour"),
    Column(
        "hour_us",
        BigInteger,
        nullable=False,
        comment="UTC start of the ledger hour; before the month's start: the hour that the line corrects",
    ),
    Column("account_id", Integer, nullable=False, comment="in statement_account, of the same month"),
    *map(_time, ("used", "idle", "unallocated", "unavailable", "unobserved", "gap")),
    Column("energy_idle_mj", BigInteger, comment="millijoules; NULL unknown"),
    Column("energy_dynamic_mj", BigInteger, comment="millijoules; NULL unknown"),
    comment="The priced postings of closed months, and the corrections that they hold of earlier ones",
    sqlite_with_rowid=False,
)

Index("ix_statement_line_hour_us", statement_line.c.hour_us)
