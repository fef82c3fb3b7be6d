"""Writes what the queues of a cluster may hold into histories that close a row when something else holds.

Several replicas tell the same: what is known already, or older than what is known, writes nothing. What a platform says
of the moment (how much of a quota is held) is kept in the row that holds, not as history.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, and_, case, insert, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.cluster.watch import Listing, ObjectKind
from gputally.collector.database.engine import is_sqlite, writing
from gputally.collector.database.schema_queue import local_queue, queue_quota
from gputally.collector.queues.quota import Quota, SeenLocalQueue, SeenQueue, System

_LOCK = 0x6770_7471_7565_7565  # "gptqueue": replicas that write histories take turns
_RECENT_US = 300_000_000  # a list that another replica's watch has overtaken is younger than that
_TOLD = ("reserved", "borrowed")

Seen = SeenQueue | SeenLocalQueue
Values = Mapping[str, Any]
_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What an object says, as rows: `parts` are their values, by what tells its rows apart."""

    table: Table
    name: Values
    uid: str
    version: int
    created_us: int
    parts: Mapping[tuple[str, ...], Values]


class QueueHistory:
    """The queues of one cluster; `now_us` is the wall clock (microseconds since the epoch)."""

    def __init__(self, engine: Engine, cluster: str, now_us: Callable[[], int]) -> None:
        self._engine = engine
        self._cluster = cluster
        self._now_us = now_us

    def replace(self, kind: ObjectKind, listing: Listing[Seen]) -> None:
        """Take over a complete list: what is not on it is gone, unless it is younger than the list."""
        there = {seen.uid for seen in listing.objects}
        table, of_kind = self._kind(kind)
        with self._writing() as connection:
            for seen in listing.objects:
                self._book(connection, seen).put(listed=True)
            holding = select(table.c.uid).where(of_kind, table.c.valid_to_us.is_(None))
            older = table.c.resource_version <= int(listing.version)
            gone = set(connection.scalars(holding.where(older))) - there
            for uid in sorted(gone):
                ended = update(table).where(of_kind, table.c.uid == uid, table.c.valid_to_us.is_(None))
                connection.execute(ended.values(valid_to_us=_ended(table, self._now_us())))

    def put(self, kind: ObjectKind, seen: Seen) -> None:  # noqa: ARG002 - the object says which it is
        """Take over a new or changed object, unless something newer is known."""
        with self._writing() as connection:
            self._book(connection, seen).put(listed=False)

    def delete(self, kind: ObjectKind, seen: Seen) -> None:  # noqa: ARG002 - likewise
        """Take over that an object is gone."""
        with self._writing() as connection:
            self._book(connection, seen).end()

    def synced(self, kind: ObjectKind) -> None:
        """Nothing is kept of how far it has come: a quota holds until another is known."""

    def _kind(self, kind: ObjectKind) -> tuple[Table, ColumnElement[bool]]:
        if kind is ObjectKind.LOCAL_QUEUE:
            return local_queue, local_queue.c.cluster == self._cluster
        system = System.KUEUE if kind is ObjectKind.CLUSTER_QUEUE else System.VOLCANO
        return queue_quota, and_(queue_quota.c.cluster == self._cluster, queue_quota.c.system == system.value)

    def _book(self, connection: Connection, seen: Seen) -> "_Book":
        return _Book(connection, _facts(self._cluster, seen), self._now_us())

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            if not is_sqlite(connection):
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection


def _facts(cluster: str, seen: Seen) -> _Facts:
    if isinstance(seen, SeenLocalQueue):
        name = {"cluster": cluster, "namespace": seen.namespace, "name": seen.name}
        parts: Mapping[tuple[str, ...], Values] = {(): {"cluster_queue": seen.cluster_queue}}
        return _Facts(local_queue, name, seen.uid, seen.version, seen.created_us, parts)
    name = {"cluster": cluster, "system": seen.system.value, "queue": seen.name}
    parts = {(each.resource, each.flavor): _values(seen, each) for each in seen.quotas}
    return _Facts(queue_quota, name, seen.uid, seen.version, seen.created_us, parts)


def _values(seen: SeenQueue, quota: Quota) -> Values:
    amounts = {name: getattr(quota, name) for name in ("nominal", "guaranteed", "most", *_TOLD)}
    return {"resource": quota.resource, "flavor": quota.flavor, "cohort": seen.cohort, **amounts}


class _Book:
    """The rows of one name, for one transaction."""

    def __init__(self, connection: Connection, facts: _Facts, now_us: int) -> None:
        self._connection = connection
        self._facts = facts
        self._now_us = now_us
        rows = connection.execute(select(facts.table).where(self._where(facts.name))).mappings()
        self._rows: list[_Row] = [dict(row) for row in rows]

    def put(self, *, listed: bool) -> None:
        """Let what the object says hold from now on, unless something newer of it is known."""
        own = [row for row in self._rows if row["uid"] == self._facts.uid]
        if any(self._overtaken(row, listed=listed) for row in own):
            return
        self._close([row for row in self._holding() if row["uid"] != self._facts.uid], self._facts.created_us)
        known = {self._part(row): row for row in self._holding() if row["uid"] == self._facts.uid}
        self._close([row for part, row in known.items() if self._differs(row, self._facts.parts.get(part))])
        from_us = max(self._now_us if own else self._facts.created_us, self._free_us())
        for part, values in self._facts.parts.items():
            row = known.get(part)
            if row is None or self._differs(row, values):
                self._insert(values, from_us)
            elif any(row[name] != values[name] for name in _TOLD if name in values):
                self._tell(row, values)

    def end(self) -> None:
        """Let nothing of the object hold any more; what was on its way before that is older."""
        gone = [row for row in self._holding() if row["uid"] == self._facts.uid]
        self._close(gone)
        for row in gone:
            self._update(row, resource_version=max(row["resource_version"], self._facts.version))

    def _overtaken(self, row: _Row, *, listed: bool) -> bool:
        if listed:
            newer = row["resource_version"] > self._facts.version
            return bool(newer and self._now_us - row["recorded_us"] < _RECENT_US)
        return bool(row["resource_version"] >= self._facts.version)

    def _differs(self, row: _Row, values: Values | None) -> bool:
        return values is None or any(row[name] != value for name, value in values.items() if name not in _TOLD)

    def _holding(self) -> list[_Row]:
        return [row for row in self._rows if row["valid_to_us"] is None]

    def _part(self, row: _Row) -> tuple[str, ...]:
        return tuple(row[name] for name in ("resource", "flavor") if name in row)

    def _free_us(self) -> int:
        """The end of what held before, under this name."""
        return max((row["valid_to_us"] or 0 for row in self._rows), default=0)

    def _close(self, rows: list[_Row], at_us: int | None = None) -> None:
        for row in rows:
            ended_us = max(row["valid_from_us"] + 1, self._now_us if at_us is None else min(at_us, self._now_us))
            self._update(row, valid_to_us=ended_us)
            self._rows[self._rows.index(row)] = {**row, "valid_to_us": ended_us}

    def _tell(self, row: _Row, values: Values) -> None:
        told = {name: values[name] for name in _TOLD}
        self._update(row, resource_version=self._facts.version, recorded_us=self._now_us, **told)

    def _insert(self, values: Values, from_us: int) -> None:
        facts = self._facts
        history = {"valid_from_us": from_us, "resource_version": facts.version, "recorded_us": self._now_us}
        self._connection.execute(insert(facts.table).values({**facts.name, "uid": facts.uid, **history, **values}))

    def _update(self, row: _Row, **values: object) -> None:
        key = {column.name: row[column.name] for column in self._facts.table.primary_key}
        self._connection.execute(update(self._facts.table).where(self._where(key)).values(values))

    def _where(self, names: Values) -> ColumnElement[bool]:
        return and_(*(self._facts.table.c[name] == value for name, value in names.items()))


def _ended(table: Table, now_us: int) -> ColumnElement[int]:
    """Now; what is made and gone within a moment held for that moment."""
    return case((table.c.valid_from_us >= now_us, table.c.valid_from_us + 1), else_=now_us)
