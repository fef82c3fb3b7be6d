"""What pods did with the whole GPUs that they held in the last week, and what that came to: one reading of its hours.

The busiest hour and whether its memory is known stand in no sums of days.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Subquery, and_, case, cast, func, select, text
from sqlalchemy import literal_column as written

from gputally.accounting.keys import WHOLE_GPU
from gputally.accounting.states import Basis
from gputally.collector.advice.advice import Spent
from gputally.collector.advice.asked import DAY_US, Asked, rows_of
from gputally.collector.advice.held import PodKey
from gputally.collector.advice.mig import board_of
from gputally.collector.advice.use import Use
from gputally.collector.allocation import whose
from gputally.collector.allocation.cells import piece
from gputally.collector.allocation.nodes import Nodes, read_nodes_alike
from gputally.collector.allocation.plan import Pieces, pieces
from gputally.collector.allocation.sources import POSTINGS
from gputally.collector.database.schema import device, node, owner, posting
from gputally.collector.database.schema_waste import UNBOUNDED, memory_peak
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.rates.pricing import Key

_IDS = ("owner_id", "node_id", "device_id")
_STATES = ("used_us", "idle_us", "unobserved_us")
_CLASS, _HELD = "class_", "held_"  # columns that PostgreSQL groups by their names
_PLACE = slice(3, 9)  # what a price depends on, in a row; before it stand the ids


class Of(NamedTuple):
    """A workload on one model of GPU."""

    cluster: str
    namespace: str
    workload: str
    model: str


class WholeGpus:
    """Adds up rows: the uses of each pod's devices, and what its time on a model came to."""

    def __init__(self, asked: Asked, edges: Sequence[int], representatives: Sequence[str]) -> None:
        self._asked = asked
        self._edges = edges
        self._representatives = representatives
        self._prices: dict[tuple[Any, ...], int | None] = {}
        self._uses: dict[tuple[int, ...], tuple[PodKey, str, Of, Use]] = {}  # by container and device
        self._spent: defaultdict[tuple[Of, str], tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))

    def add(self, row: tuple[Any, ...], peaks: Mapping[tuple[int, ...], int]) -> None:
        """The time of a container on a device at one price, held or not."""
        cluster, namespace, _, model, *_ = row[_PLACE]
        pod, uid, label, uuid, held, used_us, idle_us, unobserved_us, busiest, unknown = row[_PLACE.stop :]
        of = Of(cluster, namespace, label, model)
        self._spend((of, uid), used_us + idle_us + unobserved_us, self._price(row[_PLACE]))
        if held:
            at = row[: _PLACE.start]
            use = Use(used_us, idle_us, unobserved_us, busiest, None if unknown else peaks.get(at))
            before = self._uses.get(at)
            key = PodKey(cluster, namespace, pod, uid)
            self._uses[at] = key, uuid, of, use if before is None else before[3].plus(use)

    def _spend(self, whom: tuple[Of, str], us: int, price: int | None) -> None:
        so_far_us, cost, unpriced_us = self._spent[whom]
        if price is None:
            self._spent[whom] = so_far_us + us, cost, unpriced_us + us
        else:
            self._spent[whom] = so_far_us + us, cost + us * price, unpriced_us

    def _price(self, place: tuple[Any, ...]) -> int | None:
        if place not in self._prices:
            cluster, namespace, number, model, profile, at = place
            key = Key(cluster, self._representatives[number], model, profile, namespace)
            self._prices[place] = self._asked.pricer.rate(key, self._edges[at]).price
        return self._prices[place]

    def uses(self) -> Mapping[PodKey, Mapping[str, tuple[Of, Use]]]:
        """By pod and device: what the containers of a pod did with it together."""
        found: defaultdict[PodKey, dict[str, tuple[Of, Use]]] = defaultdict(dict)
        for pod, uuid, of, use in self._uses.values():
            so_far = found[pod].get(uuid)
            found[pod][uuid] = of, use if so_far is None else so_far[1].beside(use)
        return found

    def spent(self, of: Of, uid: str) -> Spent:
        """What a pod's time on whole GPUs of a model came to."""
        us, cost, unpriced_us = self._spent[of, uid]
        return Spent(us, None if us and us == unpriced_us else cost, unpriced_us)


def read_whole_gpus(connection: Connection, asked: Asked) -> WholeGpus:
    """Of pods that are nobody's rank, on GPUs that can be divided; raises QueryError."""
    models = [model for (model,) in connection.execute(select(device.c.model).distinct()) if board_of(model)]
    week = asked.week
    cut_at = pieces([week.start_us], asked.pricer.changes(week.start_us, week.end_us, of_teams=False))
    nodes = read_nodes_alike(connection, asked.pricer, week)
    found = WholeGpus(asked, cut_at.edges, nodes.representatives)
    if models:
        peaks = {tuple(at): most for *at, most in rows_of(connection, _peaks(asked)) if most < UNBOUNDED}
        statement = _statement(asked, models, cut_at, nodes)
        for row in rows_of(connection, statement, len(cut_at.common)):
            found.add(row, peaks)
    return found


def _statement(asked: Asked, models: Sequence[str], cut_at: Pieces, nodes: Nodes) -> Select[*tuple[Any, ...]]:
    """Each container's time on each device; ranks of a gang, which talk to each other, are left out."""
    sums = _sums(asked, models, cut_at)
    number = nodes.number(node.c.id).label(_CLASS)
    place = (node.c.cluster, owner.c.namespace, number, device.c.model, sums.c.profile, sums.c.piece)
    names = (owner.c.pod, owner.c.pod_uid, whose.name(owner, pod_workload).label("label"), device.c.uuid)
    figures = (_HELD, *_STATES, "busiest_permille", "unknown")
    return (
        select(*(sums.c[name] for name in _IDS), *place, *names, *(sums.c[name] for name in figures))
        .join_from(sums, node, node.c.id == sums.c.node_id)
        .join(owner, owner.c.id == sums.c.owner_id)
        .join(device, device.c.id == sums.c.device_id)
        .outerjoin(pod_workload, whose.learnt(node, owner, pod_workload))
        .where(asked.visible(), pod_workload.c.rank.is_(None))
    )


def _sums(asked: Asked, models: Sequence[str], cut_at: Pieces) -> Subquery:
    """`busiest_permille` is of the busiest hour, `unknown` is 1 where some hour's memory is not known.

    What a holder used and held idle in an hour is one posting: time with a reason stands on others.
    """
    week, row = asked.week, posting.c
    within = and_(row.hour_us >= week.start_us, row.hour_us < week.end_us, POSTINGS.visible(asked.scope))
    capable = row.device_id.in_(select(device.c.id).where(device.c.model.in_(models)))
    measured = row.used_us + row.idle_us
    permille = case((measured > 0, (row.used_us * 1000 + measured - 1) // measured), else_=written("0"))
    veiled = case((and_(measured > 0, row.memory_byte_s.is_(None)), written("1")), else_=written("0"))
    held = case((row.basis == Basis.RESERVATION.value, written("1")), else_=written("0")).label(_HELD)
    keys = (*(row[name] for name in _IDS), row.profile, piece(POSTINGS, cut_at).label("piece"))
    return (
        select(*keys, held, *(_sum(row[name]).label(name) for name in _STATES))
        .add_columns(func.max(permille).label("busiest_permille"), func.max(veiled).label("unknown"))
        .where(within, row.basis != Basis.NONE.value, row.partition == WHOLE_GPU, capable)
        .group_by(*keys[:-1], text("piece"), text(_HELD))
        .subquery("sums")
    )


def _peaks(asked: Asked) -> Select[*tuple[Any, ...]]:
    """The most memory of each container on each whole GPU, since the day in which the week begins; UNBOUNDED where some
    window of it is not known."""
    row, start_us = memory_peak.c, asked.week.start_us
    place = [row[name] for name in _IDS]
    within = and_(row.day_us >= start_us - start_us % DAY_US, row.partition == WHOLE_GPU)
    return (
        select(*place, func.max(row.bytes))
        .join_from(memory_peak, node, node.c.id == row.node_id)
        .join(owner, owner.c.id == row.owner_id)
        .where(within, asked.visible())
        .group_by(*place)
    )


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger)  # PostgreSQL sums bigints to numeric, which is slow to read
