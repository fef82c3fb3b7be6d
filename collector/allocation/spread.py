"""The platform's time and cost over the namespaces of its cluster: a view, never stored, and conserved.

What a row is given and what the platform's rows give away add up to 0, to the last unit of time and of cost.
A cluster in which no namespace had any time in a step keeps its platform.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
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


@dataclass(frozen=True, slots=True)
class Shared:
    """What spreading adds to a row."""

    us: int = 0
    cost: int = 0

    def plus(self, us: int, cost: int) -> "Shared":
        """With more."""
        return Shared(self.us + us, self.cost + cost)


def spread(parts: Iterable[Part], how: Spread) -> Mapping[RowKey, Shared]:
    """What each row is given by its cluster's platform.

    `proportional` goes by the time of the namespaces, `even` gives each of them the same; within a namespace the
    rows share by time. Rows are taken in the order of their keys' text, which decides where the last units go.
    """
    shared: dict[RowKey, Shared] = defaultdict(Shared)
    if how is Spread.NONE:
        return shared
    by_cluster: dict[tuple[int, str], list[Part]] = defaultdict(list)
    for part in parts:
        by_cluster[part.cluster].append(part)
    for of_cluster in by_cluster.values():
        _spread_cluster(sorted(of_cluster, key=lambda part: str(part.row)), how, shared)
    return shared


def _spread_cluster(parts: list[Part], how: Spread, shared: dict[RowKey, Shared]) -> None:
    platform = [part for part in parts if part.namespace is None]
    takers = [part for part in parts if part.namespace is not None and part.us > 0]
    if not takers:
        return
    pools = (sum(part.us for part in platform), sum(part.cost for part in platform))
    weights = _weights(takers, how)
    times, costs = (largest_remainder(pool, [weight * pool for weight in weights]) for pool in pools)
    for taker, us, cost in zip(takers, times, costs, strict=True):
        shared[taker.row] = shared[taker.row].plus(us, cost)
    for giver in platform:
        shared[giver.row] = shared[giver.row].plus(-giver.us, -giver.cost)


def _weights(takers: list[Part], how: Spread) -> list[Fraction]:
    """Each one's part of the whole; they sum to 1."""
    by_namespace: dict[str | None, int] = defaultdict(int)
    for taker in takers:
        by_namespace[taker.namespace] += taker.us
    if how is Spread.PROPORTIONAL:
        total_us = sum(by_namespace.values())
        return [Fraction(taker.us, total_us) for taker in takers]
    return [Fraction(taker.us, by_namespace[taker.namespace] * len(by_namespace)) for taker in takers]
