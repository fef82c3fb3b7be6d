"""Notebooks that nobody has used for days, and that go on holding their GPUs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, select

from gputally.accounting.states import OwnerKind
from gputally.collector.advice.advice import Advice, IdleNotebook, Kind, Spent
from gputally.collector.advice.asked import DAY_US, Asked, pieces
from gputally.collector.database.schema import node, owner
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.now.latest import Standing, read_latest
from gputally.collector.now.pods import known
from gputally.collector.now.spells import Spell, read_spells

IDLE_US = 3 * DAY_US
_PARTS_AT_ONCE = 5_000  # each is two parameters
KINDS = ("Notebook",)  # also of rules that a user adds, such as one for JupyterHub


class _Pod(NamedTuple):
    cluster: str
    namespace: str
    name: str
    label: str


def idle_notebook(spells: Sequence[Spell], parts: int) -> IdleNotebook | None:
    """What is to be said of a notebook that holds so many parts, of which these are in an idle spell."""
    if not spells or len(spells) < parts:
        return None
    since_us, until_us = max(one.since_us for one in spells), min(one.standing.end_us for one in spells)
    if until_us - since_us < IDLE_US:
        return None
    return IdleNotebook(parts, since_us, until_us, all(one.before for one in spells), _memory(spells))


def _memory(spells: Iterable[Spell]) -> int | None:
    """What they hold now, all together; None where any of it is unknown."""
    found = 0
    for one in spells:
        length_us = one.standing.end_us - one.standing.start_us
        if one.standing.memory_byte_s is None or not length_us:
            return None
        found += one.standing.memory_byte_s * 1_000_000 // length_us
    return found


def read_notebooks(connection: Connection, asked: Asked) -> list[Advice]:
    """Of the notebooks that hold something now."""
    held: dict[_Pod, list[Standing]] = defaultdict(list)
    latest = [one for one in read_latest(connection, asked.now_us, asked.scope) if one.kind is OwnerKind.POD]
    labels = _labels(connection, latest)
    for one in latest:
        if label := labels.get((one.part.node_id, one.part.owner_id)):
            held[_Pod(one.cluster, one.namespace, one.pod, label)].append(one)
    # One that computes on any part of what it holds is not idle, and needs no look into the past.
    idle = {pod: standings for pod, standings in held.items() if all(one.idle for one in standings)}
    standings = [one for of in idle.values() for one in of]
    spells: dict[tuple[str, str, str], list[Spell]] = defaultdict(list)
    for spell in read_spells(connection, asked.zone, asked.pricer, standings, asked.now_us) if standings else ():
        spells[spell.standing.cluster, spell.standing.namespace, spell.standing.pod].append(spell)
    found = ((pod, spells[pod[:3]], idle_notebook(spells[pod[:3]], len(idle[pod]))) for pod in idle)
    return [_advice(asked, pod, of, details) for pod, of, details in found if details is not None]


def _advice(asked: Asked, pod: _Pod, spells: Sequence[Spell], details: IdleNotebook) -> Advice:
    us, unpriced_us = (sum(getattr(one, name) for one in spells) for name in ("idle_us", "unpriced_us"))
    spent = Spent(us, known(one.cost for one in spells), unpriced_us)
    return Advice(Kind.NOTEBOOK, asked.subject(pod.cluster, pod.namespace, pod.label, [pod.name]), spent, details)


def _labels(connection: Connection, latest: Iterable[Standing]) -> Mapping[tuple[int, int], str]:
    """The notebooks among the owners of parts, by node and owner."""
    parts = sorted({(one.part.node_id, one.part.owner_id) for one in latest})
    found: dict[tuple[int, int], str] = {}
    for some in pieces(parts, _PARTS_AT_ONCE):
        learnt = and_(
            pod_workload.c.cluster == node.c.cluster,
            pod_workload.c.namespace == owner.c.namespace,
            pod_workload.c.pod_uid == owner.c.pod_uid,
        )
        query = (
            select(node.c.id, owner.c.id, pod_workload.c.label)
            .join_from(pod_workload, node, node.c.cluster == pod_workload.c.cluster)
            .join(owner, learnt)
            .where(pod_workload.c.kind.in_(KINDS), owner.c.id.in_(sorted({part[1] for part in some})))
            .where(node.c.id.in_(sorted({part[0] for part in some})))
        )
        wanted = set(some)
        found |= {(at, of): label for at, of, label in connection.execute(query) if (at, of) in wanted}
    return found
