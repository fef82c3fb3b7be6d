"""In which order workloads are told."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeVar

from gputally.accounting.states import State
from gputally.collector.jobs.job import Job, JobUse
from gputally.collector.jobs.read_pods import JobName

_IDLE = list(State).index(State.IDLE)

Use = TypeVar("Use", bound=JobUse)


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


# What cannot be told by what they had.
BY_COURSE = frozenset({Sort.ATTEMPTS, Sort.START})


def ordered(jobs: Iterable[Job], sort: Sort) -> list[Job]:
    """The workloads in order; what is unknown comes last, and equal ones by idle time and name."""
    if sort not in BY_COURSE:
        return by_use(jobs, sort)
    return sorted(jobs, key=lambda job: (_COURSES[sort](job), *_equal(job)))


def by_use(jobs: Iterable[Use], sort: Sort) -> list[Use]:
    """The same by what they had; raises KeyError where the order needs their course."""
    return sorted(jobs, key=lambda job: (_USES[sort](job), *_equal(job)))


def _equal(job: JobUse) -> tuple[int, JobName]:
    return -job.amounts.idle_us, job.name


def _most(value: float | None) -> float:
    return 1 if value is None else -value


_USES: dict[Sort, Callable[[JobUse], object]] = {
    Sort.IDLE_COST: lambda job: _most(job.money.of_state(_IDLE)),
    Sort.COST: lambda job: _most(job.money.cost),
    Sort.HOURS: lambda job: -job.amounts.capacity_us,
    Sort.USED: lambda job: -job.amounts.used_us,
    Sort.IDLE: lambda job: -job.amounts.idle_us,
    Sort.UNOBSERVED: lambda job: -job.amounts.unobserved_us,
    Sort.EFFICIENCY: lambda job: _most(job.amounts.efficiency),
    Sort.NAME: lambda job: job.name[1:],
}
_COURSES: dict[Sort, Callable[[Job], object]] = {
    Sort.ATTEMPTS: lambda job: -len(job.course.attempts),
    Sort.START: lambda job: -job.course.start_us,
}
