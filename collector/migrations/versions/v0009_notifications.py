"""What people were told, and what waits to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of `schema_notify`."""
    _create_told_spell()
    _create_told_budget()
    _create_notification()
    _create_turn()


def _create_told_spell() -> None:
    op.create_table(
        "told_spell",
        *map(_text, ("cluster", "namespace", "pod")),
        _text("state", "the level that was told and the spell as it was seen last: JSON"),
        sa.PrimaryKeyConstraint("cluster", "namespace", "pod", name=op.f("pk_told_spell")),
        comment="Idle spells that were told and are not over",
        sqlite_with_rowid=False,
    )


def _create_told_budget() -> None:
    op.create_table(
        "told_budget",
        _text("month", "YYYY-MM in the billing time zone"),
        _text("scope", "namespace or team"),
        _text("name"),
        _text("cluster", "empty: all clusters together"),
        _text("unit", "gpu_hours or amount"),
        _text("level", "warning, critical, or resolved: that it fell back was told"),
        sa.Column(
            "lower_since_us",
            sa.BigInteger,
            comment="since when it has stood better than was told; NULL: it does not",
        ),
        sa.PrimaryKeyConstraint("month", "scope", "name", "cluster", "unit", name=op.f("pk_told_budget")),
        comment="Budgets of the current month that were told",
        sqlite_with_rowid=False,
    )


def _create_notification() -> None:
    op.create_table(
        "notification",
        _text("id", "the same for each attempt to send it"),
        _text("subject", "what it is about: a newer one replaces one that waits"),
        _text("level", "warning, critical or resolved"),
        _number("made_us"),
        _text("title"),
        _text("document", "the message: JSON"),
        sa.Column("sent_us", sa.BigInteger, comment="NULL: it waits"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
        comment="Messages that wait, and for a day those that were sent",
        sqlite_with_rowid=False,
    )


def _create_turn() -> None:
    op.create_table(
        "notify_turn",
        sa.Column("id", sa.Integer, nullable=False, comment="1: there is one row"),
        _text("holder", "the replica that looks and sends"),
        _number("until_us", "when another one may, unless it is renewed"),
        _number("looked_us", "when spells were looked at last"),
        _number("counted_us", "when budgets were looked at last"),
        _number("not_before_us", "nothing is sent before this, after a failure"),
        sa.Column("failures", sa.Integer, nullable=False, comment="attempts that failed, since the last that did not"),
        sa.Column(
            "left_out",
            sa.Integer,
            nullable=False,
            comment="messages that found no room and that no digest told of yet",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notify_turn")),
        comment="Which replica tells people, and how far it has come",
    )


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False, comment=comment)


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)
