"""The totals behind the fleet's counters: they grow by committed lines, in the transaction that commits them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.database.among import among
from gputally.collector.database.engine import upsert
from gputally.collector.database.schema import AMOUNTS, SELDOM, device, line, namespace_total, node, owner, window

_KEY = (node.c.cluster, owner.c.kind, owner.c.namespace, device.c.model)
_KEY_NAMES = ("cluster", "owner_kind", "namespace", "model")



def _sum(name: str) -> ColumnElement[Any]:
    total = func.sum(line.c[name])
    return func.coalesce(total, literal_column("0")) if name in SELDOM else total


# Ordered, so that two writers never wait for each other in a circle.
_SUMS = (
    select(*_KEY, *(_sum(name) for name in AMOUNTS))
    .select_from(line)
    .join(window, window.c.id == line.c.window_id)
    .join(node, node.c.id == window.c.node_id)
    .join(device, device.c.id == line.c.device_id)
    .join(owner, owner.c.id == line.c.owner_id)
    .group_by(*_KEY)
    .order_by(*_KEY)
)


def add_to_totals(connection: Connection, window_ids: Sequence[int]) -> None:
    """Add the lines of these windows, new in this transaction, to the totals of their namespaces."""
    sums = _SUMS.where(among(connection, line.c.window_id, "windows"))
    insert = upsert(connection, namespace_total).from_select([*_KEY_NAMES, *AMOUNTS], sums)
    grown = {name: _sum_of_known(namespace_total.c[name], insert.excluded[name]) for name in AMOUNTS}
    statement = insert.on_conflict_do_update(index_elements=_KEY_NAMES, set_=grown)
    connection.execute(statement, {"windows": list(window_ids)})


def _sum_of_known(total: ColumnElement[Any], more: ColumnElement[Any]) -> ColumnElement[Any]:
    """The sum; where one is unknown the other; unknown where both are."""
    return func.coalesce(total + more, total, more)
