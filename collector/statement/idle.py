"""The dearest idle workloads of a month: pods that held GPUs on which nothing ran, and what that cost."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, cast, func, select, text, union_all

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.cells import SOURCES, piece, rows_of
from gputally.collector.allocation.nodes import Nodes, read_nodes_alike
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import Detail, Part, Plan
from gputally.collector.allocation.read_plan import read_plan
from gputally.collector.database.schema import device, node, owner
from gputally.collector.rates.cost import time_cost
from gputally.collector.rates.pricing import Key
from gputally.collector.statement.line import Terms
from gputally.collector.statement.terms import TermsBook

MOST = 10  # of a statement, and of each namespace, so that a team's can be told from them


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod and what it held idle. `cost` is exact, as `rates.cost` counts, of the time that has a price.

    `unpriced_us` is the part of `idle_us` that has none. `team` and `cost_center` are empty where they are not known.
    """

    cluster: str
    namespace: str
    namespace_uid: str
    team: str
    cost_center: str
    pod: str
    idle_us: int
    cost: int
    unpriced_us: int


def dearest(workloads: Iterable[Workload]) -> tuple[Workload, ...]:
    """The ten that cost most, then those that idled longest."""
    return tuple(nsmallest(MOST, workloads, key=_order))


def idle_workloads(connection: Connection, period: Period, book: TermsBook) -> tuple[Workload, ...]:
    """The dearest of each namespace and team, the dearest first."""
    kept: dict[tuple[str, ...], list[Workload]] = defaultdict(list)
    for workload in _workloads(connection, period, book):
        group = (workload.cluster, workload.namespace, workload.namespace_uid, workload.team, workload.cost_center)
        kept[group].append(workload)
        if len(kept[group]) > 4 * MOST:
            kept[group] = list(dearest(kept[group]))
    return tuple(sorted((one for found in kept.values() for one in dearest(found)), key=_order))


def _workloads(connection: Connection, period: Period, book: TermsBook) -> Iterator[Workload]:
    """Every pod that idled, by name: however many they are, one is in memory at a time."""
    plan = read_plan(connection, period, (period.start_us,), book.changes(period), Detail.POSTING_DAY)
    nodes, edges = read_nodes_alike(connection, book.pricer, period), plan.pieces.edges
    names = nodes.representatives
    rows = connection.execute(_statement(plan, nodes).execution_options(yield_per=2_000))
    for (cluster, namespace, pod), of_pod in groupby(rows, key=lambda row: tuple(row[:3])):
        sums: dict[Terms, list[tuple[int, int | None]]] = defaultdict(list)
        for row in of_pod:
            terms = book.at(Key(cluster, names[row.node], row.model, row.profile, namespace), edges[row.piece])
            bare = Terms(terms.namespace_uid, terms.team, terms.cost_center)
            sums[bare].append((row.idle, time_cost(row.idle, terms.price)))
        for terms, found in sums.items():
            yield _workload(cluster, namespace, pod, terms, found)


def _workload(cluster: str, namespace: str, pod: str, of: Terms, found: list[tuple[int, int | None]]) -> Workload:
    return Workload(
        cluster,
        namespace,
        of.namespace_uid,
        of.team or "",
        of.cost_center or "",
        pod,
        sum(us for us, _ in found),
        sum(cost for _, cost in found if cost is not None),
        sum(us for us, cost in found if cost is None),
    )


def _statement(plan: Plan, nodes: Nodes) -> Select[*tuple[Any, ...]]:
    """Sums by ids first, as `allocation.cells` does: names are dear to group by."""
    facts = union_all(*(_facts(plan, part) for part in plan.parts)).subquery()
    ids = [column for column in facts.c if column.name != "idle_us"]
    found = select(*ids, func.sum(facts.c.idle_us).label("idle_us")).group_by(*ids).subquery()
    keys = (node.c.cluster, owner.c.namespace, owner.c.pod)
    rest = (device.c.model, found.c.profile, found.c.piece)
    return (
        select(
            *keys,
            nodes.number(node.c.id).label("node"),
            *rest,
            cast(func.sum(found.c.idle_us), BigInteger).label("idle"),
        )
        .join_from(found, node, node.c.id == found.c.node_id)
        .join(device, device.c.id == found.c.device_id)
        .join(owner, owner.c.id == found.c.owner_id)
        .where(owner.c.kind == OwnerKind.POD.value)
        .group_by(*keys, *([text("node")] if nodes.alike else []), *rest)
        .order_by(*keys)
    )


def _facts(plan: Plan, part: Part) -> Select[*tuple[Any, ...]]:
    source = SOURCES[part.detail]
    row = source.table.c
    pointers = (row.node_id, row.device_id, row.owner_id, row.profile)
    return select(*pointers, piece(source, plan.pieces).label("piece"), row.idle_us).where(
        rows_of(part), row.idle_us > 0
    )


def _order(workload: Workload) -> tuple[object, ...]:
    return (
        *(-workload.cost, -workload.idle_us, workload.cluster, workload.namespace, workload.pod),
        *(workload.namespace_uid, workload.team, workload.cost_center),
    )
