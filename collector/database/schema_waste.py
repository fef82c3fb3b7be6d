"""Tables of what kind of waste idle time is: derived from lines, like postings, and kept as long as these.

Ids point into the tables of `schema`. The database does not look whether they do: they come out of lines.
"""

from sqlalchemy import BigInteger, Column, Integer, String, Table

from gputally.collector.database.schema_queue import metadata

__all__ = ["UNBOUNDED", "idle_part", "memory_peak", "metadata", "tenure"]

UNBOUNDED = 2**63 - 1  # a peak of a day in which something ran or idled while nobody could read its memory

_PARTITION = "gpu, replica, or a MIG instance's UUID"


def _id(name: str) -> Column[int]:
    return Column(f"{name}_id", Integer, primary_key=True, autoincrement=False)


def _partition() -> Column[str]:
    return Column("partition", String, primary_key=True, comment=_PARTITION)


def _us(name: str, comment: str) -> Column[int]:
    """Idle time, a part of a posting's."""
    return Column(f"{name}_us", BigInteger, nullable=False, comment=f"{comment}, microseconds")


def _instant(name: str, comment: str) -> Column[int]:
    return Column(f"{name}_us", BigInteger, comment=comment)


idle_part = Table(
    "idle_part",
    metadata,
    Column("hour_us", BigInteger, primary_key=True, comment="the posting's"),
    *map(_id, ("node", "device", "owner")),
    _us("idle", "the posting's idle time"),
    _us("before", "idle before the pod's first use in this hour"),
    _us("before_forgotten", "of it, in long spells with a living process"),
    _us("middle_forgotten", "between the pod's first use and its last in this hour, in such spells"),
    _us("after", "idle after the pod's last use in this hour; without any use, all of it"),
    _us("after_forgotten", "of it, in long spells with a living process"),
    _us("after_deserted", "of it, in long spells without a process"),
    _instant("used_first", "start of the first window of this hour in which the pod used anything; NULL: none"),
    _instant("used_last", "end of the last one; NULL: none"),
    _instant("head_from", "start of the first idle window, where no used one is before it; NULL: none"),
    _instant("head_until", "end of the spell that begins there"),
    _instant("tail_from", "start of the spell that ends with the last idle window; NULL: a used one comes after it"),
    _instant("tail_until", "end of that window"),
    Column(
        "linked",
        Integer,
        nullable=False,
        comment="1: its first spell is long by the hour before; 2: its last by the hour after; 3: both",
    ),
    _partition(),
    Column("profile", String, primary_key=True, comment="the posting's"),
    comment="How a posting's idle time lies to its pod's use: for hours with a window that was used less than 1 %",
    sqlite_with_rowid=False,
)

tenure = Table(
    "tenure",
    metadata,
    *map(_id, ("owner", "node", "device")),
    Column("held_from_us", BigInteger, nullable=False, comment="start of its first window there"),
    Column("held_until_us", BigInteger, nullable=False, comment="end of its last one"),
    _instant("used_from", "start of the first window in which it used something there; NULL: never used"),
    _instant("used_until", "end of the last one"),
    _partition(),
    comment="A container's whole time on a partition that it reserved",
    sqlite_with_rowid=False,
)

memory_peak = Table(
    "memory_peak",
    metadata,
    Column("day_us", BigInteger, primary_key=True, comment="start of the UTC day"),
    *map(_id, ("node", "device", "owner")),
    Column("bytes", BigInteger, nullable=False, comment="the largest mean of a window"),
    _partition(),
    comment="How much memory a container's processes held at most; no row: unknown",
    sqlite_with_rowid=False,
)
