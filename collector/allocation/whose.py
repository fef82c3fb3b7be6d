"""Whose work a posting is, as SQL: what was learnt of its pod, else the pod itself; empty outside of pods.

A pod is found by its cluster, UID and namespace, so it has one workload at most and no time is counted twice. Time
whose agent did not know the UID is the pod's own.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import FromClause, and_, case, exists, func, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.states import OwnerKind
from gputally.collector.database.schema import node, owner, posting
from gputally.collector.database.schema_workload import pod_workload

_POD: ColumnElement[str] = literal_column(
    f"'{OwnerKind.POD.value}'"
)  # written out: PostgreSQL groups by what is the same text
_ITSELF: ColumnElement[str] = literal_column("'pod/'")
_NOBODY: ColumnElement[str] = literal_column("''")


def learnt(node: FromClause, owner: FromClause, workload: FromClause) -> ColumnElement[bool]:
    """What joins a row of `pod_workload` to a node and an owner: one at most."""
    return and_(
        workload.c.cluster == node.c.cluster,
        workload.c.pod_uid == owner.c.pod_uid,
        workload.c.namespace == owner.c.namespace,
        owner.c.kind == _POD,
    )


def name(owner: FromClause, workload: FromClause) -> ColumnElement[Any]:
    """The workload's name, after an outer join by `learnt`."""
    known = func.coalesce(workload.c.label, _ITSELF.concat(owner.c.pod))
    return case((owner.c.kind == _POD, known), else_=_NOBODY)


def of_posting(fits: Callable[[ColumnElement[Any]], ColumnElement[bool]]) -> ColumnElement[bool]:
    """Whether the name of a posting's workload fits, without a join."""
    nodes, owners, known = node.alias(), owner.alias(), pod_workload.alias()
    places = owners.join(nodes, nodes.c.id == posting.c.node_id).outerjoin(known, learnt(nodes, owners, known))
    one: ColumnElement[int] = literal_column("1")
    found = select(one).select_from(places)
    return exists(found.where(owners.c.id == posting.c.owner_id, fits(name(owners, known))).correlate(posting))
