"""Sums of rows as SQL: by their ids first, which takes a database a tenth of the time that sums by names take; then by
names. What is summed, and of which rows, is the asker's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    case,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
)

from gputally.collector.allocation import whose
from gputally.collector.allocation.grouping import READ, WHOSE, By
from gputally.collector.allocation.nodes import Nodes
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.allocation.sources import SELDOM, Source
from gputally.collector.database import schema
from gputally.collector.database.schema_workload import pod_workload

PLACE = (By.CLUSTER, By.MODEL, By.PROFILE, By.NAMESPACE, By.KIND)
# What stands before the names in a row.
HEAD = ("class", "piece", "cluster", "model", "profile", "namespace", "kind", "matches")
SumRow: TypeAlias = Sequence[Any]  # HEAD, names, and what is summed

_FITS = "fits"  # by its name, because a text in it is another parameter in each place that it stands
_CLASS = "class_"  # likewise
_WHOSE = "whose_"  # likewise; no column is called so
_UNTOLD: ColumnElement[str] = literal_column("''")


@dataclass(frozen=True, slots=True)
class Sums:
    """What rows of one table are told apart by: what is HEAD of a sum, and the names that a query asks for.

    Of the places those not `apart` are empty, or not summed up. `alike` is what is the same of all rows, by its name.
    """

    query: Query
    source: Source
    piece: ColumnElement[Any]
    nodes: Nodes
    alike: Mapping[str, ColumnElement[Any]]
    apart: frozenset[By] = frozenset(PLACE)

    def by_ids(
        self, facts: Sequence[ColumnElement[Any]], *within: ColumnElement[bool], joined: FromClause | None = None
    ) -> Subquery:
        """The same by ids, rows as they are: the facts of those that the asker may see and that fit."""
        source, fits = self.source, self.source.holds(self.query.where)
        labelled = [column.label(name) for name, column in self._groups().items()]
        # What is spread comes from rows that do not fit the filter, too.
        seen = source.visible(self.query.scope), true() if self._spreads else fits
        rows = source.table if joined is None else joined
        return select(*labelled, *facts).select_from(rows).where(*within, *seen).subquery()

    def summed(self, facts: Subquery, names: Sequence[str]) -> Subquery:
        """Such rows summed, where there are fewer sums than rows."""
        keys = [facts.c[name] for name in self._groups()]
        totals = [total.label(name) for name, total in zip(names, _sums(facts, names), strict=True)]
        return select(*keys, *totals).group_by(*keys).subquery()

    def by_names(self, ids: Subquery, names: Sequence[str]) -> Select[*tuple[Any, ...]]:
        """Sums of both kinds summed up: rows of HEAD, the query's names, and what is summed."""
        if self.source.pointers.keys().isdisjoint({schema.owner}):
            return self._of_places(ids, names)
        columns = [self._named(ids, key) for key in self._columns]
        places = [self._named(ids, key) if key in self.apart else _UNTOLD for key in PLACE]
        number, fits = self.nodes.number(schema.node.c.id).label(_CLASS), self._matches(ids)
        statement = select(number, self._told(ids, "piece"), *places, fits, *columns, *_sums(ids, names))
        statement = statement.group_by(*self._varying(ids)).select_from(self._joined(ids))
        filtered = self._asks_whose and not self._spreads
        return statement.where(self.query.where.whose()) if filtered else statement

    @property
    def _columns(self) -> tuple[By, ...]:
        return tuple(key for key in self.query.keys if key in READ)

    @property
    def _spreads(self) -> bool:
        return self.query.spread is not Spread.NONE

    @property
    def _asks_whose(self) -> bool:
        return self.query.where.asks_whose or not WHOSE.isdisjoint(self._columns)

    def _groups(self) -> dict[str, ColumnElement[Any]]:
        """What the rows themselves are told apart by: ids, and those of their own columns that are asked for."""
        fits = case((self.source.holds(self.query.where), literal_column("1")), else_=literal_column("0"))
        varying = {"piece": self.piece, "matches": fits}
        groups = {name: column for name, column in varying.items() if name not in self.alike}
        own = [self.source.columns[key] for key in (*self._columns, By.PROFILE) if self._is_own(key)]
        return groups | {column.name: column for column in (*self.source.pointers.values(), *own)}

    def _is_own(self, key: By) -> bool:
        return key in self.source.columns and self.source.columns[key].table is self.source.table

    def _named(self, ids: Subquery, key: By) -> ColumnElement[Any]:
        if key in WHOSE:
            return whose.NAMES[key](schema.owner, pod_workload).label(_WHOSE + key)
        return ids.c[self.source.columns[key].name] if self._is_own(key) else self.source.columns[key]

    def _told(self, ids: Subquery, name: str) -> ColumnElement[Any]:
        return self.alike[name] if name in self.alike else ids.c[name]

    def _matches(self, ids: Subquery) -> ColumnElement[int]:
        """Whether the filter lets sums in; where the platform is spread, what it does not let in is needed as well."""
        matches = self._told(ids, "matches")
        if not self._spreads or not self.query.where.asks_whose:
            return matches.label(_FITS)
        return case((self.query.where.whose(), matches), else_=literal_column("0")).label(_FITS)

    def _varying(self, ids: Subquery) -> list[Any]:
        varying: list[Any] = [text(_CLASS)] if self.nodes.alike else []
        varying += [] if "piece" in self.alike else [ids.c.piece]
        varying += [] if "matches" in self.alike else [text(_FITS)]
        told = (*(key for key in PLACE if key in self.apart), *self._columns)
        return varying + [text(_WHOSE + key) if key in WHOSE else self._named(ids, key) for key in told]

    def _joined(self, ids: Subquery) -> FromClause:
        """The sums with the tables of names that are read."""
        read = {self.source.columns[key].table for key in (*self.apart, *self._columns) if key not in WHOSE}
        needed = {*read, *([schema.node] if self.nodes.alike or self._asks_whose else []), schema.owner}
        joined: FromClause = ids
        for table, pointer in self.source.pointers.items():
            joined = joined.join(table, table.c.id == ids.c[pointer.name]) if table in needed else joined
        learnt = whose.learnt(schema.node, schema.owner, pod_workload)
        return joined.outerjoin(pod_workload, learnt) if self._asks_whose else joined

    def _of_places(self, ids: Subquery, names: Sequence[str]) -> Select[*tuple[Any, ...]]:
        """A place is all that these sums are told by, so names cannot sum them up further."""
        ((table, pointer),) = self.source.pointers.items()
        told = [self.source.columns[key] for key in (*PLACE, *self._columns)]
        about, after = told[: len(PLACE)], told[len(PLACE) :]
        piece, matches = (self._told(ids, name) for name in ("piece", "matches"))
        head = literal_column("-1").label(_CLASS), piece, *about, matches.label(_FITS)
        found = select(*head, *after, *(ids.c[name] for name in names))
        return found.join_from(ids, table, table.c.id == ids.c[pointer.name])


def _sums(rows: FromClause, names: Sequence[str]) -> list[ColumnElement[Any]]:
    # PostgreSQL sums bigints to numeric, which is slow to read; these sums fit.
    sums = {name: cast(func.sum(rows.c[name]), BigInteger) for name in names}
    return [func.coalesce(sums[name], literal_column("0")) if name in SELDOM else sums[name] for name in names]
