"""The pods that had time in a period, by the workload that they belong to."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, Subquery, and_, func, select, true, tuple_, union_all

from gputally.accounting.ledger_hour import hour_end
from gputally.collector.allocation import whose
from gputally.collector.allocation.plan import Detail, Part, detail, parts, uncut
from gputally.collector.allocation.query import Query, TooMany
from gputally.collector.allocation.read_plan import read_summed
from gputally.collector.allocation.sources import POSTING_DAYS, POSTINGS
from gputally.collector.database.schema import node, owner, window
from gputally.collector.database.schema_waste import tenure
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.jobs.pod import JobPod, outcome_of
from gputally.collector.ledger.state import read_state
from gputally.collector.waste.life import has_ended

MAX_PODS = 200_000  # of one answer, some 200 MB


class JobName(NamedTuple):
    """What a workload is named by: the one of this label in a namespace of a cluster."""

    cluster: str
    namespace: str
    label: str


@dataclass(frozen=True, slots=True)
class Known:
    """How a workload is known: its platform (None: no rule knows it), the rules that matched, and their evidence."""

    platform: str | None
    rules: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Members:
    """The pods of a workload by their start; `known` is None where nothing was learnt of any of them."""

    pods: tuple[JobPod, ...]
    known: Known | None


def read_members(
    connection: Connection, zone: ZoneInfo, query: Query, only: Sequence[JobName] | None = None
) -> Mapping[JobName, Members]:
    """What a query about pods finds of them, as far as the database decides it; of some workloads `only`, where they
    are given. Raises TooMany.
    """
    rows: dict[JobName, dict[tuple[str, str], list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(connection, query, only):
        rows[JobName(row.cluster, row.namespace, row.label)][row.pod, row.pod_uid].append(row)
    state = read_state(connection)
    gone_us = state.booked_until_us - state.absent_after_us
    return {name: _members(list(of.values()), zone, gone_us) for name, of in rows.items()}


def _rows(connection: Connection, query: Query, only: Sequence[JobName] | None) -> Sequence[Any]:
    rows = connection.execute(_statement(connection, query, only).limit(MAX_PODS + 1)).all()
    if len(rows) > MAX_PODS:
        raise TooMany("window", "too many pods: ask for a shorter window, or for fewer namespaces")
    return rows


def _members(pods: Sequence[Sequence[Any]], zone: ZoneInfo, gone_us: int) -> Members:
    learnt = [of[0] for of in pods if of[0].rule is not None]
    made = {(of[0].pod, of[0].pod_uid): of[0].uid for of in pods}
    found = sorted((_pod(of, zone, gone_us) for of in pods), key=lambda pod: (pod.start_us, pod.name, pod.uid))
    return Members(tuple(told_apart(found, made)), _known(learnt) if learnt else None)


def told_apart(pods: Sequence[JobPod], made: Mapping[tuple[str, str], str | None]) -> Iterator[JobPod]:
    """The pods, with numbers for runs where a workload was made again under its name and nothing else tells them.

    `made` says which of them a pod belongs to, by the UID; None: unknown.
    """
    times: dict[str, str] = {}
    for pod in pods:
        uid = made[pod.name, pod.uid]
        if uid is not None:
            times.setdefault(uid, str(len(times) + 1))
    for pod in pods:
        uid = made[pod.name, pod.uid]
        if len(times) > 1 and uid is not None and pod.run is None:
            yield replace(pod, run=times[uid])
        else:
            yield pod


def _known(rows: Sequence[Any]) -> Known:
    rules, evidence = (tuple(sorted({getattr(row, name) for row in rows})) for name in ("rule", "evidence"))
    return Known(rows[0].platform, rules, evidence)


def _pod(rows: Sequence[Any], zone: ZoneInfo, gone_us: int) -> JobPod:
    """A pod from the rows of its containers and nodes, of which only the times differ.

    Nodes that were silent since `gone_us` are gone.
    """
    first = rows[0]
    ended_us = first.finished_us if first.finished_us is not None else first.gone_us
    start_us, until_us = _times(rows, zone, ended_us)
    known = ended_us is not None
    ended = all(has_ended(until_us, row.newest_us, gone_us, known=known) for row in rows)
    return JobPod(
        first.pod,
        first.pod_uid,
        tuple(sorted({row.node for row in rows})),
        start_us,
        until_us,
        outcome_of(first.phase, lives=not ended),
        *(first.reason, first.role, first.rank, first.replica, first.attempt, first.run),
    )


def _times(rows: Sequence[Any], zone: ZoneInfo, ended_us: int | None) -> tuple[int, int]:
    """From when until when a pod held something; by its hours, and what the API says, where no window is known."""
    if all(row.held_from_us is not None for row in rows):
        return min(row.held_from_us for row in rows), max(row.held_until_us for row in rows)
    start_us = max(min(row.first_us for row in rows), rows[0].started_us or 0)
    until_us = max(hour_end(row.last_us, zone) for row in rows)
    return start_us, until_us if ended_us is None else max(start_us, min(until_us, ended_us))


# One look into the index for each node, whatever the number of its windows.
_NEWEST = (
    select(node.c.id, select(func.max(window.c.start_us)).where(window.c.node_id == node.c.id).scalar_subquery())
    .subquery()
    .alias("newest")
)
_LEARNT = tuple(
    pod_workload.c[name]
    for name in (
        *("platform", "uid", "rule", "evidence", "role", "rank", "replica", "attempt", "run"),
        *("started_us", "finished_us", "gone_us", "phase", "reason"),
    )
)


def _statement(connection: Connection, query: Query, only: Sequence[JobName] | None) -> Select[*tuple[Any, ...]]:
    """First and last hours by ids, which are cheap to group by; then the pods' own times, and names."""
    held = _timed(_held(connection, query))
    names = (node.c.cluster, owner.c.namespace, whose.name(owner, pod_workload).label("label"))
    times = (held.c[name] for name in ("first_us", "last_us", "held_from_us", "held_until_us"))
    chosen = true() if only is None else tuple_(*names).in_(only)
    return (
        select(*names, node.c.name.label("node"), owner.c.pod, owner.c.pod_uid, *times)
        .add_columns(_NEWEST.c[1].label("newest_us"), *_LEARNT)
        .join_from(held, node, node.c.id == held.c.node_id)
        .join(_NEWEST, _NEWEST.c.id == held.c.node_id)
        .join(owner, owner.c.id == held.c.owner_id)
        .outerjoin(pod_workload, whose.learnt(node, owner, pod_workload))
        .where(query.where.whose(), chosen)
        .order_by(*names, owner.c.pod, owner.c.pod_uid)
    )


def _held(connection: Connection, query: Query) -> Subquery:
    """Who held something where, with the first and the last hour: from sums of days, as far as there are."""
    needed = detail([clause.key for clause in query.where.clauses], by_node=True)
    found = read_summed(connection, query.period) if needed is Detail.POSTING_DAY else []
    days = uncut(query.period, (query.period.start_us,), found)
    rows = union_all(*(_part(query, part) for part in parts(query.period, needed, days))).subquery()
    hours = (func.min(rows.c.first_us).label("first_us"), func.max(rows.c.last_us).label("last_us"))
    return select(rows.c.node_id, rows.c.owner_id, *hours).group_by(rows.c.node_id, rows.c.owner_id).subquery()


def _part(query: Query, part: Part) -> Select[*tuple[Any, ...]]:
    source = POSTING_DAYS if part.detail is Detail.POSTING_DAY else POSTINGS
    ids = [source.pointers[table] for table in (node, owner)]
    last = source.table.c.last_us if source is POSTING_DAYS else source.first
    within = and_(source.within(part.spans), source.visible(query.scope), source.holds(query.where))
    hours = (func.min(source.first).label("first_us"), func.max(last).label("last_us"))
    return select(*ids, *hours).where(within).group_by(*ids)


def _timed(held: Subquery) -> Subquery:
    """With the windows that a container first and last held something in, whenever that was; NULL: not known."""
    edges = (func.min(tenure.c.held_from_us), func.max(tenure.c.held_until_us))
    return (
        select(*held.c, edges[0].label("held_from_us"), edges[1].label("held_until_us"))
        .outerjoin(tenure, and_(tenure.c.owner_id == held.c.owner_id, tenure.c.node_id == held.c.node_id))
        .group_by(*held.c)
        .subquery()
    )
