"""A statement as somebody wants to see it: all of it, or one namespace's or team's part; the platform spread if asked.

Items keep the amounts that they have in the whole statement, so what all teams are shown adds up to the whole.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.query import WHOLE, Scope, Spread
from gputally.collector.allocation.spread import Part, Stakes, spread
from gputally.collector.rates.cost import rounded
from gputally.collector.statement.content import Statement
from gputally.collector.statement.emission import Emission
from gputally.collector.statement.idle import Workload, dearest
from gputally.collector.statement.item import Item
from gputally.collector.statement.rounding import hours
from gputally.collector.statement.unmetered import Unmetered
from gputally.collector.statement.waste import Lost
from gputally.collector.statement.waste import dearest as dearest_losses


@dataclass(frozen=True, slots=True)
class Who:
    """Whose part: a namespace's, a team's, of what the reader may see; without any of them everybody's."""

    namespace: str | None = None
    team: str | None = None
    scope: Scope = WHOLE

    @property
    def everybody(self) -> bool:
        """Whether nothing is left out."""
        return self.namespace is None and self.team is None and self.scope.whole

    def has(self, payer: str, cluster: str, namespace: str, team: str) -> bool:
        """Whether something of that payer is in the part; the platform and hosts are in nobody's."""
        if self.everybody:
            return True
        if self.scope.clusters is not None and cluster not in self.scope.clusters:
            return False
        if self.namespace is None and self.team is None and self.scope.namespaces is None:
            return True
        seen = self.scope.namespaces is None or namespace in self.scope.namespaces
        asked = self.namespace in (None, namespace) and self.team in (None, team)
        return payer == OwnerKind.POD and seen and asked


EVERYBODY = Who()


@dataclass(frozen=True, slots=True)
class Share:
    """What spreading the platform gives a namespace, and takes from the platform (an empty namespace, below 0).

    `us` is the platform's time, `cost` and `amount` are as an item's. All shares of a statement add up to 0.
    """

    cluster: str
    namespace: str
    namespace_uid: str
    team: str
    us: int
    cost: int
    amount: int


@dataclass(frozen=True)
class View:
    """The part of a statement that is shown."""

    statement: Statement
    who: Who = EVERYBODY
    spread: Spread = Spread.NONE
    stakes: Stakes = field(default_factory=dict, compare=False)  # what spreading by quota goes by

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The items of the part."""
        return tuple(item for item in self.statement.items if self._has(item))

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """The ten dearest idle workloads of the part."""
        pod = OwnerKind.POD.value
        return dearest(
            one for one in self.statement.workloads if self.who.has(pod, one.cluster, one.namespace, one.team)
        )

    @cached_property
    def losses(self) -> Sequence[Lost]:
        """The ten dearest losses of the part, each of one workload and kind; none where they are not known."""
        return dearest_losses(self._lost("workloads"))

    @cached_property
    def waste_kinds(self) -> Sequence[Lost]:
        """The part's idle time by kind, of each namespace and team."""
        return self._lost("kinds")

    @cached_property
    def emissions(self) -> tuple[Emission, ...]:
        """The carbon of the part."""
        of = self.statement.emissions
        return tuple(one for one in of if self.who.has(one.payer, one.cluster, one.namespace, one.team))

    @cached_property
    def unmetered(self) -> tuple[Unmetered, ...]:
        """The time of the part whose energy is in no sum; none where that is not told."""
        of = self.statement.unmetered or ()
        return tuple(one for one in of if self.who.has(one.payer, one.cluster, one.namespace, one.team))

    @cached_property
    def shares(self) -> tuple[Share, ...]:
        """What spreading moves, as far as the part is concerned."""
        found = _shares(self.statement, self.spread, self.stakes)
        return tuple(one for one in found if self.who.has(_payer(one), one.cluster, one.namespace, one.team))

    def hours(self, digits: int) -> list[str]:
        """The items' quantities in hours or kilowatt-hours; those of each meter add up."""
        by_meter: dict[str, list[int]] = defaultdict(list)
        for item in self.items:
            by_meter[item.key.meter].append(item.quantity)
        printed = {meter: iter(hours(values, digits)) for meter, values in by_meter.items()}
        return [next(printed[item.key.meter]) for item in self.items]

    @property
    def amount(self) -> int | None:
        """What it comes to, in the smallest unit of the currency; None where nothing has a price."""
        known = [item.amount for item in self.items if item.amount is not None]
        known += [one.amount for one in self.shares]
        return sum(known) if known or not self.items else None

    @property
    def sees_all(self) -> bool:
        """Whether the reader may see everything, whatever part is shown: hashes, and counts of what is everybody's."""
        return self.who.scope.whole

    @property
    def pending(self) -> int | None:
        """What was not settled; None for who sees a part of a closed month that was frozen with everybody's."""
        frozen = self.statement.closing is not None
        return None if frozen and self.statement.pending and not self.sees_all else self.statement.pending

    @property
    def capacity_us(self) -> int:
        """All time of the month itself."""
        return sum(self._own())

    @property
    def unobserved_us(self) -> int:
        """The part of it that was not observed."""
        return sum(self._own(State.UNOBSERVED))

    @property
    def unpriced_us(self) -> int:
        """All time that has no price, corrections included."""
        return sum(item.quantity for item in self.items if item.key.is_time and item.cost is None)

    def _own(self, state: State | None = None) -> Sequence[int]:
        asked = [item for item in self.items if item.key.is_time and not item.key.corrects]
        return [item.quantity for item in asked if state is None or item.key.state == state]

    def _lost(self, name: str) -> Sequence[Lost]:
        of: Sequence[Lost] = () if self.statement.waste is None else getattr(self.statement.waste, name)
        pod = OwnerKind.POD.value
        return [one for one in of if self.who.has(pod, one.cluster, one.namespace, one.team)]

    def _has(self, item: Item) -> bool:
        return self.who.has(item.key.payer, item.key.cluster, item.key.namespace, item.key.team)


def _payer(share: Share) -> str:
    return (OwnerKind.POD if share.namespace else OwnerKind.PLATFORM).value


def _shares(statement: Statement, how: Spread, stakes: Stakes) -> list[Share]:
    """Of the month's own time: what is corrected later was spread, or not, when its month was looked at."""
    own = [item for item in statement.items if item.key.is_time and not item.key.corrects]
    shared = spread((_part(item) for item in own if item.key.payer != OwnerKind.HOST), how, stakes)
    sums: dict[tuple[str, str, str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for item in own:
        given = shared.get(str(item.key))
        if given is not None:
            key = (item.key.cluster, item.key.namespace, item.key.namespace_uid, item.key.team)
            sums[key] = (sums[key][0] + given.us, sums[key][1] + given.cost)
    keys = sorted(sums)
    amounts = rounded([sums[key][1] for key in keys], statement.digits)
    return [Share(*key, *sums[key], amount) for key, amount in zip(keys, amounts, strict=True)]


def _part(item: Item) -> Part:
    key = item.key
    namespace = f"{key.namespace}/{key.namespace_uid}" if key.payer == OwnerKind.POD else None
    return Part((0, key.cluster), namespace, str(key), item.quantity, item.cost or 0)
