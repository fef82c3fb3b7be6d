"""The first tables: windows with their lines, postings per ledger hour, totals, quarantine."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table; there is nothing before this version to carry over."""
    _create_names()
    _create_windows()
    _create_lines()
    _create_ledger()
    _create_totals()
    _create_quarantine()


def _create_names() -> None:
    op.create_table(
        "node",
        _id(),
        _text("cluster"),
        _text("name"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node")),
        sa.UniqueConstraint("cluster", "name", name=op.f("uq_node_cluster_name")),
        comment="A node of a cluster, made when its first window arrives",
    )
    op.create_table(
        "device",
        _id(),
        _text("uuid", "NVML's UUID: the identity of a device"),
        _text("model", "NVML's product name"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("uuid", "model", name=op.f("uq_device_uuid_model")),
        comment="One physical GPU",
    )
    key = ("kind", "namespace", "pod", "container", "pod_uid", "first_seen_us", "user", "unit")
    op.create_table(
        "owner",
        _id(),
        _text("kind", "pod, host or platform"),
        _text("namespace"),
        _text("pod"),
        _text("container"),
        _text("pod_uid", "empty while the agent could not know it"),
        _number("first_seen_us", "keeps pods of one name apart while the UID is empty"),
        _text("user", "host: login name"),
        _text("unit", "host: systemd unit"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owner")),
        sa.UniqueConstraint(*key, name=op.f("uq_owner_key")),
        comment="Who time is charged to",
    )


def _create_windows() -> None:
    op.create_table(
        "window",
        _id(),
        _number("node_id"),
        _number("start_us"),
        _number("end_us"),
        sa.Column("content_hash", sa.LargeBinary, nullable=False, comment="SHA-256 of the message as received"),
        _text("agent_id"),
        _text("boot_id"),
        _number("sequence"),
        _number("skipped_us", "wall time that a forward clock step skipped"),
        _number("waited_us", "time uncounted after the clock was set back"),
        _number("accepted_us", "when it was committed"),
        _reference("window", "node"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_window")),
        sa.UniqueConstraint("node_id", "start_us", name=op.f("uq_window_node_id_start_us")),
        comment="A window is accepted once and whole",
    )
    op.create_table(
        "window_device",
        _number("window_id"),
        _number("device_id"),
        _number("capacity_us"),
        _energy("energy_start_mj", "counter at the window's start"),
        _energy("energy_end_mj", "counter at the window's end"),
        _small("energy_estimated", "1: the integral of power, not a counter"),
        _small("energy_breaks", "restarts of the counter and stretches without it"),
        _reference("window_device", "window"),
        _reference("window_device", "device"),
        sa.PrimaryKeyConstraint("window_id", "device_id", name=op.f("pk_window_device")),
        comment="A device's part of a window",
        sqlite_with_rowid=False,
    )


def _create_lines() -> None:
    op.create_table(
        "line",
        _number("window_id"),
        _small("position", "row of the window"),
        _number("device_id"),
        _text("partition", "gpu, replica, or a MIG instance's UUID"),
        _number("owner_id"),
        _text("basis", "reservation, process, or empty for the platform"),
        _text("reason", "why the time is unobserved or unallocated"),
        _text("source", "how busy time was measured"),
        *_amounts(),
        _reference("line", "window"),
        _reference("line", "device"),
        _reference("line", "owner"),
        sa.PrimaryKeyConstraint("window_id", "position", name=op.f("pk_line")),
        comment="One row of a window, as the agent sent it",
        sqlite_with_rowid=False,
    )


def _create_ledger() -> None:
    key = ("hour_us", "node_id", "device_id", "partition", "owner_id", "basis", "reason")
    op.create_table(
        "posting",
        _number("hour_us", "UTC start of the ledger hour"),
        _number("node_id"),
        _number("device_id"),
        _text("partition"),
        _number("owner_id"),
        _text("basis"),
        _text("reason"),
        _text("source", "the least certain of the lines' sources"),
        *_amounts(),
        _reference("posting", "node"),
        _reference("posting", "device"),
        _reference("posting", "owner"),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_posting")),
        comment="Lines summed into a ledger hour; recomputed, never incremented",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dirty_hour",
        _number("hour_us"),
        _number("node_id"),
        _reference("dirty_hour", "node"),
        sa.PrimaryKeyConstraint("hour_us", "node_id", name=op.f("pk_dirty_hour")),
        comment="Postings that no longer match their lines and wait to be recomputed",
    )


def _create_totals() -> None:
    op.create_table(
        "namespace_total",
        _text("cluster"),
        _text("owner_kind", "pod, host or platform"),
        _text("namespace"),
        _text("model"),
        *_amounts(),
        sa.PrimaryKeyConstraint("cluster", "owner_kind", "namespace", "model", name=op.f("pk_namespace_total")),
        comment="Sums of all committed lines, for Prometheus; grows in the transaction that commits them",
    )


def _create_quarantine() -> None:
    op.create_table(
        "quarantine",
        _id(),
        _text("cluster"),
        _text("node"),
        _number("start_us"),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        _number("received_us"),
        _text("reason", "invalid, conflict, clock or too-old"),
        _text("detail"),
        sa.Column("message", sa.LargeBinary, nullable=False, comment="the window as received: nothing is dropped"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("content_hash", name=op.f("uq_quarantine_content_hash")),
        comment="Windows that were refused, kept whole",
    )


def _id() -> sa.Column[int]:
    """A key that the database counts up; SQLite does so only for INTEGER."""
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False, comment=comment)


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)


def _small(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, comment=comment)


def _energy(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, comment=comment)


def _reference(table: str, target: str) -> sa.ForeignKeyConstraint:
    column = f"{target}_id"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"))


def _amounts() -> list[sa.Column[int]]:
    times = ("used", "idle", "unallocated", "unavailable", "unobserved", "burst", "intruder", "held")
    return [
        *(_number(f"{name}_us", f"{name}, microseconds") for name in times),
        sa.Column(
            "energy_idle_mj", sa.BigInteger, comment="energy it would have drawn idle, millijoules; NULL unknown"
        ),
        sa.Column("energy_dynamic_mj", sa.BigInteger, comment="the rest of its energy, millijoules; NULL unknown"),
    ]
