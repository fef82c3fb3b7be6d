"""What kind of waste idle time is."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_RESERVATION, _PLAIN = 20, 0  # as postings have them: basis and reason
_HOUR_US = 3_600_000_000
_POD = "p.node_id, o.namespace, o.pod, o.pod_uid, o.first_seen_us"

# Hours that are booked already are divided as wholes, by what postings say. Whether a pod's first use lies at their
# beginning or at their end is not known; the instants are such that windows which still arrive decide it.
_TENURES = f"""
    INSERT INTO tenure (owner_id, node_id, device_id, "partition", held_from_us, held_until_us, used_from_us,
        used_until_us)
    SELECT owner_id, node_id, device_id, "partition", MIN(hour_us), MAX(hour_us) + {_HOUR_US},
        MIN(CASE WHEN used_us > 0 THEN hour_us + {_HOUR_US} END), MAX(CASE WHEN used_us > 0 THEN hour_us END)
    FROM posting WHERE basis = {_RESERVATION} GROUP BY owner_id, node_id, device_id, "partition"
"""  # noqa: S608 - our own text
_PARTS = f"""
    INSERT INTO idle_part (hour_us, node_id, device_id, owner_id, "partition", profile, idle_us, before_us,
        before_forgotten_us, middle_forgotten_us, after_us, after_forgotten_us, after_deserted_us, used_first_us,
        used_last_us, linked)
    SELECT hour_us, node_id, device_id, owner_id, "partition", profile, idle_us, 0, 0,
        CASE WHEN pod_used_us > 0 AND memory_byte_s > 0 THEN idle_us ELSE 0 END,
        CASE WHEN pod_used_us > 0 THEN 0 ELSE idle_us END,
        CASE WHEN pod_used_us = 0 AND memory_byte_s > 0 THEN idle_us ELSE 0 END,
        CASE WHEN pod_used_us = 0 AND memory_byte_s = 0 THEN idle_us ELSE 0 END,
        CASE WHEN pod_used_us > 0 THEN hour_us END, CASE WHEN pod_used_us > 0 THEN hour_us + {_HOUR_US} END, 0
    FROM (
        SELECT p.*, SUM(p.used_us) OVER (PARTITION BY p.hour_us, {_POD}) AS pod_used_us
        FROM posting p JOIN owner o ON o.id = p.owner_id WHERE p.basis = {_RESERVATION}
    ) held
    WHERE used_us = 0 AND idle_us > 0 AND reason = {_PLAIN}
"""  # noqa: S608 - our own text


def upgrade() -> None:
    """Create the tables of `schema_waste`, and fill two of them from the postings."""
    _table("idle_part", _part(), "hour_us", "node_id", "device_id", "owner_id", "partition", "profile")
    _table("tenure", _tenure(), "owner_id", "node_id", "device_id", "partition")
    _table("memory_peak", _peak(), "day_us", "node_id", "device_id", "owner_id", "partition")
    op.execute(_TENURES)
    op.execute(_PARTS)


def _table(name: str, columns: list[sa.Column[Any]], *key: str) -> None:
    constraint = sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}"))
    op.create_table(name, *columns, constraint, comment=_COMMENTS[name], sqlite_with_rowid=False)


def _part() -> list[sa.Column[Any]]:
    return [
        sa.Column("hour_us", sa.BigInteger, nullable=False, comment="the posting's"),
        *map(_id, ("node", "device", "owner")),
        *(_us(*each) for each in _IDLE),
        *(_instant(*each) for each in _EDGES),
        sa.Column(
            "linked",
            sa.Integer,
            nullable=False,
            comment="1: its first spell is long by the hour before; 2: its last by the hour after; 3: both",
        ),
        _partition(),
        sa.Column("profile", sa.String, nullable=False, comment="the posting's"),
    ]


def _tenure() -> list[sa.Column[Any]]:
    return [
        *map(_id, ("owner", "node", "device")),
        _us("held_from", "start of its first window there"),
        _us("held_until", "end of its last one"),
        _instant("used_from", "start of the first window in which it used something there; NULL: never used"),
        _instant("used_until", "end of the last one"),
        _partition(),
    ]


def _peak() -> list[sa.Column[Any]]:
    return [
        _us("day", "start of the UTC day"),
        *map(_id, ("node", "device", "owner")),
        sa.Column("bytes", sa.BigInteger, nullable=False, comment="the largest mean of a window"),
        _partition(),
    ]


def _id(name: str) -> sa.Column[int]:
    return sa.Column(f"{name}_id", sa.Integer, nullable=False, autoincrement=False)


def _partition() -> sa.Column[str]:
    return sa.Column("partition", sa.String, nullable=False, comment="gpu, replica, or a MIG instance's UUID")


def _us(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(f"{name}_us", sa.BigInteger, nullable=False, comment=comment)


def _instant(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(f"{name}_us", sa.BigInteger, comment=comment)


_IDLE = (
    ("idle", "the posting's idle time, microseconds"),
    ("before", "idle before the pod's first use in this hour, microseconds"),
    ("before_forgotten", "of it, in long spells with a living process, microseconds"),
    (
        "middle_forgotten",
        "between the pod's first use and its last in this hour, in such spells, microseconds",
    ),
    ("after", "idle after the pod's last use in this hour; without any use, all of it, microseconds"),
    ("after_forgotten", "of it, in long spells with a living process, microseconds"),
    ("after_deserted", "of it, in long spells without a process, microseconds"),
)
_EDGES = (
    ("used_first", "start of the first window of this hour in which the pod used anything; NULL: none"),
    ("used_last", "end of the last one; NULL: none"),
    ("head_from", "start of the first idle window, where no used one is before it; NULL: none"),
    ("head_until", "end of the spell that begins there"),
    ("tail_from", "start of the spell that ends with the last idle window; NULL: a used one comes after it"),
    ("tail_until", "end of that window"),
)
_COMMENTS = {
    "idle_part": "How a posting's idle time lies to its pod's use: for hours with a window that was used less than 1 %",
    "tenure": "A container's whole time on a partition that it reserved",
    "memory_peak": "How much memory a container's processes held at most; no row: unknown",
}
