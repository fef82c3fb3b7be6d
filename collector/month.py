"""The month so far, as /metrics shows it: what it costs by namespace, how much of it was seen, how its budgets stand.

Money is not a counter here. A price may change for hours that are long counted, a late window may take gap time away,
and energy is priced after the fact, so a sum of what each commit cost would drift from the statement, and each replica
from the others. What the ledger says of the current month is a gauge: it is the statement's own figure, on every
replica.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from gputally.accounting.states import State
from gputally.collector.allocation.allocation import read_allocation
from gputally.collector.allocation.asked_period import asked_period
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import parse_period
from gputally.collector.allocation.query import WHOLE, Query
from gputally.collector.allocation.table import Row
from gputally.collector.burn import Burn, burns
from gputally.collector.database.deadline import reading_within
from gputally.collector.queues.use import QueueUse, read_use
from gputally.collector.waste.read import WasteRow, read_waste

DEADLINE_S = 60.0
_BY = (By.CLUSTER, By.NAMESPACE, By.MODEL)


@dataclass(frozen=True, slots=True)
class Usage:
    """One (cluster, owner kind, namespace, model): what `allocation.money` knows of it, costs in `rates.cost.SCALE`.

    `cost` is by part: the states, energy and overhead; a part that has no price, or was not measured, is not in it.
    """

    cluster: str
    owner_kind: str
    namespace: str
    model: str
    cost: dict[str, int]
    unpriced_us: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """A cluster's capacity this month, gaps included, and the part of it that was not observed, microseconds."""

    cluster: str
    capacity_us: int
    unobserved_us: int


@dataclass(frozen=True, slots=True)
class Month:
    """The figures of the month that began at `start_us`, as the ledger had them at `read_us` (wall clock).

    `currency` is empty where there are no prices.
    """

    start_us: int
    read_us: int
    currency: str = ""
    usage: tuple[Usage, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    burns: tuple[Burn, ...] = field(default_factory=tuple)
    queues: tuple[QueueUse, ...] = ()  # of the day that goes on
    waste: tuple[WasteRow, ...] = ()  # of that day, too, by cluster and namespace


def read_month(engine: Engine, billing: ZoneInfo, now_us: int) -> Month:
    """The month that holds `now_us`, as the postings are; raises TooSlow and DATABASE_ERRORS."""
    period = parse_period(None, None, None, billing, now_us)
    with reading_within(engine, DEADLINE_S) as connection:
        found = read_allocation(connection, billing, Query(period, billing, _BY))
        standing = burns(connection, billing, period, now_us, WHOLE)
        today = asked_period("today", billing, now_us)
        queues = read_use(connection, billing, today, now_us, WHOLE)
        wasted = read_waste(connection, billing, Query(today, billing, (By.CLUSTER, By.NAMESPACE)))
    return Month(
        period.start_us,
        now_us,
        found.currency,
        tuple(map(_usage, found.rows)),
        tuple(_coverage(found.rows)),
        tuple(standing),
        queues,
        wasted.rows,
    )


def _usage(row: Row) -> Usage:
    cluster, namespace, model = row.keys
    return Usage(cluster, row.owner, namespace, model, _cost(row), row.money.unpriced_us)


def _cost(row: Row) -> dict[str, int]:
    money = row.money
    states = {state.value: money.of_state(at) if money.priced_us else None for at, state in enumerate(State)}
    parts = {**states, "energy": money.energy, "overhead": money.overhead}
    return {part: units for part, units in parts.items() if units is not None}


def _coverage(rows: Sequence[Row]) -> Iterable[Coverage]:
    clusters = sorted({row.keys[0] for row in rows})
    for cluster in clusters:
        of_cluster = [row.amounts for row in rows if row.keys[0] == cluster]
        capacity_us = sum(amounts.capacity_us for amounts in of_cluster)
        yield Coverage(cluster, capacity_us, sum(amounts.unobserved_us for amounts in of_cluster))
