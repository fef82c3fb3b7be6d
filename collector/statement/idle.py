"""The dearest idle workloads of a month: pods that held GPUs on which nothing ran, and what that cost."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Select, cast, func, select, text, union_all

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.cells import SOURCES, piece, rows_of
from gputally.collector.allocation.nodes import Nodes, read_nodes_alike
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import Detail, Part, Plan
from gputally.collector.allocation.read_plan import read_plan
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema import device, node, owner
from gputally.collector.rates.pricing import Key
from gputally.collector.statement.block import bare
from gputally.collector.statement.terms import TermsBook

_POD, _IDLE = 6, 7  # columns of a row; what stands before them is what a price depends on
_NOTHING = (0, 0, 0)
_MOST_PLACES = 10_000  # whose prices are kept; rows of one namespace follow each other
_CLASS = "class_"  # by its name, because PostgreSQL groups by what is the same text
# PostgreSQL plans a cursor for its first rows, and sorts on disk what does not fit into its own 4 MB.
_ALL_OF_IT = text("SELECT set_config('work_mem', '128MB', true), set_config('cursor_tuple_fraction', '1', true)")

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
    """The dearest of each namespace and team, the dearest first. One pod is looked at at a time, however many idled."""
    plan = read_plan(connection, period, (period.start_us,), book.changes(period), Detail.POSTING_DAY)
    nodes = read_nodes_alike(connection, book.pricer, period)
    if not is_sqlite(connection):
        connection.execute(_ALL_OF_IT)
    ranking = _Ranking(book, plan.pieces.edges, nodes.representatives)
    rows = chain.from_iterable(bare(connection, _statement(plan, nodes)))
    for _, of_pod in groupby(rows, key=itemgetter(0, 1, _POD)):
        ranking.add(of_pod)
    return tuple(sorted(ranking.dearest(), key=_order))


class Whose(NamedTuple):
    """Whose workloads are compared with each other: the first fields of a workload."""

    cluster: str
    namespace: str
    namespace_uid: str
    team: str
    cost_center: str


class _Idle(NamedTuple):
    """The idle time of a pod in one group, as a workload has it."""

    cost: int
    us: int
    unpriced_us: int
    pod: str


class Group:
    """The dearest pods of one namespace and team."""

    __slots__ = ("_found", "_least", "_whose")

    def __init__(self, whose: Whose) -> None:
        self._whose = whose
        self._found: list[_Idle] = []
        self._least = (0, 0)  # what costs less than this, or idled shorter at this cost, is not among the dearest

    def add(self, cost: int, us: int, unpriced_us: int, pod: str) -> None:
        """Take a pod's idle time, once."""
        if (cost, us) < self._least:
            return
        self._found.append(_Idle(cost, us, unpriced_us, pod))
        if len(self._found) > 4 * MOST:
            self._found = self._dearest()
            self._least = self._found[-1][:2]

    def workloads(self) -> list[Workload]:
        """The dearest of those that came."""
        return [Workload(*self._whose, one.pod, one.us, one.cost, one.unpriced_us) for one in self._dearest()]

    def _dearest(self) -> list[_Idle]:
        return nsmallest(MOST, self._found, key=lambda one: (-one.cost, -one.us, one.pod))


class _Ranking:
    """Takes pods one by one, and keeps the dearest of each group."""

    def __init__(self, book: TermsBook, edges: Sequence[int], representatives: Sequence[str]) -> None:
        self._book = book
        self._edges = edges
        self._representatives = representatives
        self._groups: dict[Whose, Group] = {}
        self._places: dict[Sequence[Any], tuple[Group, int | None]] = {}

    def add(self, of_pod: Iterable[Sequence[Any]]) -> None:
        """Take all rows of a pod."""
        sums: dict[Group, tuple[int, int, int]] = {}
        for row in of_pod:
            place, us = row[:_POD], row[_IDLE]
            group, price = self._places.get(place) or self._learn(place)
            cost, so_far_us, unpriced_us = sums.get(group, _NOTHING)
            if price is None:
                sums[group] = cost, so_far_us + us, unpriced_us + us
            else:
                sums[group] = cost + us * price, so_far_us + us, unpriced_us
        for group, found in sums.items():
            group.add(*found, row[_POD])

    def dearest(self) -> Iterator[Workload]:
        """The dearest of every group."""
        return chain.from_iterable(group.workloads() for group in self._groups.values())

    def _learn(self, place: Sequence[Any]) -> tuple[Group, int | None]:
        """Whose pods of a place are, and at which price."""
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        cluster, namespace, number, model, profile, at = place
        key = Key(cluster, self._representatives[number], model, profile, namespace)
        terms = self._book.at(key, self._edges[at])
        whose = Whose(cluster, namespace, terms.namespace_uid, terms.team or "", terms.cost_center or "")
        if whose not in self._groups:
            self._groups[whose] = Group(whose)
        found = self._places[place] = self._groups[whose], terms.price
        return found


def _statement(plan: Plan, nodes: Nodes) -> Select[*tuple[Any, ...]]:
    """Rows of places and pods with their idle time, pod by pod."""
    facts = union_all(*(_facts(plan, part) for part in plan.parts)).subquery()
    place = (node.c.cluster, owner.c.namespace, nodes.number(node.c.id).label(_CLASS), device.c.model)
    names = (*place, facts.c.profile, facts.c.piece, owner.c.pod)
    grouped = [text(_CLASS) if name.key == _CLASS else name for name in names]
    return (
        select(*names, cast(func.sum(facts.c.idle_us), BigInteger).label("idle_us"))
        .join_from(facts, node, node.c.id == facts.c.node_id)
        .join(device, device.c.id == facts.c.device_id)
        .join(owner, owner.c.id == facts.c.owner_id)
        .where(owner.c.kind == OwnerKind.POD.value)
        .group_by(*(grouped if nodes.alike else [name for name in names if name.key != _CLASS]))
        .order_by(owner.c.namespace, owner.c.pod, node.c.cluster)  # what differs most first: names are slow to compare
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
