"""What postings can be grouped and filtered by, and the columns that say it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Table, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.database import schema


class By(StrEnum):
    """What an answer can be grouped by."""

    CLUSTER = "cluster"
    NAMESPACE = "namespace"
    TEAM = "team"
    NODE = "node"
    MODEL = "model"
    DEVICE = "device"
    PARTITION = "partition"
    PROFILE = "profile"
    KIND = "kind"
    WORKLOAD = "workload"
    QUEUE = "queue"
    CLUSTER_QUEUE = "cluster_queue"
    PROJECT = "project"
    SUBMITTER = "submitter"
    POD = "pod"
    POD_UID = "pod_uid"
    CONTAINER = "container"
    USER = "user"
    BASIS = "basis"
    REASON = "reason"
    SOURCE = "source"
    STATE = "state"


COLUMNS: Mapping[By, Column[Any]] = {
    By.CLUSTER: schema.node.c.cluster,
    By.NAMESPACE: schema.owner.c.namespace,
    By.NODE: schema.node.c.name,
    By.MODEL: schema.device.c.model,
    By.DEVICE: schema.device.c.uuid,
    By.PARTITION: schema.posting.c.partition,
    By.PROFILE: schema.posting.c.profile,
    By.KIND: schema.owner.c.kind,
    By.POD: schema.owner.c.pod,
    By.POD_UID: schema.owner.c.pod_uid,
    By.CONTAINER: schema.owner.c.container,
    By.USER: schema.owner.c.user,
    By.BASIS: schema.posting.c.basis,
    By.REASON: schema.posting.c.reason,
    By.SOURCE: schema.posting.c.source,
}
# What was learnt of pods.
WHOSE: frozenset[By] = frozenset({By.WORKLOAD, By.QUEUE, By.CLUSTER_QUEUE, By.PROJECT, By.SUBMITTER})
# What the database groups by; the rest is looked up, or taken apart.
READ: frozenset[By] = frozenset({*COLUMNS, *WHOSE})
# The tables that a posting points into, by what points there.
POINTERS: Mapping[Table, ColumnElement[Any]] = {
    schema.node: schema.posting.c.node_id,
    schema.device: schema.posting.c.device_id,
    schema.owner: schema.posting.c.owner_id,
}

# A name that means something only within another.
_WITHIN: Mapping[By, tuple[By, ...]] = {
    By.WORKLOAD: (By.NAMESPACE,),
    By.QUEUE: (By.NAMESPACE,),
    By.POD: (By.NAMESPACE,),
    By.POD_UID: (By.NAMESPACE, By.POD),
    By.CONTAINER: (By.NAMESPACE, By.POD),
    By.PARTITION: (By.DEVICE,),
}


def of_posting(column: Column[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """A condition on a column of postings, or of a table that they point into, without a join."""
    pointer = POINTERS.get(column.table)
    return condition if pointer is None else pointer.in_(select(column.table.c.id).where(condition))


def keys(by: Sequence[By]) -> tuple[By, ...]:
    """Each key once, in the order asked for, after what its name needs: a pod's is one within its namespace."""
    found: dict[By, None] = {}
    for key in by:
        for outer in (*_WITHIN.get(key, ()), key):
            found[outer] = None
    return tuple(found)
