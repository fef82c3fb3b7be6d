"""Services whose replicas are all idle in the same hours of every week: at night, or over the weekend."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, and_, func, or_, select

from gputally.accounting.ledger_hour import from_us
from gputally.accounting.states import Basis, OwnerKind, State
from gputally.collector.advice.advice import Advice, Kind, OffHours, Spent, Stretch
from gputally.collector.advice.asked import DAY_US, Asked, pieces
from gputally.collector.advice.held import spent
from gputally.collector.allocation import whose
from gputally.collector.allocation.allocation import read_usage
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.sources import POSTINGS
from gputally.collector.allocation.steps import Step
from gputally.collector.allocation.table import Row
from gputally.collector.database.schema import node, owner, posting
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.ledger.idle import is_idle

LEAST_HOURS = 4  # of a stretch
LEAST_TIMES = 2  # that a stretch was seen
LEAST_DAYS = 7  # of history: every hour of the week once
UNOBSERVED = 10  # percent of an hour at most
SLOTS = 7 * 24
_SERVICES_AT_ONCE = 500  # seven days of hours each
_ROWS_AT_ONCE = 5_000

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
        return seen and is_idle(self.used_us, self.idle_us)


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
    """Of the services that held anything in the last fourteen days; raises QueryError."""
    found: dict[Service, OffHours] = {}
    for service, hours in _hours(connection, asked):
        details = off_hours(hours, asked.zone)
        if details is not None:
            found[service] = details
    costs = _spent(connection, asked, found)
    return [_advice(asked, service, details, costs[service]) for service, details in found.items()]


def _advice(asked: Asked, service: Service, details: OffHours, spent: Spent) -> Advice:
    return Advice(Kind.OFF_HOURS, asked.subject(*service, []), spent, details)


def _hours(connection: Connection, asked: Asked) -> Iterator[tuple[Service, list[Hour]]]:
    """Service by service, of which none but the one at hand is in memory."""
    rows = connection.execute(_statement(asked), execution_options={"yield_per": _ROWS_AT_ONCE})
    for names, of in groupby(rows, key=itemgetter(0, 1, 2)):
        yield Service(*names), [Hour(us, int(used), int(idle), int(unseen)) for _, _, _, us, used, idle, unseen in of]


def _statement(asked: Asked) -> Select[*tuple[Any, ...]]:
    """By ids first, which are cheap to group by; then by names."""
    row, learnt = posting.c, pod_workload.c
    serves = or_(*(and_(learnt.platform == platform, learnt.kind == kind) for platform, kind in SERVICES))
    same = and_(learnt.pod_uid == owner.c.pod_uid, learnt.namespace == owner.c.namespace)
    pods = select(owner.c.id).join_from(pod_workload, owner, same).where(serves)
    within = and_(row.hour_us >= asked.fortnight.start_us, row.hour_us < asked.fortnight.end_us)
    mine = and_(row.basis == Basis.RESERVATION.value, row.owner_id.in_(pods), POSTINGS.visible(asked.scope))
    keys = (row.owner_id, row.node_id, row.hour_us)
    states = ("used_us", "idle_us", "unobserved_us")
    sums = select(*keys, *(func.sum(row[name]).label(name) for name in states)).where(within, mine).group_by(*keys)
    hours = sums.subquery("hours")
    names = (node.c.cluster, owner.c.namespace, learnt.label, hours.c.hour_us)
    return (
        select(*names, *(func.sum(hours.c[name]) for name in states))
        .join_from(hours, node, node.c.id == hours.c.node_id)
        .join(owner, owner.c.id == hours.c.owner_id)
        .join(pod_workload, whose.learnt(node, owner, pod_workload))
        .where(serves)
        .group_by(*names)
        .order_by(*names)
    )


def _spent(connection: Connection, asked: Asked, found: Mapping[Service, OffHours]) -> Mapping[Service, Spent]:
    """What the off hours of the last seven days came to."""
    slots = {of: {slot for one in details.stretches for slot in slots_of(one)} for of, details in found.items()}
    costs: dict[Service, Spent] = defaultdict(Spent)
    for some in pieces(list(found), _SERVICES_AT_ONCE):
        for row in _priced(connection, asked, some):
            service = Service(*row.keys)
            if row.owner == OwnerKind.POD and slot_of(row.step.start_us, asked.zone) in slots.get(service, ()):
                costs[service] = costs[service].plus(spent(row.amounts, row.money, (State.IDLE,)))
    return costs


def _priced(connection: Connection, asked: Asked, services: Sequence[Service]) -> Sequence[Row]:
    """The hours of the last seven days, of services with these names."""
    namespaces, labels = (tuple(sorted({one[at] for one in services})) for at in (1, 2))
    where = Filter((Clause(By.NAMESPACE, Operator.IS, namespaces), Clause(By.WORKLOAD, Operator.IS, labels)))
    week = Period(asked.week.start_us, asked.fortnight.end_us)
    query = Query(week, asked.zone, (By.CLUSTER, By.WORKLOAD), step=Step.HOUR, where=where, scope=asked.scope)
    return read_usage(connection, asked.zone, query)
