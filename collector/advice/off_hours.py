"""Services whose replicas are all idle in the same hours of every week: at night, or over the weekend."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, or_, select, true

from gputally.accounting.ledger_hour import from_us
from gputally.accounting.states import OwnerKind, State
from gputally.collector.advice.advice import Advice, Kind, OffHours, Spent, Stretch
from gputally.collector.advice.asked import DAY_US, Asked, pieces
from gputally.collector.advice.held import spent
from gputally.collector.allocation.allocation import read_allocation
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.sheet import Row
from gputally.collector.allocation.steps import Step
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.now.latest import is_idle

LEAST_HOURS = 4  # of a stretch
LEAST_TIMES = 2  # that a stretch was seen
LEAST_DAYS = 7  # of history: every hour of the week once
UNOBSERVED = 10  # percent of an hour at most
SLOTS = 7 * 24
_SERVICES_AT_ONCE = 200  # fourteen days of hours each

# Platform and kind of what answers requests, by the rules that ship with the package.
SERVICES = (
    ("kserve", "InferenceService"),
    ("kserve", "LLMInferenceService"),
    ("nim", "NIMService"),
    ("triton", "Deployment"),
    ("ray", "RayService"),
    ("run:ai", "InferenceWorkload"),
    ("run:ai", "DistributedInferenceWorkload"),
)


@dataclass(frozen=True, slots=True)
class Hour:
    """What all replicas together did in a ledger hour in which any of them held something."""

    start_us: int
    used_us: int
    idle_us: int
    unobserved_us: int

    @property
    def off(self) -> bool:
        """Whether nothing ran, as far as an hour's measurement tells."""
        held_us = self.used_us + self.idle_us + self.unobserved_us
        seen = self.unobserved_us * 100 <= held_us * UNOBSERVED
        return self.idle_us > 0 and seen and is_idle(self.used_us, self.idle_us)


class Service(NamedTuple):
    """A workload that answers requests."""

    cluster: str
    namespace: str
    label: str


def off_hours(hours: Sequence[Hour], zone: ZoneInfo) -> OffHours | None:
    """The stretches of the week in which a service was idle each time; None where they do not recur, or are short."""
    if not hours:
        return None
    span_us = max(hour.start_us for hour in hours) - min(hour.start_us for hour in hours)
    days = -(-span_us // DAY_US)
    by_slot: dict[int, list[bool]] = defaultdict(list)
    for hour in hours:
        by_slot[slot_of(hour.start_us, zone)].append(hour.off)
    off = {slot: len(seen) for slot, seen in by_slot.items() if all(seen)}
    stretches = tuple(one for one in _stretches(set(off)) if one.length >= LEAST_HOURS)
    times = sum(max(off[slot] for slot in slots_of(one)) for one in stretches)
    if days < LEAST_DAYS or times < LEAST_TIMES:
        return None
    return OffHours(stretches, times, days)


def slot_of(us: int, zone: ZoneInfo) -> int:
    """The hour of the week, from Monday, 00:00, in the zone."""
    local = from_us(us).astimezone(zone)
    return local.weekday() * 24 + local.hour


def slots_of(stretch: Stretch) -> Iterator[int]:
    """The hours of the week that a stretch has; after Sunday comes Monday."""
    return ((stretch.first + at) % SLOTS for at in range(stretch.length))


def _stretches(slots: set[int]) -> Iterator[Stretch]:
    if len(slots) == SLOTS:
        yield Stretch(0, SLOTS)
        return
    for first in sorted(slot for slot in slots if (slot - 1) % SLOTS not in slots):
        length = 1
        while (first + length) % SLOTS in slots:
            length += 1
        yield Stretch(first, length)


def read_off_hours(connection: Connection, asked: Asked) -> list[Advice]:
    """Of the services whose pods were there in the last fourteen days; raises QueryError."""
    found = []
    for some in pieces(_services(connection, asked), _SERVICES_AT_ONCE):
        for service, rows in _hours(connection, asked, some).items():
            details = off_hours([_hour(row) for row in rows], asked.zone)
            if details is not None:
                found.append(_advice(asked, service, rows, details))
    return found


def _hour(row: Row) -> Hour:
    return Hour(row.step.start_us, row.amounts.used_us, row.amounts.idle_us, row.amounts.unobserved_us)


def _advice(asked: Asked, service: Service, rows: Sequence[Row], details: OffHours) -> Advice:
    """The time in question is that of the last seven days."""
    slots = {slot for stretch in details.stretches for slot in slots_of(stretch)}
    whole = Spent()
    for row in rows:
        if row.step.start_us >= asked.week.start_us and slot_of(row.step.start_us, asked.zone) in slots:
            whole = whole.plus(spent(row.amounts, row.money, (State.IDLE,)))
    return Advice(Kind.OFF_HOURS, asked.subject(*service, []), whole, details)


def _hours(connection: Connection, asked: Asked, services: Sequence[Service]) -> Mapping[Service, list[Row]]:
    namespaces, labels = (tuple(sorted({one[at] for one in services})) for at in (1, 2))
    where = Filter(
        (Clause(By.NAMESPACE, Operator.IS, namespaces), Clause(By.WORKLOAD, Operator.IS, labels)),
    )
    query = Query(
        asked.fortnight, asked.zone, (By.CLUSTER, By.WORKLOAD), step=Step.HOUR, where=where, scope=asked.scope
    )
    wanted = set(services)
    found: dict[Service, list[Row]] = defaultdict(list)
    for row in read_allocation(connection, asked.zone, query).rows:
        service = Service(*row.keys)
        if row.owner == OwnerKind.POD and service in wanted:
            found[service].append(row)
    return found


def _services(connection: Connection, asked: Asked) -> Sequence[Service]:
    row, scope = pod_workload.c, asked.scope
    serves = or_(*(and_(row.platform == platform, row.kind == kind) for platform, kind in SERVICES))
    there = or_(row.gone_us.is_(None), row.gone_us >= asked.week.start_us)
    namespaces = true() if scope.namespaces is None else row.namespace.in_(sorted(scope.namespaces))
    clusters = true() if scope.clusters is None else row.cluster.in_(sorted(scope.clusters))
    query = select(row.cluster, row.namespace, row.label).distinct().where(serves, there, namespaces, clusters)
    return [Service(*found) for found in connection.execute(query.order_by(row.cluster, row.namespace, row.label))]
