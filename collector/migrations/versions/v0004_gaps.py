"""The time that no window covers, found for the windows that are there already."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The windows of a device in order, each with its neighbours; a device's time in a window lies at the window's end.
_STAND = """
    SELECT w.node_id, d.device_id, w.id, w.end_us - d.capacity_us AS start_us, w.end_us
    FROM window_device d JOIN "window" w ON w.id = d.window_id WHERE d.capacity_us > 0
"""
_GAPS = f"""
    INSERT INTO gap (node_id, end_us, device_id, start_us, before_id, after_id)
    SELECT node_id, start_us, device_id, COALESCE(before_end_us, 0), before_id, id FROM (
        SELECT s.*,
            LAG(end_us) OVER (PARTITION BY node_id, device_id ORDER BY start_us) AS before_end_us,
            LAG(id) OVER (PARTITION BY node_id, device_id ORDER BY start_us) AS before_id
        FROM ({_STAND}) s
    ) t WHERE before_end_us IS NULL AND start_us > 0 OR before_end_us < start_us
"""  # noqa: S608 - our own text
_OPEN_GAPS = f"""
    INSERT INTO gap (node_id, end_us, device_id, start_us, before_id, after_id)
    SELECT node_id, {2**63 - 1}, device_id, end_us, id, NULL FROM (
        SELECT s.*, ROW_NUMBER() OVER (PARTITION BY node_id, device_id ORDER BY start_us DESC) AS place
        FROM ({_STAND}) s
    ) t WHERE place = 1
"""  # noqa: S608 - our own text


def upgrade() -> None:
    """Create the tables, and fill `gap` from the windows. The collector's first turn has their hours recomputed."""
    _create_gap()
    _create_state()
    op.create_index(
        "ix_window_skips",
        "window",
        ["node_id", "start_us"],
        postgresql_where=sa.text("skipped_us > 0"),
        sqlite_where=sa.text("skipped_us > 0"),
    )
    op.create_index(
        "ix_posting_gaps",
        "posting",
        ["node_id", "device_id", "gap_us"],
        postgresql_where=sa.text("gap_us > 0"),
        sqlite_where=sa.text("gap_us > 0"),
    )
    op.execute(_GAPS)
    op.execute(_OPEN_GAPS)


def _create_gap() -> None:
    op.create_table(
        "gap",
        _number("node_id"),
        _number("end_us", "where the window after it begins; 2^63 - 1: none yet"),
        _number("device_id"),
        _number("start_us", "where the window before it ends; 0 where there is none"),
        _window("before_id", "the window before it; NULL: the device was not seen before"),
        _window("after_id", "the window after it; NULL: none yet"),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_gap_node_id")),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_gap_device_id")),
        sa.PrimaryKeyConstraint("node_id", "end_us", "device_id", name=op.f("pk_gap")),
        comment="Time of a device that no accepted window covers: before the first, between two, after the last",
        sqlite_with_rowid=False,
    )


def _create_state() -> None:
    op.create_table(
        "ledger_state",
        sa.Column("id", sa.Integer, nullable=False, comment="1: there is one row"),
        _number("booked_until_us", "the time of silent devices is booked up to here"),
        _number("absent_after_us", "a device that is silent for longer is absent"),
        _number("lines_from_us", "lines before this are removed, or soon will be"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_state")),
        comment="What the replicas of a collector must agree on",
    )


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)


def _window(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, comment=comment)
