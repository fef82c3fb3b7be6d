"""One workload, one row: what its pods come to in a period, in time and money, and how it went."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.allocation import Allocation, read_allocation
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import Money, total
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.allocation.steps import Step
from gputally.collector.allocation.table import Row
from gputally.collector.jobs.course import Course, course_of
from gputally.collector.jobs.read_pods import JobName, Known, Members, read_members

_KEYS = (By.CLUSTER, By.NAMESPACE, By.WORKLOAD, By.TEAM)


@dataclass(frozen=True, slots=True)
class JobUse:
    """What a workload had. `teams` are those that its namespace belonged to, in a text each; empty is unknown."""

    name: JobName
    teams: tuple[str, ...]
    amounts: Amounts
    money: Money


@dataclass(frozen=True, slots=True)
class Job(JobUse):
    """A workload, with how it is known and how it went."""

    known: Known | None
    course: Course


@dataclass(frozen=True, slots=True)
class Jobs:
    """The workloads of a period in the order of their names; they sum to `allocation`, which is what all pods had."""

    jobs: tuple[Job, ...]
    allocation: Allocation


def read_jobs(connection: Connection, zone: ZoneInfo, query: Query) -> Jobs:
    """The workloads of a query's period, as far as its scope and filter let them be seen; raises QueryError.

    How it is grouped, stepped and spread is left out of account. `zone` is the billing time zone.
    """
    uses, found = read_uses(connection, zone, query)
    return Jobs(read_some(connection, zone, query, uses, every=True), found)


def read_uses(connection: Connection, zone: ZoneInfo, query: Query) -> tuple[list[JobUse], Allocation]:
    """What they had, without their pods, of which a fleet's month has ten times as many; raises QueryError."""
    found = read_allocation(connection, zone, of_pods(query, _KEYS))
    rows: dict[JobName, list[Row]] = defaultdict(list)
    for row in found.rows:
        rows[JobName(*row.keys[:3])].append(row)
    return [_use(name, rows[name]) for name in sorted(rows)], found


def read_some(
    connection: Connection, zone: ZoneInfo, query: Query, uses: Sequence[JobUse], *, every: bool = False
) -> tuple[Job, ...]:
    """How some of a query's workloads went, in the order that they are given in; raises QueryError.

    `every`: they are all that there are, which need not be looked for by their names.
    """
    if not uses:
        return ()
    if every:
        return _told(uses, read_members(connection, zone, of_pods(query, _KEYS)))
    within = Clause(By.NAMESPACE, Operator.IS, tuple(sorted({one.name.namespace for one in uses})))
    asked = of_pods(replace(query, where=Filter((*query.where.clauses, within))), _KEYS)
    return _told(uses, read_members(connection, zone, asked, [one.name for one in uses]))


def of_pods(query: Query, by: Sequence[By], step: Step | None = None) -> Query:
    """The same question, about the time of pods alone."""
    pods = Clause(By.KIND, Operator.IS, (OwnerKind.POD.value,))
    where = Filter((*query.where.clauses, pods))
    return replace(query, by=tuple(by), step=step, where=where, spread=Spread.NONE)


def _use(name: JobName, rows: Sequence[Row]) -> JobUse:
    teams = tuple(sorted({row.keys[3] for row in rows}))
    return JobUse(name, teams, summed(row.amounts for row in rows), total(row.money for row in rows))


def _told(uses: Iterable[JobUse], members: Mapping[JobName, Members]) -> tuple[Job, ...]:
    return tuple(_job(one, members[one.name]) for one in uses)


def _job(one: JobUse, members: Members) -> Job:
    return Job(one.name, one.teams, one.amounts, one.money, members.known, course_of(members.pods))
