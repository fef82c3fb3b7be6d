"""What every kind of advice is read with: whose, as of when, at which prices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, and_, text, true
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.ledger_hour import HOUR_US, hour_end, hour_start
from gputally.accounting.states import OwnerKind
from gputally.collector.advice.advice import Subject
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import QueryError, Scope
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema import node, owner
from gputally.collector.rates.pricing import Key, Pricer

DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
MOST_ROWS = 200_000  # of one question to the database, some 100 MB
# A fleet's week is summed in memory: PostgreSQL expects more sums than there are, and would sort all rows on disk.
_HASHED = text("SELECT set_config('work_mem', '128MB', true), set_config('enable_sort', 'off', true)")
_AS_USUAL = text("SET LOCAL enable_sort = on")
_AT_ONCE = 20_000  # names in one statement: below what either database takes as parameters

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Asked:
    """`zone` is the billing time zone, `now_us` the wall clock."""

    zone: ZoneInfo
    now_us: int
    scope: Scope
    pricer: Pricer

    @property
    def week(self) -> Period:
        """The ledger hours of the last seven days, with the one that goes on."""
        now = hour_start(self.now_us, self.zone)
        return Period(hour_start(now - WEEK_US, self.zone), hour_end(now, self.zone))

    @property
    def fortnight(self) -> Period:
        """The whole ledger hours of the last fourteen days."""
        now = hour_start(self.now_us, self.zone)
        return Period(hour_start(now - 2 * WEEK_US, self.zone), now)

    def subject(self, cluster: str, namespace: str, workload: str, pods: Sequence[str]) -> Subject:
        """Whom advice is about, with the team that it belongs to now."""
        at_us = hour_start(self.now_us, self.zone)
        team = self.pricer.team(Key(cluster, "", "", "", namespace), at_us) or ""
        return Subject(cluster, namespace, team, workload, tuple(sorted(set(pods))))

    def visible(self) -> ColumnElement[bool]:
        """Which pods may be seen, where `node` and `owner` are joined; those without a UID are nobody's to advise."""
        scope, conditions = self.scope, [owner.c.kind == OwnerKind.POD.value, owner.c.pod_uid != ""]
        if scope.namespaces is not None:
            conditions.append(owner.c.namespace.in_(sorted(scope.namespaces)))
        if scope.clusters is not None:
            conditions.append(node.c.cluster.in_(sorted(scope.clusters)))
        return and_(true(), *conditions)


def rows_of(connection: Connection, statement: Select[*tuple[Any, ...]], times: int = 1) -> Sequence[Any]:
    """What a statement finds, in no order; raises QueryError where that is too much to answer at once.

    `times` is how many rows of one pod and device there may be.
    """
    most = MOST_ROWS * times
    if not is_sqlite(connection):
        connection.execute(_HASHED)
    rows = connection.execute(statement.limit(most + 1)).all()
    if not is_sqlite(connection):
        connection.execute(_AS_USUAL)
    if len(rows) > most:
        raise QueryError("namespace", "too many pods to look at: ask for one namespace")
    return rows


def pieces(names: Sequence[Item], most: int = _AT_ONCE) -> Iterator[Sequence[Item]]:
    """The names, as many at a time as a statement takes."""
    return (names[at : at + most] for at in range(0, len(names), most))
