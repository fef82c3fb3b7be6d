"""Whose work a posting is, as SQL: what was learnt of its pod, else the pod itself; empty outside of pods.

A pod is found by its cluster, UID and namespace, so it has one workload at most and no time is counted twice. Time
whose agent did not know the UID is the pod's own.
"""

from typing import Any

from sqlalchemy import FromClause, and_, case, func, literal_column
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.states import OwnerKind

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
