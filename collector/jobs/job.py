"""One workload, one row: what its pods come to in a period, in time and money, and how it went."""

from collections import defaultdict
from collections.abc import Sequence
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
class Job:
    """A workload. `teams` are those that its namespace belonged to, in a text each; empty is unknown."""

    name: JobName
    teams: tuple[str, ...]
    known: Known | None
    course: Course
    amounts: Amounts
    money: Money


@dataclass(frozen=True, slots=True)
class Jobs:
    """The workloads of a period in the order of their names; they sum to `allocation`, which is what all pods had."""

    jobs: tuple[Job, ...]
    allocation: Allocation


def read_jobs(connection: Connection, zone: ZoneInfo, query: Query) -> Jobs:
    """The workloads of a query's period, as far as its scope and filter let them be seen; raises QueryError.

    How it is grouped, stepped and spread is left out of account. `zone` is the billing time zone.
    """
    asked = of_pods(query, _KEYS)
    members = read_members(connection, zone, asked)
    found = read_allocation(connection, zone, asked)
    rows: dict[JobName, list[Row]] = defaultdict(list)
    for row in found.rows:
        rows[JobName(*row.keys[:3])].append(row)
    return Jobs(tuple(_job(name, rows[name], members[name]) for name in sorted(rows)), found)


def of_pods(query: Query, by: Sequence[By], step: Step | None = None) -> Query:
    """The same question, about the time of pods alone."""
    pods = Clause(By.KIND, Operator.IS, (OwnerKind.POD.value,))
    where = Filter((*query.where.clauses, pods))
    return replace(query, by=tuple(by), step=step, where=where, spread=Spread.NONE)


def _job(name: JobName, rows: Sequence[Row], members: Members) -> Job:
    teams = tuple(sorted({row.keys[3] for row in rows}))
    amounts, money = summed(row.amounts for row in rows), total(row.money for row in rows)
    return Job(name, teams, members.known, course_of(members.pods), amounts, money)
