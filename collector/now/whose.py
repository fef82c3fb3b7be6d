"""Whose work the parts of devices are at this moment: the workload that was learnt of each pod, else the pod itself."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, select

from gputally.collector.allocation import whose
from gputally.collector.database.schema import owner
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
    clusters = {Holder.of(one.part): one.cluster for one in standings}
    labels: dict[tuple[int, str], str] = {}
    wanted = sorted({holder.owner_id for holder in clusters})
    for at in range(0, len(wanted), _AT_ONCE):
        # Not by nodes: an owner would be found once for each node of its cluster.
        query = (
            select(owner.c.id, pod_workload.c.cluster, pod_workload.c.label)
            .join_from(owner, pod_workload, whose.of_pod(owner, pod_workload))
            .where(owner.c.id.in_(wanted[at : at + _AT_ONCE]), pod_workload.c.cluster.in_({*clusters.values()}))
        )
        labels |= {(owner_id, cluster): label for owner_id, cluster, label in connection.execute(query)}
    named = ((holder, labels.get((holder.owner_id, cluster))) for holder, cluster in clusters.items())
    return {holder: label for holder, label in named if label is not None}


def label_of(one: Standing, labels: Mapping[Holder, str]) -> str:
    """The name of its workload."""
    return labels.get(Holder.of(one.part), f"pod/{one.pod}")
