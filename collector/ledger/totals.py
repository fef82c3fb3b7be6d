"""The totals behind the fleet's counters: they grow by committed lines, in the transaction that commits them."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import Connection

from gputally.collector.database.schema import namespace_total
from gputally.collector.ingest.bulk import upsert_rows

TotalKey: TypeAlias = tuple[str, str, str, str]  # cluster, kind of owner, namespace, model
Sums: TypeAlias = Sequence[int | None]  # in the order of the table's columns after its key

# What is known stays known; where neither is, it stays unknown.
_GROWN = "COALESCE(namespace_total.{0} + excluded.{0}, namespace_total.{0}, excluded.{0})"


def add_to_totals(connection: Connection, sums: Mapping[TotalKey, Sums]) -> None:
    """Add the sums of lines that are new in this transaction to the totals of their namespaces."""
    # Ordered, so that two writers never wait for each other in a circle.
    rows = [(*key, *sums[key]) for key in sorted(sums)]
    upsert_rows(connection, namespace_total, rows, [column.name for column in namespace_total.primary_key], _GROWN)
