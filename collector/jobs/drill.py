"""What one workload is made of: its attempts, their pods, and the devices that each of them held."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.allocation.allocation import Allocation, read_allocation
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import Money, total
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.table import Row
from gputally.collector.jobs.attempts import Attempt
from gputally.collector.jobs.course import course_of
from gputally.collector.jobs.job import Job, of_pods
from gputally.collector.jobs.pod import JobPod
from gputally.collector.jobs.read_pods import JobName, Members, read_members

_KEYS = (
    *(By.CLUSTER, By.NAMESPACE, By.WORKLOAD, By.TEAM, By.POD, By.POD_UID),
    *(By.NODE, By.MODEL, By.DEVICE, By.PARTITION, By.PROFILE),
)


class Device(NamedTuple):
    """A device, or a partition of one."""

    node: str
    model: str
    uuid: str
    partition: str
    profile: str


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """What a pod had of a device."""

    device: Device
    amounts: Amounts
    money: Money


@dataclass(frozen=True, slots=True)
class PodUse:
    """What a pod had."""

    pod: JobPod
    devices: tuple[DeviceUse, ...]
    amounts: Amounts
    money: Money


@dataclass(frozen=True, slots=True)
class AttemptUse:
    """What the pods of an attempt had."""

    attempt: Attempt
    pods: tuple[PodUse, ...]
    amounts: Amounts
    money: Money


@dataclass(frozen=True, slots=True)
class Drilled:
    """A workload, its pods by their start, and the attempts that they belong to (none where they are replicas)."""

    job: Job
    pods: tuple[PodUse, ...]
    attempts: tuple[AttemptUse, ...]


def of_workload(query: Query, namespace: str, label: str, cluster: str | None = None) -> Query:
    """The same question, about one workload; None: in whatever clusters."""
    names = ((By.NAMESPACE, namespace), (By.WORKLOAD, label), (By.CLUSTER, cluster))
    more = (Clause(key, Operator.IS, (name,)) for key, name in names if name is not None)
    return replace(query, where=Filter((*query.where.clauses, *more)))


def read_job(connection: Connection, zone: ZoneInfo, query: Query) -> tuple[Sequence[Drilled], Allocation]:
    """The workloads that a query is about (of one name, in each cluster that has one), and their sum.

    Raises QueryError.
    """
    asked = of_pods(query, _KEYS)
    members = read_members(connection, zone, asked)
    found = read_allocation(connection, zone, asked)
    by_name: dict[JobName, list[Row]] = defaultdict(list)
    for row in found.rows:
        by_name[JobName(*_named(row, found, By.CLUSTER, By.NAMESPACE, By.WORKLOAD))].append(row)
    return [_drilled(name, by_name[name], members[name], found) for name in sorted(by_name)], found


def _named(row: Row, found: Allocation, *keys: By) -> tuple[str, ...]:
    names = dict(zip(found.query.keys, row.keys, strict=True))
    return tuple(names[key] for key in keys)


def _drilled(name: JobName, rows: Sequence[Row], members: Members, found: Allocation) -> Drilled:
    of_pods: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        of_pods[_named(row, found, By.POD, By.POD_UID)].append(row)
    # A filter that only the rows know (a team's) may have left out all time of a pod.
    pods = {pod: _pod(pod, of_pods[pod.name, pod.uid], found) for pod in members.pods if (pod.name, pod.uid) in of_pods}
    course = course_of(list(pods))
    teams = tuple(sorted({team for row in rows for team in _named(row, found, By.TEAM)}))
    job = Job(name, teams, *_sum(pods.values()), members.known, course)
    attempts = tuple(_attempt(one, pods) for one in course.attempts)
    return Drilled(job, tuple(pods.values()), attempts)


def _pod(pod: JobPod, rows: Sequence[Row], found: Allocation) -> PodUse:
    by_device: dict[Device, list[Row]] = defaultdict(list)
    for row in rows:
        by_device[Device(*_named(row, found, By.NODE, By.MODEL, By.DEVICE, By.PARTITION, By.PROFILE))].append(row)
    devices = tuple(DeviceUse(device, *_sum(of)) for device, of in sorted(by_device.items()))
    return PodUse(pod, devices, *_sum(devices))


def _attempt(one: Attempt, pods: Mapping[JobPod, PodUse]) -> AttemptUse:
    of = tuple(pods[pod] for pod in one.pods)
    return AttemptUse(one, of, *_sum(of))


def _sum(parts: Iterable[Row | DeviceUse | PodUse]) -> tuple[Amounts, Money]:
    found = list(parts)
    return summed(one.amounts for one in found), total(one.money for one in found)
