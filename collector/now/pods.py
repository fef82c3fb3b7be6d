"""The spells that are going on, pod by pod, with what they have cost and what an hour more of them costs."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.now.latest import Standing
from gputally.collector.now.spells import Spell
from gputally.collector.rates.pricing import Pricer


@dataclass(frozen=True, slots=True)
class PodSpells:
    """The spells of a pod that are going on; costs as `rates.cost` counts them, None: unpriced.

    `rate` is what an hour more of it costs.
    """

    cluster: str
    namespace: str
    pod: str
    team: str
    spells: tuple[Spell, ...]
    cost: int | None
    rate: int | None

    @property
    def since_us(self) -> int:
        """When the longest began."""
        return min(spell.since_us for spell in self.spells)

    @property
    def costs_more(self) -> bool:
        """Whether `cost` lacks something: what has no price, or what was before the ledger was looked at."""
        return any(spell.costs_more for spell in self.spells)

    @property
    def gpus(self) -> Fraction:
        """How many GPUs it holds idle; parts of a GPU count as parts."""
        return sum((spell.standing.share for spell in self.spells), Fraction(0))


def by_pod(spells: Iterable[Spell], pricer: Pricer, now_us: int) -> list[PodSpells]:
    """The spells of each pod together."""
    groups: dict[tuple[str, str, str], list[Spell]] = defaultdict(list)
    for spell in spells:
        groups[spell.standing.cluster, spell.standing.namespace, spell.standing.pod].append(spell)
    found = []
    for (cluster, namespace, pod), of_pod in groups.items():
        team = pricer.team(of_pod[0].standing.place, now_us)
        rates = [rate(spell.standing, pricer, now_us) for spell in of_pod]
        whole = None if None in rates else known(rates)
        cost = known(spell.cost for spell in of_pod)
        found.append(PodSpells(cluster, namespace, pod, team or "", tuple(of_pod), cost, whole))
    return found


def rate(one: Standing, pricer: Pricer, now_us: int) -> int | None:
    """What an hour more of a part costs, as `rates.cost` counts; None where it has no price."""
    price = pricer.rate(one.place, now_us).price
    return None if price is None else int(one.share * HOUR_US * price)


def known(costs: Iterable[int | None]) -> int | None:
    """The sum of those that are known; None where none is."""
    found = [cost for cost in costs if cost is not None]
    return sum(found) if found else None
