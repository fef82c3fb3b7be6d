"""What a month's idle time was: how much of each kind, which sums to all of it, and the workloads that lost most."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.allocation.query import Query, QueryError
from gputally.collector.jobs.wasted import Loss, read_losses
from gputally.collector.statement.month import Month
from gputally.collector.waste.kind import Kind

MOST = 10  # of a statement, and of each namespace and team, so that a team's can be told from them


class Lost(NamedTuple):
    """Idle time of one kind in the month's own time: of a workload, or (an empty text) of all of them.

    `cost` is exact, as `rates.cost` counts, of the time that has a price; `unpriced_us` is the rest. `provisional_us`
    could still have turned out to be of another kind when this was drawn up.
    """

    cluster: str
    namespace: str
    team: str
    workload: str
    kind: str
    us: int
    provisional_us: int
    cost: int
    unpriced_us: int


@dataclass(frozen=True, slots=True)
class MonthWaste:
    """`kinds` is complete: it sums to what pods held idle. `workloads` are the dearest of each namespace and team."""

    kinds: tuple[Lost, ...]
    workloads: tuple[Lost, ...]


def read_month_waste(connection: Connection, zone: ZoneInfo, month: Month) -> MonthWaste | None:
    """The waste of a month from the postings as they are; None where so many workloads idled that nobody could tell."""
    try:
        losses, _ = read_losses(connection, zone, Query(month.period, zone))
    except QueryError:  # a month can be closed without this
        return None
    by_group: dict[tuple[str, str, str], list[Lost]] = defaultdict(list)
    for one in losses:
        by_group[one.name.cluster, one.name.namespace, one.team].append(_lost(one))
    groups = [by_group[group] for group in sorted(by_group)]
    workloads = sorted((one for of in groups for one in dearest(of)), key=_order)
    return MonthWaste(tuple(one for of in groups for one in by_kind(of)), tuple(workloads))


def dearest(losses: Iterable[Lost]) -> Sequence[Lost]:
    """The ten that cost most, then those that were longest."""
    return nsmallest(MOST, losses, key=_order)


def by_kind(losses: Iterable[Lost]) -> list[Lost]:
    """The losses of one namespace in one team, added up by kind."""
    found: dict[str, list[Lost]] = defaultdict(list)
    for one in losses:
        found[one.kind].append(one)
    return [added(found[kind]) for kind in Kind if kind in found]


def added(losses: Sequence[Lost]) -> Lost:
    """Losses of one kind as one; it has the names of the first."""
    first = losses[0]
    sums = (sum(column) for column in zip(*(one[_NAMES:] for one in losses), strict=True))
    return Lost(first.cluster, first.namespace, first.team, "", first.kind, *sums)


def _lost(one: Loss) -> Lost:
    wasted = one.wasted
    figures = (wasted.us, wasted.provisional_us, wasted.cost or 0, wasted.unpriced_us)
    return Lost(one.name.cluster, one.name.namespace, one.team, one.name.label, one.kind.value, *figures)


def _order(one: Lost) -> tuple[object, ...]:
    return -one.cost, -one.us, *one[:_NAMES]


_NAMES = Lost._fields.index("us")
