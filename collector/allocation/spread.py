"""The platform's time and cost over the namespaces of its cluster: a view, never stored, and conserved.

What a row is given and what the platform's rows give away add up to 0, to the last unit of time and of cost.
A cluster in which no namespace had any time in a step keeps its platform; by quota one in which none of those that had
time has a stake in a queue.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from gputally.accounting.split import largest_remainder
from gputally.collector.allocation.query import Spread

RowKey: TypeAlias = Hashable


@dataclass(frozen=True, slots=True)
class Part:
    """What one row had in one cluster and step; `namespace` None: it is the platform's."""

    cluster: tuple[int, str]  # step and name
    namespace: str | None
    row: RowKey
    us: int
    cost: int

    @property
    def name(self) -> str:
        """The namespace's name; a statement's has the UID behind it, after a slash, which no name has."""
        return (self.namespace or "").partition("/")[0]


@dataclass(frozen=True, slots=True)
class Stake:
    """A queue's quota times time, and the names of the namespaces that it is kept for."""

    us: int
    namespaces: frozenset[str]


Stakes: TypeAlias = Mapping[tuple[int, str], Sequence[Stake]]  # by step and cluster
NO_STAKES: Stakes = {}


@dataclass(frozen=True, slots=True)
class Shared:
    """What spreading adds to a row."""

    us: int = 0
    cost: int = 0

    def plus(self, us: int, cost: int) -> "Shared":
        """With more."""
        return Shared(self.us + us, self.cost + cost)


def spread(parts: Iterable[Part], how: Spread, stakes: Stakes = NO_STAKES) -> Mapping[RowKey, Shared]:
    """What each row is given by its cluster's platform.

    `proportional` goes by the time of the namespaces, `even` gives each of them the same, by quota each queue's goes to
    its namespaces by their time; within a namespace the rows share by time. Rows are taken in the order of their keys'
    text, which decides where the last units go.
    """
    shared: dict[RowKey, Shared] = defaultdict(Shared)
    if how is Spread.NONE:
        return shared
    by_cluster: dict[tuple[int, str], list[Part]] = defaultdict(list)
    for part in parts:
        by_cluster[part.cluster].append(part)
    for of_cluster in by_cluster.values():
        of_queues = stakes.get(of_cluster[0].cluster, ())
        _spread_cluster(sorted(of_cluster, key=lambda part: str(part.row)), how, of_queues, shared)
    return shared


def _spread_cluster(parts: list[Part], how: Spread, stakes: Sequence[Stake], shared: dict[RowKey, Shared]) -> None:
    platform = [part for part in parts if part.namespace is None]
    takers = [part for part in parts if part.namespace is not None and part.us > 0]
    weights = _weights(takers, how, stakes)
    if not any(weights):
        return
    pools = (sum(part.us for part in platform), sum(part.cost for part in platform))
    times, costs = (largest_remainder(pool, [weight * pool for weight in weights]) for pool in pools)
    for taker, us, cost in zip(takers, times, costs, strict=True):
        shared[taker.row] = shared[taker.row].plus(us, cost)
    for giver in platform:
        shared[giver.row] = shared[giver.row].plus(-giver.us, -giver.cost)


def _weights(takers: list[Part], how: Spread, stakes: Sequence[Stake]) -> list[Fraction]:
    """Each one's part of the whole; they sum to 1, or are all 0 where nobody takes anything."""
    by_namespace: dict[str | None, int] = defaultdict(int)
    for taker in takers:
        by_namespace[taker.namespace] += taker.us
    if how in (Spread.QUOTA, Spread.CLAIMED_QUOTA):
        return _by_quota(takers, stakes)
    if how is Spread.PROPORTIONAL:
        total_us = sum(by_namespace.values())
        return [Fraction(taker.us, total_us) for taker in takers]
    return [Fraction(taker.us, by_namespace[taker.namespace] * len(by_namespace)) for taker in takers]


def _by_quota(takers: list[Part], stakes: Sequence[Stake]) -> list[Fraction]:
    """A queue's quota weighs for those of its namespaces that had time; where none had, it weighs nothing."""
    times: dict[str, int] = defaultdict(int)
    for taker in takers:
        times[taker.name] += taker.us
    weights: dict[str, int] = defaultdict(int)
    for stake in stakes:
        here = sorted(name for name in stake.namespaces if name in times)
        all_us = sum(times[name] for name in here)
        # In whole microseconds, so that the weights of many queues have no denominators of thousands of digits.
        parts = largest_remainder(stake.us, [Fraction(stake.us * times[name], all_us) for name in here]) if here else ()
        for name, us in zip(here, parts, strict=True):
            weights[name] += us
    total = sum(weights.values())
    return [
        Fraction(weights[taker.name] * taker.us, times[taker.name] * total) if total else Fraction(0)
        for taker in takers
    ]
