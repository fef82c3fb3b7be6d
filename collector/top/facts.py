"""What `gputally top` reads: the parts of each node's newest window, their spells, and what an hour of them costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.query import Scope
from gputally.collector.now.latest import Part, Standing, held, read_latest
from gputally.collector.now.pods import PodSpells, by_pod, rate
from gputally.collector.now.spells import Spell, read_spells
from gputally.collector.rates.pricing import read_pricer


@dataclass(frozen=True, slots=True)
class Where:
    """What is looked at; None is all."""

    namespace: str | None = None
    node: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What was known at `now_us`; `rates` are costs of an hour as `rates.cost` counts, None: unpriced."""

    where: Where
    zone: ZoneInfo
    now_us: int
    standings: Sequence[Standing]
    spells: Mapping[Part, Spell]
    pods: Sequence[PodSpells]
    rates: Mapping[Part, int | None]
    currency: str

    @property
    def heard(self) -> Sequence[Standing]:
        """The parts whose node has said something lately: of the others nothing is known now."""
        return [one for one in self.standings if not one.silent(self.now_us)]

    def as_of(self, now_us: int) -> "Facts":
        """The same, looked at later: what a node said is not what is there, once it has said nothing for a while."""
        pods = [pod for pod in self.pods if not any(spell.standing.silent(now_us) for spell in pod.spells)]
        spells = {part: spell for part, spell in self.spells.items() if not spell.standing.silent(now_us)}
        return replace(self, now_us=max(now_us, self.now_us), spells=spells, pods=pods)


def read_facts(connection: Connection, zone: ZoneInfo, now_us: int, where: Where) -> Facts:
    """The facts as the database has them; writes nothing."""
    scope = Scope(clusters=None if where.cluster is None else frozenset({where.cluster}))
    found = read_latest(connection, now_us, scope, where.namespace)
    standings = [one for one in found if where.node in (None, one.node)]
    pricer = read_pricer(connection, zone)
    spells = read_spells(connection, zone, pricer, held(standings), now_us)
    return Facts(
        where,
        zone,
        now_us,
        standings,
        {spell.standing.part: spell for spell in spells},
        by_pod(spells, pricer, now_us),
        {one.part: rate(one, pricer, now_us) for one in standings if one.kind is not OwnerKind.PLATFORM},
        pricer.currency or "",
    )
