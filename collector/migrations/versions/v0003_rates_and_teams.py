"""What money needs besides the ledger: applied files, and what clusters were like over time."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of `schema_billing`."""
    _create_applied_files()
    _create_histories()
    _create_presence()


def _create_applied_files() -> None:
    op.create_table(
        "applied_file",
        _text("kind", "rates, teams or budgets"),
        sa.Column("version", sa.Integer, nullable=False, comment="1, 2, 3 … of its kind; the last one applied holds"),
        sa.Column("content_hash", sa.LargeBinary, nullable=False, comment="SHA-256 of the text in UTF-8"),
        _number("applied_us"),
        _text("applied_by", "user@host of who ran the command"),
        _text("text", "the YAML file as it was applied, whole"),
        sa.PrimaryKeyConstraint("kind", "version", name=op.f("pk_applied_file")),
        comment="Rate cards, team mappings and budgets: every version, kept for ever",
    )


def _create_histories() -> None:
    op.create_table(
        "namespace_history",
        _text("cluster"),
        _text("name"),
        _text("uid", "one made again under its name is another namespace"),
        *_history(),
        _text("labels"),
        _text("annotations", "without what kubectl keeps there, and long texts"),
        sa.PrimaryKeyConstraint("cluster", "name", "uid", "valid_from_us", name=op.f("pk_namespace_history")),
        comment="Labels and annotations of namespaces as they were",
    )
    op.create_table(
        "node_history",
        _text("cluster"),
        _text("name"),
        _text("uid"),
        *_history(),
        _text("labels"),
        sa.PrimaryKeyConstraint("cluster", "name", "uid", "valid_from_us", name=op.f("pk_node_history")),
        comment="Labels of nodes as they were",
    )


def _create_presence() -> None:
    gone = "when the API showed that it is gone; NULL: it is there"
    op.create_table(
        "node_presence",
        _text("cluster"),
        _text("node", "its name"),
        _number("from_us", "its creation"),
        _text("uid"),
        sa.Column("gone_us", sa.BigInteger, comment=gone),
        sa.PrimaryKeyConstraint("cluster", "node", "from_us", name=op.f("pk_node_presence")),
        comment="When nodes existed; empty for a cluster whose API is not watched",
    )
    op.create_table(
        "cluster_sync",
        _text("cluster"),
        _number("synced_us", "until then the histories are known to be complete"),
        sa.PrimaryKeyConstraint("cluster", name=op.f("pk_cluster_sync")),
        comment="How far the watch of each cluster has come",
    )


def _history() -> list[sa.Column[int]]:
    return [
        _number("valid_from_us", "the first row of a UID: its creation"),
        sa.Column("valid_to_us", sa.BigInteger, comment="NULL: it still holds"),
        _number("resource_version", "the API's version of the object"),
        _number("recorded_us", "when the collector learnt it"),
    ]


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False, comment=comment)


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, comment=comment)
