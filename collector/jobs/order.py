"""In which order workloads are told."""

from collections.abc import Callable, Iterable
from enum import StrEnum

from gputally.accounting.states import State
from gputally.collector.jobs.job import Job

_IDLE = list(State).index(State.IDLE)


class Sort(StrEnum):
    """What comes first: the largest, of begins and ends the latest; or by name."""

    IDLE_COST = "idle-cost"
    COST = "cost"
    HOURS = "hours"
    USED = "used"
    IDLE = "idle"
    UNOBSERVED = "unobserved"
    EFFICIENCY = "efficiency"
    ATTEMPTS = "attempts"
    START = "start"
    NAME = "name"


def ordered(jobs: Iterable[Job], sort: Sort) -> list[Job]:
    """The workloads in order; what is unknown comes last, and equal ones by idle time and name."""
    return sorted(jobs, key=lambda job: (_ORDERS[sort](job), -job.amounts.idle_us, job.name))


def _most(value: float | None) -> float:
    return 1 if value is None else -value


_ORDERS: dict[Sort, Callable[[Job], object]] = {
    Sort.IDLE_COST: lambda job: _most(job.money.of_state(_IDLE)),
    Sort.COST: lambda job: _most(job.money.cost),
    Sort.HOURS: lambda job: -job.amounts.capacity_us,
    Sort.USED: lambda job: -job.amounts.used_us,
    Sort.IDLE: lambda job: -job.amounts.idle_us,
    Sort.UNOBSERVED: lambda job: -job.amounts.unobserved_us,
    Sort.EFFICIENCY: lambda job: _most(job.amounts.efficiency),
    Sort.ATTEMPTS: lambda job: -len(job.course.attempts),
    Sort.START: lambda job: -job.course.start_us,
    Sort.NAME: lambda job: job.name[1:],
}
