"""The table of whose work pods were: one row for each pod that holds a GPU, or has asked for one."""

from sqlalchemy import BigInteger, Column, Integer, String, Table

from gputally.collector.database.schema_notify import metadata

__all__ = ["metadata", "pod_workload"]


def _unknown(name: str, comment: str | None = None) -> Column[str]:
    """A text that may be NULL: unknown."""
    return Column(name, String, comment=comment)


def _time(name: str, comment: str) -> Column[int]:
    return Column(f"{name}_us", BigInteger, comment=comment)


pod_workload = Table(
    "pod_workload",
    metadata,
    Column("cluster", String, primary_key=True),
    Column("pod_uid", String, primary_key=True),
    Column("namespace", String, nullable=False, comment="the pod's own, and its workload's"),
    Column("pod", String, nullable=False, comment="its name"),
    Column("label", String, nullable=False, comment="what reports name the workload: kind.platform/name"),
    _unknown("platform", "what runs it; NULL: an operator that no rule knows"),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    _unknown("uid", "NULL where no owner reference names it"),
    Column("evidence", String, nullable=False, comment="owner, claim or pod: how the workload is known"),
    Column("rule", String, nullable=False, comment="the rule that decided"),
    Column("complete", Integer, nullable=False, comment="1: every owner could be read, so the answer stays"),
    _unknown("role"),
    Column("rank", BigInteger, comment="its place among those that work together"),
    Column("replica", BigInteger, comment="which of several such groups"),
    Column("attempt", BigInteger, comment="as its platform counts"),
    _unknown("run"),
    _unknown("experiment"),
    _unknown("step"),
    _unknown("revision"),
    _unknown("group", "what is scheduled together"),
    _unknown("queue", "a claim: whoever made the pod can have written it"),
    _unknown("cluster_queue", "a claim"),
    _unknown("project", "a claim"),
    _unknown("user", "a claim"),
    Column("sources", String, nullable=False, comment="where each claim was read: JSON"),
    Column("facts", String, nullable=False, comment="the rules that added something: JSON"),
    Column("resource_version", BigInteger, nullable=False, comment="the API's version of the pod"),
    Column("created_us", BigInteger, nullable=False),
    _time("started", "its start by the kubelet; NULL: it did not start yet"),
    _time("finished", "the end of its last container; NULL: unknown, or it has not ended"),
    _unknown("phase", "as the API showed it last: Pending, Running, Succeeded, Failed"),
    _unknown("reason", "why it failed, such as OOMKilled or Evicted"),
    Column("first_seen_us", BigInteger, nullable=False, comment="when the collector learnt of it"),
    Column("last_seen_us", BigInteger, nullable=False, comment="when it was last listed, or something changed"),
    _time("gone", "when the API showed that it is deleted; NULL: it is there"),
    comment="Whose work pods were, and how they ended",
    sqlite_with_rowid=False,
)
