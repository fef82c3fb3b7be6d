"""Pods that used some of the GPUs that they hold, and never the others."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, and_, func, select

from gputally.accounting.keys import WHOLE_GPU
from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import State
from gputally.collector.advice.advice import Advice, Kind, Spent, Unused
from gputally.collector.advice.asked import Asked, rows_of
from gputally.collector.advice.held import Held, PodKey, read_held, spent
from gputally.collector.database.schema import device, node, owner
from gputally.collector.database.schema_waste import tenure

AFTER_US = HOUR_US  # what was held for less may yet be used
UNOBSERVED = 10  # percent at most, or nobody knows whether it was used


@dataclass(frozen=True, slots=True)
class Part:
    """A device, or a part of it, in the life of its pod: held over [held_from_us, held_until_us)."""

    uuid: str
    partition: str
    held_from_us: int
    held_until_us: int
    used: bool


def never_used(parts: Sequence[Part]) -> list[Part]:
    """The parts that were held for long and never used; none where the pod used none of them, or has only one."""
    if not any(part.used for part in parts):
        return []
    return [part for part in parts if not part.used and part.held_until_us - part.held_from_us >= AFTER_US]


def unused(parts: Sequence[Part]) -> Unused | None:
    """What is to be said of a pod's parts."""
    idle = never_used(parts)
    if not idle:
        return None
    used = sum(part.used for part in parts)
    whole = all(part.partition == WHOLE_GPU for part in parts)
    since_us, until_us = min(part.held_from_us for part in idle), max(part.held_until_us for part in idle)
    return Unused(used, len(idle), len(parts), whole, since_us, until_us)


def read_unused(connection: Connection, asked: Asked) -> list[Advice]:
    """Of the pods that held anything in the last week; raises QueryError."""
    lives = _lives(connection, asked)
    found = {pod: details for pod, parts in lives.items() if (details := unused(parts)) is not None}
    held: dict[PodKey, list[Held]] = defaultdict(list)
    for one in read_held(connection, asked, [pod.uid for pod in found]):
        held[one.pod].append(one)
    return [
        advice
        for pod, details in found.items()
        if (advice := _advice(asked, details, lives[pod], held[pod])) is not None
    ]


def _advice(asked: Asked, details: Unused, parts: Sequence[Part], held: Sequence[Held]) -> Advice | None:
    """None where too much of the time was not observed."""
    places = {(part.uuid, part.partition) for part in never_used(parts)}
    idle = [one for one in held if (one.uuid, one.partition) in places]
    unseen_us, held_us = (sum(of) for of in zip(*(_observed(one) for one in idle), strict=True)) if idle else (0, 0)
    if not held_us or unseen_us * 100 > held_us * UNOBSERVED:
        return None
    whole = Spent()
    for one in idle:
        whole = whole.plus(spent(one.amounts, one.money, (State.IDLE,)))
    first = idle[0]
    subject = asked.subject(first.pod.cluster, first.pod.namespace, first.workload, [first.pod.pod])
    return Advice(Kind.UNUSED, subject, whole, details)


def _observed(one: Held) -> tuple[int, int]:
    return one.amounts.unobserved_us, one.amounts.reserved_us


def _lives(connection: Connection, asked: Asked) -> Mapping[PodKey, list[Part]]:
    """All parts of each pod that has one that it never used."""
    found: dict[PodKey, list[Part]] = defaultdict(list)
    for cluster, namespace, pod, uid, uuid, partition, from_us, until_us, used_us in rows_of(
        connection, _statement(asked)
    ):
        part = Part(uuid, partition, from_us, until_us, used_us is not None)
        found[PodKey(cluster, namespace, pod, uid)].append(part)
    return found


def _statement(asked: Asked) -> Select[str, str, str, str, str, str, int, int, int]:
    names = (owner.c.namespace, owner.c.pod, owner.c.pod_uid, tenure.c.node_id)
    long = tenure.c.held_until_us - tenure.c.held_from_us >= AFTER_US
    never = and_(tenure.c.used_until_us.is_(None), tenure.c.held_until_us > asked.week.start_us, long)
    pods = (
        select(*names)
        .distinct()
        .join_from(tenure, owner, owner.c.id == tenure.c.owner_id)
        .join(node, node.c.id == tenure.c.node_id)
        .where(never, asked.visible())
        .subquery("pods")
    )
    peer = and_(*(owner.c[name] == pods.c[name] for name in ("namespace", "pod", "pod_uid")), owner.c.kind == "pod")
    place = (node.c.cluster, *names[:3], device.c.uuid, tenure.c.partition)
    spans = (func.min(tenure.c.held_from_us), func.max(tenure.c.held_until_us), func.max(tenure.c.used_until_us))
    return (
        select(*place, *spans)
        .join_from(pods, owner, peer)
        .join(tenure, and_(tenure.c.owner_id == owner.c.id, tenure.c.node_id == pods.c.node_id))
        .join(node, node.c.id == pods.c.node_id)
        .join(device, device.c.id == tenure.c.device_id)
        .group_by(*place)
    )
