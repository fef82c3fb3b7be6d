"""Sums of whole months by namespace, so that a question about a year reads a dozen rows of each namespace and not 365.

A month is one of the billing time zone that is over. It is made of its sealed days, and it is there only as long as all
of them are. Columns stand as those of `namespace_day` do.
"""

from sqlalchemy import BigInteger, Column, Integer, Table

from gputally.collector.database.schema_day import metadata, namespace_day

__all__ = ["SUMS", "metadata", "namespace_month", "summed_month"]

# What both tables tell of a place, in their order.
_SUMS = [column for column in namespace_day.c if not column.primary_key]
SUMS = tuple(column.name for column in _SUMS)

namespace_month = Table(
    "namespace_month",
    metadata,
    Column("month_us", BigInteger, primary_key=True, comment="where the month begins"),
    *(Column(of.name, BigInteger, nullable=of.nullable, comment=of.comment) for of in _SUMS),
    Column("place_id", Integer, primary_key=True),
    comment="Sums of a month by namespace and model: made of namespace_day",
    sqlite_with_rowid=False,
)

summed_month = Table(
    "summed_month",
    metadata,
    Column("month_us", BigInteger, primary_key=True, comment="where the month begins"),
    Column("end_us", BigInteger, nullable=False, comment="where the next one does"),
    comment="The months that namespace_month has: each that is over, while all of its days are sealed",
    sqlite_with_rowid=False,
)
