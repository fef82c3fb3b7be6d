"""What the queues of a period had and what they used: their time by the ledger, beside their quota by its history.

For each queue and ledger hour, with the time of whole GPUs that its pods reserved:

    quota + borrowed = reserved + unused        (no two of borrowed and unused in one hour; to the microsecond)
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import CTE, BigInteger, Connection, Row, Select, and_, case, cast, func, literal_column, select, text
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.keys import WHOLE_GPU
from gputally.accounting.ledger_hour import hour_end
from gputally.accounting.states import Basis, OwnerKind
from gputally.collector.allocation import whose
from gputally.collector.allocation.cells import in_scope
from gputally.collector.allocation.grouping import of_posting
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import QueryError, Scope
from gputally.collector.database import schema
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.queues.quota_time import Held, QueueKey, QuotaHistory, read_quotas

MAX_CELLS = 200_000  # pairs of hour and queue, some 100 MB
NOBODY = QueueKey("", "", "")
_WORK_MEM = "128MB"  # a fleet's month is summed in memory; PostgreSQL's own 4 MB would sort it on disk

_posting = schema.posting.c
_TIMES = ("used_us", "idle_us", "unobserved_us", "whole_us")


@dataclass(frozen=True, slots=True)
class QueueUse:
    """A queue's time in microseconds; a `key.queue` that is empty: pods of no queue that is known.

    Used, idle and unobserved are what its pods reserved; `whole_us` is the part of it on whole GPUs, which alone is
    compared with the quota; `claimed_us` the part for which nobody but the pod says that it was in this queue.
    None is unknown: no quota of whole GPUs was read, or whoever asks may not see what others had of it.
    `quotas` are those at the end of the period.
    """

    key: QueueKey
    used_us: int = 0
    idle_us: int = 0
    unobserved_us: int = 0
    whole_us: int = 0
    claimed_us: int = 0
    quota_us: int | None = None
    borrowed_us: int | None = None
    quotas: tuple[Held, ...] = ()

    @property
    def reserved_us(self) -> int:
        """What its pods reserved, of whole GPUs and of parts."""
        return self.used_us + self.idle_us + self.unobserved_us

    @property
    def unused_us(self) -> int | None:
        """Quota that nobody of this queue reserved."""
        if self.quota_us is None or self.borrowed_us is None:
            return None
        return self.quota_us + self.borrowed_us - self.whole_us

    @property
    def cohort(self) -> str | None:
        """Whom it borrows from; None: nobody, or unknown."""
        return next((held.cohort for held in self.quotas), None)


class _Cell(NamedTuple):
    """One hour of one queue."""

    hour_us: int
    cluster: str
    system: str
    queue: str
    claimed: int
    used_us: int
    idle_us: int
    unobserved_us: int
    whole_us: int


def read_use(connection: Connection, zone: ZoneInfo, period: Period, now_us: int, scope: Scope) -> tuple[QueueUse, ...]:
    """The queues that had a quota or a pod in a period of whole ledger hours of `zone`, those of most time first.

    Quota counts up to `now_us`. Raises QueryError where the period is too long.
    """
    until_us = min(period.end_us, max(now_us, period.start_us))
    quotas = QuotaHistory({})
    if scope.namespaces is None:
        quotas = read_quotas(connection, period.start_us, until_us, scope.clusters)
    cells: defaultdict[QueueKey, list[_Cell]] = defaultdict(list)
    for cell in _cells(connection, period, scope):
        cells[_key(cell)].append(cell)
    found = (_use(key, cells[key], quotas, period, until_us, zone) for key in {*cells, *quotas.queues})
    return tuple(sorted(found, key=lambda use: (use.key.cluster, -use.reserved_us, use.key)))


def _key(cell: _Cell) -> QueueKey:
    return QueueKey(cell.cluster, cell.system if cell.queue else "", cell.queue)


def _use(
    key: QueueKey, cells: Sequence[_Cell], quotas: QuotaHistory, period: Period, until_us: int, zone: ZoneInfo
) -> QueueUse:
    sums = {name: sum(getattr(cell, name) for cell in cells) for name in _TIMES}
    claimed_us = sum(cell.used_us + cell.idle_us + cell.unobserved_us for cell in cells if cell.claimed)
    quota_us = quotas.time_us(key, period.start_us, until_us)
    borrowed_us = None if quota_us is None else _borrowed(key, cells, quotas, until_us, zone)
    return QueueUse(
        key,
        **sums,
        claimed_us=claimed_us,
        quota_us=quota_us,
        borrowed_us=borrowed_us,
        quotas=quotas.at(key, until_us - 1),  # the end is not in the period any more
    )


def _borrowed(key: QueueKey, cells: Sequence[_Cell], quotas: QuotaHistory, until_us: int, zone: ZoneInfo) -> int:
    """Hour by hour, what its pods reserved beyond the quota."""
    by_hour: defaultdict[int, int] = defaultdict(int)
    for cell in cells:
        by_hour[cell.hour_us] += cell.whole_us
    return sum(
        max(0, whole_us - (quotas.time_us(key, hour_us, min(hour_end(hour_us, zone), until_us)) or 0))
        for hour_us, whole_us in by_hour.items()
    )


def _cells(connection: Connection, period: Period, scope: Scope) -> Iterator[_Cell]:
    for count, row in enumerate(_rows(connection, _statement(period, scope)), start=1):
        if count > MAX_CELLS:
            raise QueryError("window", "too many queues and hours: ask for a shorter window")
        yield _Cell(*row)


def _rows(connection: Connection, statement: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
    """PostgreSQL takes the sums, whose size it cannot know, for a few rows, and would compare each with each queue."""
    few = statement.limit(MAX_CELLS + 1)
    if is_sqlite(connection):
        return connection.execute(few).all()
    connection.execute(text(f"SET LOCAL work_mem = '{_WORK_MEM}'"))
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    found = connection.execute(few).all()
    connection.execute(text("SET LOCAL enable_nestloop = on"))
    return found


def _statement(period: Period, scope: Scope) -> Select[*tuple[Any, ...]]:
    """Sums by ids first, then by queues; whose queue an owner was in is asked once, not for each of its hours."""
    ids = _by_ids(period, scope)
    queued = _queued(ids)
    node = schema.node.c
    groups = [
        *(ids.c.hour_us, node.cluster),
        *(func.coalesce(queued.c[name], literal_column("''")).label(f"the_{name}") for name in ("system", "queue")),
        func.coalesce(queued.c.claimed, literal_column("1")).label("the_claimed"),
    ]
    return (
        select(*groups, *(_sum(ids.c[name]) for name in _TIMES))
        .join_from(ids, schema.node, node.id == ids.c.node_id)
        .outerjoin(queued, and_(queued.c.owner_id == ids.c.owner_id, queued.c.cluster == node.cluster))
        .group_by(ids.c.hour_us, node.cluster, *map(text, ("the_system", "the_queue", "the_claimed")))
    )


def _by_ids(period: Period, scope: Scope) -> CTE:
    held = [func.coalesce(_posting[name], literal_column("0")) for name in _TIMES[:3]]
    whole = case((_posting.partition == WHOLE_GPU, sum(held, literal_column("0"))), else_=0)
    sums = [_sum(one).label(name) for one, name in zip((*held, whole), _TIMES, strict=True)]
    ids = (_posting.hour_us, _posting.node_id, _posting.owner_id)
    of_pods = of_posting(schema.owner.c.kind, schema.owner.c.kind == OwnerKind.POD.value)
    reserved = and_(in_scope(period, scope), of_pods, _posting.basis == Basis.RESERVATION.value)
    return select(*ids, *sums).where(reserved).group_by(*ids).cte("ids").prefix_with("MATERIALIZED")


def _queued(ids: CTE) -> CTE:
    """The queue of each owner that has time, by cluster."""
    owner = schema.owner.c
    learnt = (pod_workload.c.pod_uid == owner.pod_uid, pod_workload.c.namespace == owner.namespace)
    found = (
        select(
            owner.id.label("owner_id"),
            pod_workload.c.cluster,
            whose.system(pod_workload).label("system"),
            whose.cluster_queue(pod_workload).label("queue"),
            case((whose.led_into(pod_workload).is_(None), 1), else_=0).label("claimed"),
        )
        .join_from(schema.owner, pod_workload, and_(*learnt))
        .where(owner.id.in_(select(ids.c.owner_id)))
    )
    return found.cte("queued").prefix_with("MATERIALIZED")


def _sum(time: ColumnElement[int]) -> ColumnElement[int]:
    # PostgreSQL sums bigints to numeric, which is slow to read; these sums fit.
    return cast(func.sum(time), BigInteger)
