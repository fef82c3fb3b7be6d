"""Whose work the parts of devices are at this moment: the workload that was learnt of each pod, else the pod itself."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, select

from gputally.collector.allocation import whose
from gputally.collector.database.schema import node, owner
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.now.latest import Part, Standing

_AT_ONCE = 2_000  # owners in one statement: below what either database takes as parameters


class Holder(NamedTuple):
    """A node and an owner on it."""

    node_id: int
    owner_id: int

    @classmethod
    def of(cls, part: Part) -> "Holder":
        """Who has a part."""
        return cls(part.node_id, part.owner_id)


def read_labels(connection: Connection, standings: Iterable[Standing]) -> Mapping[Holder, str]:
    """The workloads' names, as reports have them; holders of which nothing was learnt are left out."""
    wanted = sorted({Holder.of(one.part) for one in standings})
    found: dict[Holder, str] = {}
    for at in range(0, len(wanted), _AT_ONCE):
        some = wanted[at : at + _AT_ONCE]
        query = (
            select(node.c.id, owner.c.id, pod_workload.c.label)
            .join_from(pod_workload, node, node.c.cluster == pod_workload.c.cluster)
            .join(owner, whose.learnt(node, owner, pod_workload))
            .where(node.c.id.in_({one.node_id for one in some}), owner.c.id.in_({one.owner_id for one in some}))
        )
        asked = set(some)
        labels = ((Holder(node_id, owner_id), label) for node_id, owner_id, label in connection.execute(query))
        found |= {holder: label for holder, label in labels if holder in asked}
    return found


def label_of(one: Standing, labels: Mapping[Holder, str]) -> str:
    """The name of its workload."""
    return labels.get(Holder.of(one.part), f"pod/{one.pod}")
