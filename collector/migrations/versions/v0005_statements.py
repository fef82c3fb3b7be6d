"""Closed months: their statements, and the priced postings that they were made of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIMES = ("used", "idle", "unallocated", "unavailable", "unobserved", "gap")


def upgrade() -> None:
    """Create the tables of `schema_statement`."""
    _create_statement()
    _create_account()
    _create_line()


def _create_statement() -> None:
    op.create_table(
        "statement",
        _month(),
        _number("start_us"),
        _number("end_us"),
        _text("zone", "the billing time zone when it was closed"),
        _number("closed_us"),
        _text("closed_by", "user@host of who ran the command"),
        _number("final_before_us", "hours before this could not change any more when it was closed"),
        _text("content_hash", "SHA-256 of the document in UTF-8, hexadecimal"),
        _text("document", "the statement as JSON, byte for byte"),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_statement")),
        comment="Closed months, kept for ever",
    )


def _create_account() -> None:
    op.create_table(
        "statement_account",
        _month(),
        sa.Column("id", sa.Integer, nullable=False, comment="1, 2, 3 … within its month"),
        *map(_text, ("cluster", "node")),
        _text("uuid", "of the device"),
        *map(_text, ("model", "partition", "profile")),
        _text("kind", "pod, host or platform"),
        *map(_text, ("namespace", "pod", "container", "pod_uid")),
        _number("first_seen_us"),
        *map(_text, ("user", "unit", "basis", "reason")),
        _text("namespace_uid", "empty: not known"),
        sa.Column("team", sa.String, comment="NULL: not known"),
        sa.Column("cost_center", sa.String, comment="NULL: not known"),
        _text("tags", "labels of the namespace as they were: a JSON object with sorted keys"),
        _price("price", "GPU-hour; NULL: unpriced"),
        _price("list_price", "GPU-hour before what was negotiated; NULL: there is none"),
        _price("kwh_price", "kilowatt-hour; NULL: energy has no price"),
        _price("overhead_price", "kilowatt-hour of the devices for what the building draws besides; NULL: none"),
        sa.Column("rate_version", sa.Integer, comment="of the rate card; NULL: there was none"),
        sa.PrimaryKeyConstraint("month", "id", name=op.f("pk_statement_account")),
        comment="What lines of a closed month have in common: who, what, where, and at which price",
        sqlite_with_rowid=False,
    )


def _create_line() -> None:
    hour = "UTC start of the ledger hour; before the month's start: the hour that the line corrects"
    account = "in statement_account, of the same month"
    op.create_table(
        "statement_line",
        _month(),
        sa.Column("position", sa.Integer, nullable=False, comment="1, 2, 3 … within its month, by hour"),
        _number("hour_us", hour),
        sa.Column("account_id", sa.Integer, nullable=False, comment=account),
        *(_number(f"{name}_us", f"{name}, microseconds; a correction may be below 0") for name in _TIMES),
        sa.Column("energy_idle_mj", sa.BigInteger, comment="millijoules; NULL unknown"),
        sa.Column("energy_dynamic_mj", sa.BigInteger, comment="millijoules; NULL unknown"),
        sa.PrimaryKeyConstraint("month", "position", name=op.f("pk_statement_line")),
        comment="The priced postings of closed months, and the corrections that they hold of earlier ones",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_statement_line_hour_us", "statement_line", ["hour_us"])


def _month() -> sa.Column[str]:
    return _text("month", "YYYY-MM in the billing time zone")


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False, comment=comment)


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)


def _price(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, comment=f"10^-9 of the currency per {comment}")
