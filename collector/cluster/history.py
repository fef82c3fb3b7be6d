"""Writes what a cluster shows into histories that close a row when something else holds.

Several replicas tell the same: a fact that is known already, or older than what is known, writes nothing. Only a list
may be older than what was learnt long before it: a cluster restored from a backup counts its versions anew. The first
row of a UID begins at its creation: what it was before the collector first saw it is taken to be the same.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import tzinfo

from sqlalchemy import Connection, Engine, RowMapping, Table, insert, select, text, update

from gputally.collector.cluster.watch import LABELLED, Listing, ObjectKind, Seen
from gputally.collector.database.engine import is_sqlite, upsert, writing
from gputally.collector.database.schema_billing import cluster_sync, namespace_history, node_history, node_presence
from gputally.collector.ledger.silence import rebook_node

_LOCK = 0x6770_7468_6973_746F  # "gpthisto": replicas that write histories take turns
_RECENT_US = 300_000_000  # a list that another replica's watch has overtaken is younger than that
_Span = tuple[int, int | None]  # [from_us, gone_us) of a node; None: it is there
_TABLES: Mapping[ObjectKind, Table] = {ObjectKind.NAMESPACE: namespace_history, ObjectKind.NODE: node_history}


class ClusterHistory:
    """The histories of one cluster, and through them the time that its silent nodes are booked for.

    `zone` is the billing time zone; `now_us` is the wall clock (microseconds since the epoch).
    """

    def __init__(self, engine: Engine, cluster: str, zone: tzinfo, now_us: Callable[[], int]) -> None:
        self._engine = engine
        self._cluster = cluster
        self._zone = zone
        self._now_us = now_us
        self._synced: dict[ObjectKind, int] = {}

    def replace(self, kind: ObjectKind, listing: Listing[Seen]) -> None:
        """Take over a complete list: what is not on it is gone, unless it is younger than the list."""
        there = {seen.uid for seen in listing.objects}
        with self._writing(kind) as connection:
            book = _Book(connection, self._cluster, kind, self._now_us())
            for seen in listing.objects:
                book.put(seen, listed=True)
            missing = (row for row in book.open_rows() if row["uid"] not in there)
            book.close(row for row in missing if not book.overtaken(row, int(listing.version), listed=True))

    def put(self, kind: ObjectKind, seen: Seen) -> None:
        """Take over a new or changed object, unless something newer is known."""
        with self._writing(kind, seen.name) as connection:
            _Book(connection, self._cluster, kind, self._now_us(), seen.name).put(seen, listed=False)

    def delete(self, kind: ObjectKind, seen: Seen) -> None:
        """Take over that an object is gone."""
        with self._writing(kind, seen.name) as connection:
            book = _Book(connection, self._cluster, kind, self._now_us(), seen.name)
            book.close(row for row in book.open_rows() if row["uid"] == seen.uid)

    def synced(self, kind: ObjectKind) -> None:
        """Everything of a kind is known as of now; the cluster is as far as the kind that is least far."""
        self._synced[kind] = self._now_us()
        if len(self._synced) < len(LABELLED):
            return
        row = {"cluster": self._cluster, "synced_us": min(self._synced.values())}
        with writing(self._engine) as connection:
            new = upsert(connection, cluster_sync).values(row)
            later = new.excluded.synced_us > cluster_sync.c.synced_us
            connection.execute(
                new.on_conflict_do_update(
                    index_elements=["cluster"], set_={"synced_us": new.excluded.synced_us}, where=later
                )
            )

    @contextmanager
    def _writing(self, kind: ObjectKind, name: str | None = None) -> Iterator[Connection]:
        """A transaction for a kind (all, or of one name); silent nodes that were there otherwise are booked anew."""
        with writing(self._engine) as connection:
            if not is_sqlite(connection):
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            before = self._presence(connection, name) if kind is ObjectKind.NODE else {}
            yield connection
            after = self._presence(connection, name) if kind is ObjectKind.NODE else {}
            for node in sorted(after):
                if before.get(node) != after[node]:
                    self._rebook(connection, node, before.get(node, set()), after[node])

    def _presence(self, connection: Connection, name: str | None) -> dict[str, set[_Span]]:
        """When each node was there, as far as the history knows."""
        table = node_presence.c
        query = select(table.node, table.from_us, table.gone_us).where(table.cluster == self._cluster)
        found: defaultdict[str, set[_Span]] = defaultdict(set)
        for node, *span in connection.execute(query if name is None else query.where(table.node == name)):
            found[node].add((span[0], span[1]))
        return dict(found)

    def _rebook(self, connection: Connection, node: str, before: set[_Span], after: set[_Span]) -> None:
        # Of a node that nothing was known of, the first that is known changes what all of its gaps come to.
        from_us = min(span[0] for span in before ^ after) if before else 0
        rebook_node(connection, self._cluster, node, from_us, self._zone)


class _Book:
    """The open rows of one kind in a cluster (all, or of one name), for one transaction."""

    def __init__(
        self, connection: Connection, cluster: str, kind: ObjectKind, now_us: int, name: str | None = None
    ) -> None:
        self._connection = connection
        self._cluster = cluster
        self._kind = kind
        self._table = _TABLES[kind]
        self._now_us = now_us
        of_cluster = select(self._table).where(self._table.c.cluster == cluster)
        rows = of_cluster if name is None else of_cluster.where(self._table.c.name == name)
        found = connection.execute(rows.where(self._table.c.valid_to_us.is_(None))).mappings()
        self._open: dict[str, list[RowMapping]] = defaultdict(list)
        for row in found:
            self._open[row["name"]].append(row)
        uids = select(rows.subquery().c.uid).distinct()
        self._uids = set(connection.scalars(uids))

    def open_rows(self) -> list[RowMapping]:
        """What holds, as far as the history knew when the transaction began."""
        return [row for rows in self._open.values() for row in rows]

    def put(self, seen: Seen, *, listed: bool) -> None:
        """Let `seen` hold from now on, unless it does, or (not `listed`) something newer of it is known."""
        known = next((row for row in self._open[seen.name] if row["uid"] == seen.uid), None)
        if known is not None and self.overtaken(known, seen.version, listed=listed):
            return
        if known is None and seen.uid in self._uids and not listed:
            return  # an event that was on its way when the object was deleted: a UID does not come back
        texts = self._texts(seen)
        if known is not None and all(known[name] == value for name, value in texts.items()):
            return
        others = [row for row in self._open[seen.name] if row["uid"] != seen.uid]
        free_us = max(self.close([known] if known else []), self.close(others, min(self._now_us, seen.created_us)))
        since_us = self._now_us if seen.uid in self._uids else seen.created_us
        self._insert(seen, texts, max(since_us, free_us))

    def overtaken(self, row: RowMapping, version: int, *, listed: bool) -> bool:
        """Whether what a row says is newer than an object or a list of that version."""
        recent = self._now_us - row["recorded_us"] < _RECENT_US
        return row["resource_version"] > version and (recent or not listed)

    def close(self, rows: Iterable[RowMapping], at_us: int | None = None) -> int:
        """Let rows hold no longer (a node without an open row is gone); when the last of them ended, 0 for none."""
        until_us = 0
        for row in list(rows):
            self._open[row["name"]].remove(row)
            until_us = max(row["valid_from_us"] + 1, self._now_us if at_us is None else at_us)
            key = [self._table.c[name] == row[name] for name in ("cluster", "name", "uid", "valid_from_us")]
            self._connection.execute(update(self._table).where(*key).values(valid_to_us=until_us))
            if self._kind is ObjectKind.NODE:
                self._set_gone(row["name"], row["uid"], until_us)
        return until_us

    def _insert(self, seen: Seen, texts: Mapping[str, str], from_us: int) -> None:
        values = {
            "cluster": self._cluster,
            "name": seen.name,
            "uid": seen.uid,
            "valid_from_us": from_us,
            "resource_version": seen.version,
            "recorded_us": self._now_us,
            **texts,
        }
        self._connection.execute(insert(self._table).values(values))
        if self._kind is ObjectKind.NODE:
            self._set_there(seen)

    def _texts(self, seen: Seen) -> dict[str, str]:
        texts = {"labels": _json(seen.labels)}
        if self._kind is ObjectKind.NAMESPACE:
            texts["annotations"] = _json(seen.annotations)
        return texts

    def _set_there(self, seen: Seen) -> None:
        row = {"cluster": self._cluster, "node": seen.name, "from_us": seen.created_us, "uid": seen.uid}
        there = upsert(self._connection, node_presence).values(**row, gone_us=None)
        key = ["cluster", "node", "from_us"]
        again = {"gone_us": None, "uid": seen.uid}  # creation times are of whole seconds: another may share it
        self._connection.execute(there.on_conflict_do_update(index_elements=key, set_=again))

    def _set_gone(self, node: str, uid: str, at_us: int) -> None:
        of_node = (node_presence.c.cluster == self._cluster, node_presence.c.node == node, node_presence.c.uid == uid)
        there = update(node_presence).where(*of_node, node_presence.c.gone_us.is_(None))
        self._connection.execute(there.values(gone_us=at_us))


def _json(texts: Mapping[str, str]) -> str:
    # In ASCII: an annotation may hold a NUL or half a surrogate pair, which no database takes as text.
    return json.dumps(dict(texts), sort_keys=True, separators=(",", ":"))
