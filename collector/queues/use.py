"""What the queues of a period had and what they used: their time by the ledger, beside their quota by its history.

For each queue and ledger hour, with the time of whole GPUs that its pods reserved:

    quota + borrowed = reserved + unused        (no two of borrowed and unused in one hour; to the microsecond)
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CTE,
    BigInteger,
    CompoundSelect,
    Connection,
    Row,
    Select,
    and_,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.keys import WHOLE_GPU
from gputally.accounting.ledger_hour import hour_end
from gputally.accounting.states import Basis, OwnerKind
from gputally.collector.allocation import whose
from gputally.collector.allocation.cells import SOURCES, rows_of
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import Detail, Part, parts, uncut
from gputally.collector.allocation.query import QueryError, Scope
from gputally.collector.allocation.read_plan import read_summed
from gputally.collector.allocation.sources import POSTINGS
from gputally.collector.database import schema
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.queues.quota_time import Held, QueueKey, QuotaHistory, read_quotas

MAX_CELLS = 200_000  # pairs of hour and queue, some 100 MB
NOBODY = QueueKey("", "", "")

# A fleet's month is summed in memory: PostgreSQL's own 4 MB would sort it on disk. It takes queues, whose number it
# cannot know, for one, so it would compare each posting with each pod, and sort all that it finds. To be kept from that
# counts as so dear that it would compile the statement first, for a second.
_USUAL = {"enable_nestloop": "on", "enable_sort": "on", "jit": "on"}
_SETTINGS = {**dict.fromkeys(_USUAL, "off"), "work_mem": "128MB"}
_TIMES = ("used_us", "idle_us", "unobserved_us", "whole_us")
_Statement: TypeAlias = CompoundSelect[*tuple[Any, ...]]


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
    """Time of one queue: of the whole period, or only what it had of whole GPUs in one hour."""

    hour_us: int | None
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
    quota_us = {key: quotas.time_us(key, period.start_us, until_us) for key in quotas.queues}
    compared = [key for key, us in quota_us.items() if us is not None]
    cells: defaultdict[QueueKey, list[_Cell]] = defaultdict(list)
    for cell in _cells(connection, period, scope, compared):
        cells[_key(cell)].append(cell)
    found = (_use(key, cells[key], quota_us.get(key), quotas, until_us, zone) for key in {*cells, *quotas.queues})
    return tuple(sorted(found, key=lambda use: (use.key.cluster, -use.reserved_us, use.key)))


def _key(cell: _Cell) -> QueueKey:
    return QueueKey(cell.cluster, cell.system if cell.queue else "", cell.queue)


def _use(
    key: QueueKey, cells: Sequence[_Cell], quota_us: int | None, quotas: QuotaHistory, until_us: int, zone: ZoneInfo
) -> QueueUse:
    whole = [cell for cell in cells if cell.hour_us is None]
    sums = {name: sum(getattr(cell, name) for cell in whole) for name in _TIMES}
    return QueueUse(
        key,
        **sums,
        claimed_us=sum(cell.used_us + cell.idle_us + cell.unobserved_us for cell in whole if cell.claimed),
        quota_us=quota_us,
        borrowed_us=None if quota_us is None else _borrowed(key, cells, quotas, until_us, zone),
        quotas=quotas.at(key, until_us - 1),  # the end is not in the period any more
    )


def _borrowed(key: QueueKey, cells: Sequence[_Cell], quotas: QuotaHistory, until_us: int, zone: ZoneInfo) -> int:
    """Hour by hour, what its pods reserved beyond the quota."""
    hours = ((cell.hour_us, cell.whole_us) for cell in cells if cell.hour_us is not None)
    return sum(
        max(0, whole_us - (quotas.time_us(key, hour_us, min(hour_end(hour_us, zone), until_us)) or 0))
        for hour_us, whole_us in hours
    )


def _cells(connection: Connection, period: Period, scope: Scope, compared: Sequence[QueueKey]) -> Iterator[_Cell]:
    days = uncut(period, (period.start_us,), read_summed(connection, period))
    statement = _statement(parts(period, Detail.POSTING_DAY, days), period, scope, compared)
    for count, row in enumerate(_rows(connection, statement), start=1):
        if count > MAX_CELLS:
            raise QueryError("window", "too many queues and hours: ask for a shorter window")
        yield _Cell(*row)


def _rows(connection: Connection, statement: _Statement) -> Sequence[Row[*tuple[Any, ...]]]:
    few = statement.limit(MAX_CELLS + 1)
    if is_sqlite(connection):
        return connection.execute(few).all()
    _set(connection, _SETTINGS)
    found = connection.execute(few).all()
    _set(connection, _USUAL)
    return found


def _set(connection: Connection, settings: Mapping[str, str]) -> None:
    told = (func.set_config(name, value, True) for name, value in settings.items())
    connection.execute(select(*told))


def _statement(found: Sequence[Part], period: Period, scope: Scope, compared: Sequence[QueueKey]) -> _Statement:
    """Sums of the period from days, where they are summed; only what is compared with a quota is read hour by hour."""
    queued = _queued(_learnt(_by_ids(found, scope)))
    sums = _by_queues(queued)
    return union_all(sums, _by_hours(queued, period, compared)) if compared else union_all(sums)


def _by_ids(found: Sequence[Part], scope: Scope) -> CTE:
    """Sums by ids first, each pair of node and owner once, so that names are looked up once for each of them."""
    rows = union_all(*(_reserved(part, scope) for part in found)).subquery().c
    ids = (rows.node_id, rows.owner_id)
    sums = (_sum(rows[name]).label(name) for name in _TIMES)
    return select(*ids, *sums).group_by(*ids).cte("ids").prefix_with("MATERIALIZED")


def _reserved(part: Part, scope: Scope) -> Select[*tuple[Any, ...]]:
    """What pods reserved."""
    source = SOURCES[part.detail]
    row = source.table.c
    whole = case((row.partition == WHOLE_GPU, _held(row)), else_=literal_column("0"))
    of_pods = source.among(By.KIND, [OwnerKind.POD.value]), row.basis == Basis.RESERVATION.value
    times = (row.used_us, row.idle_us, row.unobserved_us, whole.label("whole_us"))
    return select(row.node_id, row.owner_id, *times).where(rows_of(part), source.visible(scope), *of_pods)


def _learnt(ids: CTE) -> CTE:
    """The sums by ids with what pods say of their queues, and where a LocalQueue led: that is looked up once."""
    node, owner, pod = schema.node, schema.owner, pod_workload.c
    said = (pod.queue, pod.cluster_queue, pod.sources, whose.led_into(pod_workload).label("led_into"))
    found = (
        select(*ids.c, node.c.cluster, *said)
        .join_from(ids, node, node.c.id == ids.c.node_id)
        .join(owner, owner.c.id == ids.c.owner_id)
        .outerjoin(pod_workload, whose.learnt(node, owner, pod_workload))
    )
    return found.cte("learnt").prefix_with("MATERIALIZED")


def _queued(learnt: CTE) -> CTE:
    """The sums by ids with their queues, empty where none is known."""
    row = learnt.c
    names = (
        whose.system(learnt).label("system"),
        func.coalesce(row.led_into, whose.claimed_queue(learnt)).label("queue"),
        case((row.led_into.is_(None), 1), else_=0).label("claimed"),
    )
    ids = (row.node_id, row.owner_id, row.cluster)
    return select(*ids, *names, *(row[name] for name in _TIMES)).cte("queued").prefix_with("MATERIALIZED")


def _by_queues(queued: CTE) -> Select[*tuple[Any, ...]]:
    names = [queued.c[name] for name in ("cluster", "system", "queue", "claimed")]
    return select(cast(null(), BigInteger), *names, *(_sum(queued.c[name]) for name in _TIMES)).group_by(*names)


def _by_hours(queued: CTE, period: Period, keys: Sequence[QueueKey]) -> Select[*tuple[Any, ...]]:
    """What some queues had of whole GPUs, from postings: the sum of a day does not say in which hour it was."""
    row, queue = schema.posting.c, [queued.c[name] for name in QueueKey._fields]
    of_queue = and_(queued.c.node_id == row.node_id, queued.c.owner_id == row.owner_id)
    whole = row.partition == WHOLE_GPU, row.basis == Basis.RESERVATION.value
    return (
        select(row.hour_us, *queue, *repeat(literal_column("0", BigInteger), 4), _sum(_held(row)))
        .join_from(schema.posting, queued, of_queue)
        .where(POSTINGS.within((period,)), *whole, tuple_(*queue).in_(keys))
        .group_by(row.hour_us, *queue)
    )


def _held(row: Any) -> ColumnElement[int]:
    held: ColumnElement[int] = row.used_us + row.idle_us + row.unobserved_us
    return held


def _sum(time: ColumnElement[int]) -> ColumnElement[int]:
    # PostgreSQL sums bigints to numeric, which is slow to read; these sums fit.
    return cast(func.sum(time), BigInteger)
