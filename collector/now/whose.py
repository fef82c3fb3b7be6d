"""Whose work the parts of devices are at this moment: the workload that was learnt of each pod, else the pod itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select, true

from gputally.collector.allocation import whose
from gputally.collector.database.schema import owner
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.now.latest import Part, Standing

_ALL = true()
_AT_ONCE = 2_000  # owners in one statement: below what either database takes as parameters


class Holder(NamedTuple):
    """A node and an owner on it."""

    node_id: int
    owner_id: int

    @classmethod
    def of(cls, part: Part) -> "Holder":
        """Who has a part."""
        return cls(part.node_id, part.owner_id)


def read_labels(
    connection: Connection, standings: Iterable[Standing], kinds: Sequence[str] = ()
) -> Mapping[Holder, str]:
    """The workloads' names, as reports have them; holders of which nothing was learnt are left out.

    `kinds` of workloads; none: of all.
    """
    of_kinds = pod_workload.c.kind.in_(kinds) if kinds else true()
    found = _learnt(connection, standings, pod_workload.c.label, of_kinds)
    return {holder: label for holder, label in found.items() if label is not None}


def read_ended(connection: Connection, standings: Iterable[Standing], now_us: int) -> frozenset[Holder]:
    """The holders whose pods have ended, by the API: the newest window knows of it a minute later, and that of a node
    that is silent does not.
    """
    ended_us = func.coalesce(pod_workload.c.finished_us, pod_workload.c.gone_us)
    found = _learnt(connection, standings, ended_us)
    return frozenset(holder for holder, us in found.items() if us is not None and us <= now_us)


def _learnt(
    connection: Connection, standings: Iterable[Standing], fact: ColumnElement[Any], where: ColumnElement[bool] = _ALL
) -> Mapping[Holder, Any]:
    """What was learnt of each holder's pod."""
    clusters = {Holder.of(one.part): one.cluster for one in standings}
    facts: dict[tuple[int, str], Any] = {}
    wanted = sorted({holder.owner_id for holder in clusters})
    for at in range(0, len(wanted), _AT_ONCE):
        # Not by nodes: an owner would be found once for each node of its cluster.
        query = (
            select(owner.c.id, pod_workload.c.cluster, fact)
            .join_from(owner, pod_workload, whose.of_pod(owner, pod_workload))
            .where(owner.c.id.in_(wanted[at : at + _AT_ONCE]), pod_workload.c.cluster.in_({*clusters.values()}), where)
        )
        facts |= {(owner_id, cluster): found for owner_id, cluster, found in connection.execute(query)}
    named = ((holder, (holder.owner_id, cluster)) for holder, cluster in clusters.items())
    return {holder: facts[key] for holder, key in named if key in facts}


def label_of(one: Standing, labels: Mapping[Holder, str]) -> str:
    """The name of its workload."""
    return labels.get(Holder.of(one.part), f"pod/{one.pod}")
