"""Rows of windows, lines and postings take half the room: narrow columns, words as numbers, no key that only guards.

The large tables are made anew, which takes their size again on the disk until this is committed.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_BASES = {"": 0, "process": 10, "reservation": 20}
_REASONS = {
    "": 0,
    "claim-unused": 10,
    "invalid-reading": 20,
    "mig-remainder": 30,
    "no-sample": 40,
    "no-utilisation": 50,
    "two-holders": 60,
    "unattributed": 70,
}
_SOURCES = {
    "none": 0,
    "device-samples": 10,
    "device-rate": 20,
    "process-samples": 30,
    "gpm": 40,
    "estimated-share": 50,
}
_WORDS = {"basis": _BASES, "reason": _REASONS, "source": _SOURCES}

_STATES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")
_SELDOM = ("burst_us", "intruder_us", "held_us")
_GAP = "gap_us"
_OPTIONAL = {
    "energy_idle_mj": "energy it would have drawn idle, millijoules; NULL unknown",
    "energy_dynamic_mj": "the rest of its energy, millijoules; NULL unknown",
    "memory_byte_s": "memory that the owner's processes held, byte-seconds; NULL unknown",
}
_FIGURES = {
    "quality_us": "time that GPM measured, microseconds; NULL: none of it",
    "sm_us": "SM activity times time, microseconds; NULL unknown",
    "occupancy_us": "SM occupancy times time, microseconds; NULL unknown",
    "tensor_us": "activity of the tensor cores times time, microseconds; NULL unknown",
    "dram_us": "use of the memory's bandwidth times time, microseconds; NULL unknown",
}
_POSTING_KEY = ("hour_us", "node_id", "device_id", "partition", "owner_id", "basis", "reason", "profile")


def upgrade() -> None:
    """Make lines and postings anew; what is left loses its foreign keys, and names have ids of four bytes."""
    _anew("line", _line())
    op.drop_index("ix_posting_gaps", "posting")
    _anew("posting", _posting())
    for table, columns in {"window_device": ("window_id", "device_id"), "window": ("node_id",)}.items():
        with op.batch_alter_table(table, table_kwargs=_options(table)) as batch:
            for column in columns:
                batch.drop_constraint(f"fk_{table}_{column}", type_="foreignkey")
    _index()
    if not _is_sqlite():
        for table in ("node", "device", "owner"):
            op.alter_column(table, "id", type_=sa.Integer)


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _anew(table: str, columns: list[sa.Column[Any]]) -> None:
    """The table with these columns and its rows as they stand in them."""
    keys = {"line": ("window_id", "position"), "posting": _POSTING_KEY}
    comments = {
        "line": "One row of a window, as the agent sent it",
        "posting": "Lines summed into a ledger hour; recomputed, never incremented",
    }
    op.rename_table(table, f"{table}_before")
    key = [sa.PrimaryKeyConstraint(*keys[table], name=f"pk_{table}")] if _is_sqlite() else []
    names = [column.name for column in columns]
    op.create_table(table, *columns, *key, comment=comments[table], sqlite_with_rowid=False)
    values = ", ".join(map(_value, names))
    op.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}_before")  # noqa: S608
    op.drop_table(f"{table}_before")


def _value(name: str) -> str:
    """A column of the row before, as it is now."""
    if name in _WORDS:
        cases = " ".join(f"WHEN '{word}' THEN {code}" for word, code in _WORDS[name].items())
        return f"CASE {name} {cases} END"
    return f"NULLIF({name}, 0)" if name in (*_SELDOM, _GAP) else name


def _line() -> list[sa.Column[Any]]:
    return [
        _number("window_id"),
        _small("position", "row of the window"),
        _small("device_id"),
        _small("owner_id"),
        *(_small(name, f"{name.removesuffix('_us')}, microseconds") for name in _STATES),
        *(_maybe(name, text) for name, text in _OPTIONAL.items()),
        *(_maybe(name, f"{name.removesuffix('_us')}, microseconds; NULL: 0") for name in _SELDOM),
        *(sa.Column(name, sa.Integer, comment=text) for name, text in _FIGURES.items()),
        _word("basis", "why the owner is charged"),
        _word("reason", "why the time is unobserved or unallocated"),
        _word("source", "how busy time was measured"),
        *_texts(),
    ]


def _posting() -> list[sa.Column[Any]]:
    gap = "the part of its unobserved or unavailable time that no window covers, microseconds; NULL: 0"
    return [
        _number("hour_us", "UTC start of the ledger hour"),
        _small("node_id"),
        _small("device_id"),
        _small("owner_id"),
        _word("basis", "why the owner is charged"),
        _word("reason", "why the time is unobserved or unallocated"),
        *(_number(name, f"{name.removesuffix('_us')}, microseconds") for name in _STATES),
        *(_maybe(name, text) for name, text in _OPTIONAL.items()),
        *(_maybe(name, f"{name.removesuffix('_us')}, microseconds; NULL: 0") for name in _SELDOM),
        _maybe(_GAP, gap),
        *(_maybe(name, text) for name, text in _FIGURES.items()),
        _word("source", "the least certain of the lines' sources"),
        *_texts(),
    ]


def _texts() -> list[sa.Column[Any]]:
    profile = "a MIG instance's, such as 1g.10gb"
    return [
        sa.Column("partition", sa.String, nullable=False, comment="gpu, replica, or a MIG instance's UUID"),
        sa.Column("profile", sa.String, nullable=False, server_default="", comment=profile),
    ]


def _index() -> None:
    if not _is_sqlite():
        op.create_index("ix_line_window_id", "line", ["window_id"])
        op.create_index("ix_posting_hour_us_node_id", "posting", ["hour_us", "node_id"])
        op.execute("ANALYZE line")
        op.execute("ANALYZE posting")
    where = sa.text("gap_us > 0")
    op.create_index(
        "ix_posting_gaps", "posting", ["node_id", "device_id", "gap_us"], postgresql_where=where, sqlite_where=where
    )


def _options(table: str) -> dict[str, bool]:
    return {"sqlite_with_rowid": table == "window"}


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)


def _maybe(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, comment=comment)


def _small(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, comment=comment)


def _word(name: str, what: str) -> sa.Column[int]:
    legend = ", ".join(f"{code} {word or 'empty'}" for word, code in _WORDS[name].items())
    return sa.Column(name, sa.SmallInteger, nullable=False, comment=f"{what}: {legend}")
