"""What each node said last, added up: a fleet's nodes at a glance, without their GPUs one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, case, cast, func, or_, select

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.query import Scope
from gputally.collector.database.schema import device, line, node, owner, window
from gputally.collector.now.latest import FRESH_US, newest_lines, visible


@dataclass(frozen=True, slots=True)
class NodeNow:
    """A node in its newest window, [start_us, end_us), as far as it may be seen.

    `states_us` is its time by state and `held_idle_us` the part of it of what pods hold and use less than 1 % of, in
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
    return [_node(row) for row in connection.execute(_QUERY.where(visible(now_us, scope))).all()]


def _query() -> Select[*tuple[Any, ...]]:
    names = (node.c.id, node.c.cluster, node.c.name, window.c.start_us, window.c.end_us)
    models = (func.count(device.c.id.distinct()), func.min(device.c.model), func.max(device.c.model))
    states = (line.c[name] for name in ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us"))
    held_us = line.c.used_us + line.c.idle_us
    # `latest.is_idle`, of a line; a product of two may be too large for its column.
    unused = or_(cast(line.c.used_us, BigInteger) * 100 < held_us, line.c.used_us == 0)
    idle_us = case((unused & (line.c.idle_us > 0) & (owner.c.kind == OwnerKind.POD.value), held_us), else_=0)
    return (
        select(*names, *models, *(cast(func.sum(us), BigInteger) for us in (*states, idle_us)))
        .select_from(newest_lines())
        .group_by(node.c.id, window.c.id)
        .order_by(node.c.cluster, node.c.name)
    )


_QUERY = _query()


def _node(row: Any) -> NodeNow:
    id_, cluster, name, start_us, end_us, gpus, first, last, *states, idle_us = row
    times = _of_an_hour((*states, idle_us), end_us - start_us)
    return NodeNow(
        id_, cluster, name, start_us, end_us, gpus, first if first == last else "", tuple(times[:-1]), times[-1]
    )


def _of_an_hour(times_us: Sequence[int], length_us: int) -> list[int]:
    return [us * HOUR_US // length_us if length_us else 0 for us in times_us]
