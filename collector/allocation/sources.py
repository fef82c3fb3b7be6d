"""The tables that answers are read from: postings, their sums of days, and those of days and months by namespace and
model.

All of them say the same, the coarser with less detail and fewer rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, FromClause, Table, and_, case, func, literal_column, or_, select, true
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.states import Basis, OwnerKind
from gputally.collector.allocation.filter import Filter
from gputally.collector.allocation.grouping import COLUMNS, By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Scope
from gputally.collector.database import schema
from gputally.collector.database.schema_day import namespace_day, place, posting_day
from gputally.collector.database.schema_month import namespace_month

STATES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")
MEMOS = ("reserved_us", "burst_us", "intruder_us")
QUALITY = ("quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
# As the fields of `amounts.Amounts` stand. A fleet's memory outgrows 64 bits, so it is summed in two halves.
SUMMED = (*STATES, *MEMOS, "energy_mj", "gap_us", "memory_high", *QUALITY, "memory_low")
SELDOM = ("burst_us", "intruder_us", "gap_us")  # NULL stands for 0
LOW_BITS = 20  # of memory, in the lower half

_IDS: Mapping[Table, str] = {schema.node: "node_id", schema.device: "device_id", schema.owner: "owner_id"}
_PLACE: Mapping[By, Column[Any]] = {
    By.CLUSTER: place.c.cluster,
    By.KIND: place.c.kind,
    By.NAMESPACE: place.c.namespace,
    By.MODEL: place.c.model,
    By.PROFILE: place.c.profile,
}


@dataclass(frozen=True, slots=True)
class Source:
    """A table of sums. `start` is where a row's hour, day or month begins, `first` where its time does.

    `pointers` are its columns that point into tables of names; `columns` says which column tells what.
    """

    table: Table
    start: Column[int]
    first: Column[int]
    pointers: Mapping[Table, Column[Any]]
    columns: Mapping[By, Column[Any]]

    def names(self) -> FromClause:
        """The table with all that it points into."""
        joined: FromClause = self.table
        for table, pointer in self.pointers.items():
            joined = joined.join(table, table.c.id == pointer)
        return joined

    def where(self, column: Column[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """A condition on a column of the table, or of one that it points into, without a join."""
        pointer = self.pointers.get(column.table)
        return condition if pointer is None else pointer.in_(select(column.table.c.id).where(condition))

    def among(self, key: By, values: Sequence[str]) -> ColumnElement[bool]:
        """Rows whose key is one of these."""
        return self.where(self.columns[key], self.columns[key].in_(values))

    def within(self, spans: Sequence[Period]) -> ColumnElement[bool]:
        """Rows of some stretches of time."""
        return or_(*(and_(self.start >= span.start_us, self.start < span.end_us) for span in spans))

    def holds(self, where: Filter) -> ColumnElement[bool]:
        """What of a filter the table can decide."""
        told = [(clause, self.columns[clause.key]) for clause in where.clauses if clause.key in COLUMNS]
        return and_(true(), *(self.where(column, clause.fits(column)) for clause, column in told))

    def visible(self, scope: Scope) -> ColumnElement[bool]:
        """Rows that may be seen; what is hidden never leaves the database."""
        conditions: list[ColumnElement[bool]] = [true()]
        if scope.namespaces is not None:
            kind, namespace = self.columns[By.KIND], self.columns[By.NAMESPACE]
            own = and_(kind == OwnerKind.POD.value, namespace.in_(sorted(scope.namespaces)))
            conditions.append(self.where(namespace, own))
        if scope.clusters is not None:
            conditions.append(self.among(By.CLUSTER, sorted(scope.clusters)))
        return and_(*conditions)

    def facts(self) -> list[ColumnElement[Any]]:
        """What is summed, of each row: SUMMED, in its order."""
        row, made = self.table.c, {"energy_mj": self._energy()}
        if "memory_high" not in row:
            made |= self._made()
        return [made[name].label(name) if name in made else row[name] for name in SUMMED]

    def _energy(self) -> ColumnElement[Any]:
        """Both parts, as far as they are known."""
        idle, dynamic = self.table.c.energy_idle_mj, self.table.c.energy_dynamic_mj
        return func.coalesce(idle + dynamic, idle, dynamic)

    def _made(self) -> dict[str, ColumnElement[Any]]:
        """What sums by namespace have already."""
        row = self.table.c
        held = case((row.basis == Basis.RESERVATION.value, sum(row[name] for name in _HELD)), else_=literal_column("0"))
        return {
            "reserved_us": held,
            "memory_high": row.memory_byte_s.op(">>")(literal_column(str(LOW_BITS))),
            "memory_low": row.memory_byte_s.op("&")(literal_column(str((1 << LOW_BITS) - 1))),
        }


_HELD = ("used_us", "idle_us", "unobserved_us")


def of_rows(table: Table, start: Column[int], first: Column[int]) -> Source:
    """A table that points into those of names, as postings do."""
    columns = {
        key: table.c[column.name] if column.table is schema.posting else column
        for key, column in COLUMNS.items()
        if column.table is not schema.posting or column.name in table.c
    }
    return Source(table, start, first, {of: table.c[name] for of, name in _IDS.items()}, columns)


def of_places(table: Table, start: Column[int]) -> Source:
    """A table of sums by place."""
    return Source(table, start, table.c.first_us, {place: table.c.place_id}, _PLACE)


POSTINGS = of_rows(schema.posting, schema.posting.c.hour_us, schema.posting.c.hour_us)
POSTING_DAYS = of_rows(posting_day, posting_day.c.day_us, posting_day.c.first_us)
NAMESPACE_DAYS = of_places(namespace_day, namespace_day.c.day_us)
NAMESPACE_MONTHS = of_places(namespace_month, namespace_month.c.month_us)
