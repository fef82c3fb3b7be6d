"""Allocation: the one reading of the ledger behind the report, the API, statements and exports.

Every row has one kind of owner, so that time nobody held never hides in a namespace's row. Time is summed as integers
and money in exact units, so I5 (disjoint periods add up) and I6 (every grouping has the same total) hold exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, Select, func, select

from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.cells import read_rows
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import Money
from gputally.collector.allocation.nodes import read_nodes_alike
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.places import count_places
from gputally.collector.allocation.plan import Summed, detail
from gputally.collector.allocation.query import Query, Scope, Spread
from gputally.collector.allocation.read_plan import plan_with, read_summed
from gputally.collector.allocation.sheet import Sheet
from gputally.collector.allocation.table import Row, Table
from gputally.collector.database import schema
from gputally.collector.database.engine import reading
from gputally.collector.ledger.content_hash import hashed, ledger_hash
from gputally.collector.ledger.postings import catch_up
from gputally.collector.queues.stakes import read_stakes
from gputally.collector.rates.card import Quantity
from gputally.collector.rates.changes import Changes
from gputally.collector.rates.pricing import PRICES, Pricer, read_prices

MAX_CUTS = 20_000  # by changes of carbon alone, each for every place: more would slow down what costs are asked for


@dataclass(frozen=True, slots=True)
class Ground:
    """What an answer rests on: `pending` counts pairs of hour and node of the period that are not settled yet."""

    ledger_hash: str
    pending: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """An answer. Rows come step by step, and within one the largest capacity first.

    `amounts` and `money` are the whole of what was asked for, `everything` is that in all states, whichever are asked
    for. `currency` is empty where there are no prices.
    """

    query: Query
    currency: str
    table: Table
    amounts: Amounts
    money: Money
    ground: Ground
    everything: Amounts

    @property
    def rows(self) -> tuple[Row, ...]:
        """The table's, one by one."""
        return self.table.rows


def allocate(engine: Engine, billing: ZoneInfo, query: Query) -> Allocation:
    """The ledger's answer; raises QueryError. `billing` is the zone that the ledger is booked in.

    What arrived and is not in the postings yet is settled first, so an answer never lags behind its windows.
    """
    query.check(billing)
    catch_up(engine, billing)
    with reading(engine) as connection:
        return read_allocation(connection, billing, query)


def read_allocation(connection: Connection, billing: ZoneInfo, query: Query) -> Allocation:
    """The same from the ledger as it is; all of it sees one state of the database."""
    days = read_summed(connection, query.period)
    return _read(connection, billing, query, days, _ground(connection, query, days))


def read_usage(connection: Connection, billing: ZoneInfo, query: Query) -> tuple[Row, ...]:
    """Its rows alone: for answers that are made of several, and say themselves which ledger they are of."""
    return _read(connection, billing, query, read_summed(connection, query.period), Ground("", 0)).rows


def _ground(connection: Connection, query: Query, days: Sequence[Summed]) -> Ground:
    """In one statement, whatever the tables are."""
    *sums, waiting = connection.execute(_told(query, tuple(days))).one()
    return Ground(ledger_hash(sums), waiting)


@lru_cache(maxsize=64)
def _told(query: Query, days: tuple[Summed, ...]) -> Select[*tuple[int, ...]]:
    """Kept as statements of sums are."""
    parts = (*hashed(query, days), _pending(query.period, query.scope))
    return select(*(each.scalar_subquery() for each in parts))


def _read(
    connection: Connection, billing: ZoneInfo, query: Query, days: Sequence[Summed], ground: Ground
) -> Allocation:
    pricer, changes = _changes(connection, billing, query)
    needed = detail({*query.keys, *query.where.keys}, by_node=pricer.asks_labels)
    starts = [step.start_us for step in query.steps()]
    plan = plan_with(connection, query.period, starts, changes, needed, days)
    nodes = read_nodes_alike(connection, pricer, query.period)
    sheet = Sheet(query, pricer, plan.pieces.edges, nodes.representatives)
    for sums in read_rows(connection, query, plan, nodes, _apart(query, pricer)):
        sheet.add(sums)
    table = sheet.table(read_stakes(connection, query.steps(), query.spread))
    return Allocation(query, pricer.currency or "", table, sheet.whole, table.costs.total(), ground, sheet.everything)


def _apart(query: Query, pricer: Pricer) -> frozenset[By]:
    """Where time was, as far as prices, teams and who takes what is spread depend on it."""
    asked = {key for key in (By.CLUSTER, By.MODEL, By.PROFILE, By.NAMESPACE) if pricer.asks(key.value)}
    if pricer.asks_labels:
        asked.add(By.CLUSTER)
    if pricer.asks_whose or _asks_teams(query) or query.spread is not Spread.NONE:
        asked |= {By.CLUSTER, By.NAMESPACE}
    return frozenset({*asked, By.KIND})


def _asks_teams(query: Query) -> bool:
    return By.TEAM in query.keys or By.TEAM in query.where.keys


def _changes(connection: Connection, billing: ZoneInfo, query: Query) -> tuple[Pricer, Changes]:
    """When rates and teams change: with carbon's, or without where it changes so often that there would be no sums."""
    pricer = read_prices(connection, billing, query.as_of_us, of_teams=_asks_teams(query))
    changes = changes_of(pricer, query)
    if not pricer.has(Quantity.CARBON):
        return pricer, changes
    money = read_prices(connection, billing, query.as_of_us, PRICES, of_teams=_asks_teams(query))
    of_money = changes_of(money, query)
    of_carbon = {*changes.all} - {*of_money.all, *(step.start_us for step in query.steps())}
    few = not of_carbon or len(of_carbon) * count_places(connection, query.period) <= MAX_CUTS
    return (pricer, changes) if few else (money, of_money)


def changes_of(pricer: Pricer, query: Query) -> Changes:
    """When prices, and teams where they are asked for, become others within the query's period."""
    return pricer.changes(query.period.start_us, query.period.end_us, of_teams=_asks_teams(query))


def pending_in(connection: Connection, period: Period, scope: Scope) -> int:
    """Pairs that wait; for who sees some namespaces only the hours of them: how many nodes there are is not theirs."""
    return connection.execute(_pending(period, scope)).scalar_one()


def _pending(period: Period, scope: Scope) -> Select[int]:
    mark, node = schema.dirty_hour.c, schema.node.c
    counted = func.count() if scope.namespaces is None else func.count(mark.hour_us.distinct())
    within = select(counted).select_from(schema.dirty_hour.join(schema.node))
    if scope.clusters is not None:
        within = within.where(node.cluster.in_(sorted(scope.clusters)))
    return within.where(mark.hour_us >= period.start_us, mark.hour_us < period.end_us)
