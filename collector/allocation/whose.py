"""Whose work a posting is, as SQL: what was learnt of its pod, else the pod itself; empty outside of pods.

A pod is found by its cluster, UID and namespace, so it has one workload at most and no time is counted twice. Time
whose agent did not know the UID is the pod's own. Queues, projects and users are claims: what was written on the pod.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import FromClause, and_, case, func, literal_column, or_, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.grouping import By
from gputally.collector.database.schema_queue import local_queue

_POD: ColumnElement[str] = literal_column(
    f"'{OwnerKind.POD.value}'"
)  # written out: PostgreSQL groups by what is the same text
_ITSELF: ColumnElement[str] = literal_column("'pod/'")
_NOBODY: ColumnElement[str] = literal_column("''")
_KUEUE: ColumnElement[str] = literal_column("'%kueue.x-k8s.io/%'")
_VOLCANO: ColumnElement[str] = literal_column("'%volcano.sh/%'")


def learnt(node: FromClause, owner: FromClause, workload: FromClause) -> ColumnElement[bool]:
    """What joins a row of `pod_workload` to a node and an owner: one at most."""
    return and_(workload.c.cluster == node.c.cluster, of_pod(owner, workload))


def of_pod(owner: FromClause, workload: FromClause) -> ColumnElement[bool]:
    """What joins it to an owner: one at most in each cluster."""
    return and_(
        workload.c.pod_uid == owner.c.pod_uid,
        workload.c.namespace == owner.c.namespace,
        owner.c.kind == _POD,
    )


def name(owner: FromClause, workload: FromClause) -> ColumnElement[Any]:
    """The workload's name, after an outer join by `learnt`."""
    known = func.coalesce(workload.c.label, _ITSELF.concat(owner.c.pod))
    return case((owner.c.kind == _POD, known), else_=_NOBODY)


def of_kueue(workload: FromClause) -> ColumnElement[bool]:
    """Whether a pod names its queue in Kueue's words."""
    return func.coalesce(workload.c.sources, _NOBODY).like(_KUEUE)


def system(workload: FromClause) -> ColumnElement[str]:
    """In whose words a pod names its queue: kueue, volcano, or empty."""
    return case(
        (of_kueue(workload), literal_column("'kueue'")),
        (func.coalesce(workload.c.sources, _NOBODY).like(_VOLCANO), literal_column("'volcano'")),
        else_=_NOBODY,
    )


def led_into(workload: FromClause) -> ColumnElement[str]:
    """The ClusterQueue that a pod's LocalQueue led into when the pod started, by the API; NULL where none did."""
    at_us = func.coalesce(workload.c.started_us, workload.c.created_us)
    way = local_queue.c
    held = and_(way.valid_from_us <= at_us, or_(way.valid_to_us.is_(None), way.valid_to_us > at_us))
    names = and_(way.cluster == workload.c.cluster, way.namespace == workload.c.namespace, way.name == workload.c.queue)
    found = select(way.cluster_queue).where(names, held, of_kueue(workload)).order_by(way.valid_from_us.desc()).limit(1)
    return found.correlate(workload).scalar_subquery()


def cluster_queue(workload: FromClause) -> ColumnElement[str]:
    """The queue that has the quota: that which a LocalQueue leads into, else the one that the pod names; else empty."""
    return func.coalesce(led_into(workload), claimed_queue(workload))


def claimed_queue(workload: FromClause) -> ColumnElement[str]:
    """The queue with a quota that a pod names itself, else empty.

    Only Kueue has queues of two kinds: of all others it is the queue itself.
    """
    itself = case((of_kueue(workload), _NOBODY), else_=workload.c.queue)
    return func.coalesce(workload.c.cluster_queue, itself, _NOBODY)


def _claim(column: str) -> Callable[[FromClause, FromClause], ColumnElement[Any]]:
    return lambda _owner, workload: func.coalesce(workload.c[column], _NOBODY)


# After an outer join by `learnt`, with the owner and what was learnt.
NAMES: Mapping[By, Callable[[FromClause, FromClause], ColumnElement[Any]]] = {
    By.WORKLOAD: name,
    By.QUEUE: _claim("queue"),
    By.CLUSTER_QUEUE: lambda _owner, workload: cluster_queue(workload),
    By.PROJECT: _claim("project"),
    By.SUBMITTER: _claim("user"),
}
