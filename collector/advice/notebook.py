"""Notebooks that nobody has used for days, and that go on holding their GPUs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from gputally.accounting.states import OwnerKind
from gputally.collector.advice.advice import Advice, IdleNotebook, Kind, Spent
from gputally.collector.advice.asked import DAY_US, Asked
from gputally.collector.now.latest import Standing, read_latest
from gputally.collector.now.pods import known
from gputally.collector.now.spells import Spell, read_spells
from gputally.collector.now.whose import Holder, read_labels

IDLE_US = 3 * DAY_US
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
    labels = read_labels(connection, latest, KINDS)
    for one in latest:
        if label := labels.get(Holder.of(one.part)):
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
