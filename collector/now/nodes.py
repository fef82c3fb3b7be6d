"""What each node said last, added up: a fleet's nodes at a glance, without their GPUs one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, and_, bindparam, case, cast, func, literal_column, select

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.query import Scope
from gputally.collector.database.schema import device, line, node, owner, window
from gputally.collector.ledger.idle import is_idle
from gputally.collector.now.latest import FRESH_US, newest_lines, visible


@dataclass(frozen=True, slots=True)
class NodeNow:
    """A node in its newest window, [start_us, end_us), as far as it may be seen.

    `states_us` is its time by state and `held_idle_us` that of the parts of its GPUs that pods hold idle, in
    microseconds that an hour like that window has: so a GPU is an hour. `model` is empty where it has several.
    """

    id: int
    cluster: str
    name: str
    start_us: int
    end_us: int
    gpus: int
    model: str
    states_us: tuple[int, ...]
    held_idle_us: int

    def silent(self, now_us: int) -> bool:
        """Whether it has said nothing for a while."""
        return now_us - self.end_us > FRESH_US


def read_nodes_now(connection: Connection, now_us: int, scope: Scope) -> list[NodeNow]:
    """The nodes that were heard of in the last day, by cluster and name."""
    return [_node(row) for row in connection.execute(_of_nodes(scope), {"now_us": now_us}).all()]


@lru_cache(maxsize=64)
def _of_nodes(scope: Scope) -> Select[*tuple[Any, ...]]:
    """Kept: to make it takes as long as to draw a dozen nodes."""
    part = _PARTS.where(visible(bindparam("now_us", type_=BigInteger), scope)).subquery()
    models = func.count(part.c.device_id.distinct()), func.min(part.c.model), func.max(part.c.model)
    capacity_us = sum((part.c[name] for name in _STATES), start=literal_column("0"))
    held_idle = and_(part.c.kind == OwnerKind.POD.value, is_idle(part.c.used_us, part.c.idle_us))
    held_idle_us = case((held_idle, capacity_us), else_=literal_column("0"))
    times = (*(part.c[name] for name in _STATES), held_idle_us)
    names = (node.c.id, node.c.cluster, node.c.name, part.c.start_us, part.c.end_us)
    return (
        select(*names, *models, *(cast(func.sum(us), BigInteger) for us in times))
        .join_from(part, node, node.c.id == part.c.node_id)
        .group_by(node.c.id, part.c.start_us, part.c.end_us)
        .order_by(node.c.cluster, node.c.name)
    )


_STATES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")
# As `latest.Standing` has them, without what these sums do not tell.
_PARTS = (
    select(
        *(node.c.id.label("node_id"), window.c.start_us, window.c.end_us),
        *(device.c.id.label("device_id"), device.c.model, owner.c.kind),
        *(cast(func.sum(line.c[name]), BigInteger).label(name) for name in _STATES),
    )
    .select_from(newest_lines())
    .group_by(node.c.id, window.c.id, device.c.id, line.c.partition, line.c.profile, owner.c.id)
)


def _node(row: Any) -> NodeNow:
    id_, cluster, name, start_us, end_us, gpus, first, last, *states, idle_us = row
    times = _of_an_hour((*states, idle_us), end_us - start_us)
    return NodeNow(
        id_, cluster, name, start_us, end_us, gpus, first if first == last else "", tuple(times[:-1]), times[-1]
    )


def _of_an_hour(times_us: Sequence[int], length_us: int) -> list[int]:
    return [us * HOUR_US // length_us if length_us else 0 for us in times_us]
