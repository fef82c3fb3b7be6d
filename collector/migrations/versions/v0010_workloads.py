"""Whose work pods were."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of `schema_workload`."""
    op.create_table(
        "pod_workload",
        *map(_text, ("cluster", "pod_uid")),
        _text("namespace", "the pod's own, and its workload's"),
        _text("pod", "its name"),
        _text("label", "what reports name the workload: kind.platform/name"),
        *_workload(),
        *_description(),
        *_life(),
        sa.PrimaryKeyConstraint("cluster", "pod_uid", name=op.f("pk_pod_workload")),
        comment="Whose work pods were, and how they ended",
        sqlite_with_rowid=False,
    )


def _workload() -> list[sa.Column[Any]]:
    return [
        _unknown("platform", "what runs it; NULL: an operator that no rule knows"),
        *map(_text, ("kind", "name")),
        _unknown("uid", "NULL where no owner reference names it"),
        _text("evidence", "owner, claim or pod: how the workload is known"),
        _text("rule", "the rule that decided"),
        sa.Column("complete", sa.Integer, nullable=False, comment="1: every owner could be read, so the answer stays"),
    ]


def _description() -> list[sa.Column[Any]]:
    return [
        _unknown("role"),
        _maybe("rank", "its place among those that work together"),
        _maybe("replica", "which of several such groups"),
        _maybe("attempt", "as its platform counts"),
        *map(_unknown, ("run", "experiment", "step", "revision")),
        _unknown("group", "what is scheduled together"),
        _unknown("queue", "a claim: whoever made the pod can have written it"),
        *(_unknown(name, "a claim") for name in ("cluster_queue", "project", "user")),
        _text("sources", "where each claim was read: JSON"),
        _text("facts", "the rules that added something: JSON"),
    ]


def _life() -> list[sa.Column[Any]]:
    return [
        sa.Column("resource_version", sa.BigInteger, nullable=False, comment="the API's version of the pod"),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        _maybe("started_us", "its start by the kubelet; NULL: it did not start yet"),
        _maybe("finished_us", "the end of its last container; NULL: unknown, or it has not ended"),
        _unknown("phase", "as the API showed it last: Pending, Running, Succeeded, Failed"),
        _unknown("reason", "why it failed, such as OOMKilled or Evicted"),
        sa.Column("first_seen_us", sa.BigInteger, nullable=False, comment="when the collector learnt of it"),
        sa.Column(
            "last_seen_us", sa.BigInteger, nullable=False, comment="when it was last listed, or something changed"
        ),
        _maybe("gone_us", "when the API showed that it is deleted; NULL: it is there"),
    ]


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False, comment=comment)


def _unknown(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String, comment=comment)


def _maybe(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, comment=comment)
