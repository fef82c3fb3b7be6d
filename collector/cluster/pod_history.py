"""Writes whose work the pods of a cluster are, and how they end: of those that ask for a GPU or have time booked.

Whose work a pod is stays as it was when it was first known, so that no label written later moves it; only an answer for
which an owner could not be read gives way to one for which all could. What else is told of it is filled in, once.
Replicas tell the same, in turns: a fact that is known already, or older than what is known, writes nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, and_, insert, select, text, update

from gputally.accounting.states import OwnerKind
from gputally.collector.cluster.pod import WatchedPod
from gputally.collector.cluster.pod_row import Values, changes, row_of
from gputally.collector.cluster.watch import Listing, ObjectKind, VersionGone
from gputally.collector.database.engine import is_sqlite, reading, writing
from gputally.collector.database.schema import owner
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.workloads.pod import Lookup, OwnerFacts, OwnerReference
from gputally.collector.workloads.rule_book import RuleBook

_LOCK = 0x6770_7470_6F64_776B  # "gptpodwk"
_PIECE = 200  # pods of one transaction
LIST_AGAIN_US = 3_600_000_000  # while an owner could not be read: a right may have been granted
_table = pod_workload.c
_Rows = Mapping[str, Mapping[str, Any]]  # by UID


class PodHistory:
    """The pods of one cluster. `lookup` reads their owners; `now_us` is the wall clock, `monotonic_us` the other."""

    def __init__(
        self,
        engine: Engine,
        cluster: str,
        book: RuleBook,
        lookup: Lookup,
        now_us: Callable[[], int],
        monotonic_us: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._cluster = cluster
        self._book = book
        self._lookup = lookup
        self._now_us = now_us
        self._monotonic_us = monotonic_us
        self._listed_us = 0
        self._incomplete = False  # an owner could not be read since the last list

    def keep(self, pods: Sequence[WatchedPod]) -> Sequence[WatchedPod]:
        """Those that matter: they ask for a GPU, or time of a GPU is booked for them."""
        others = [pod for pod in pods if not pod.asks]
        billed = self._billed(others) if others else frozenset()
        return [pod for pod in pods if pod.asks or pod.uid in billed]

    def replace(self, kind: ObjectKind, listing: Listing[WatchedPod]) -> None:  # noqa: ARG002 - of pods only
        """Take over a complete list: what is not on it is gone, unless it is younger than the list."""
        self._listed_us, self._incomplete = self._monotonic_us(), False
        pods = sorted(listing.objects, key=lambda pod: pod.uid)
        for at in range(0, len(pods), _PIECE):
            self._take(pods[at : at + _PIECE], listed=True)
        there = {pod.uid for pod in pods}
        with self._writing() as connection:
            open_rows = select(_table.pod_uid).where(
                _table.cluster == self._cluster,
                _table.gone_us.is_(None),
                _table.resource_version <= int(listing.version),
            )
            gone = [uid for uid in connection.scalars(open_rows) if uid not in there]
            for at in range(0, len(gone), _PIECE):
                self._set(connection, gone[at : at + _PIECE], gone_us=self._now_us())

    def put(self, kind: ObjectKind, seen: WatchedPod) -> None:  # noqa: ARG002
        """Take over a new or changed pod, unless something newer is known."""
        self._take([seen], listed=False)

    def delete(self, kind: ObjectKind, seen: WatchedPod) -> None:
        """Take over how a pod ended, and that it is gone."""
        self.put(kind, seen)
        with self._writing() as connection:
            self._set(connection, [seen.uid], gone_us=self._now_us())

    def synced(self, kind: ObjectKind) -> None:  # noqa: ARG002
        """Nothing rests on how far pods are known; VersionGone where another list could tell whose work some are."""
        if self._incomplete and self._monotonic_us() - self._listed_us >= LIST_AGAIN_US:
            raise VersionGone

    def _billed(self, pods: Sequence[WatchedPod]) -> frozenset[str]:
        names = owner.c  # by namespace and name, as the table's key begins
        found = select(names.pod_uid).where(
            names.kind == OwnerKind.POD.value,
            names.namespace.in_({pod.facts.namespace for pod in pods}),
            names.pod.in_({pod.facts.name for pod in pods}),
            names.pod_uid.in_([pod.uid for pod in pods]),
        )
        with reading(self._engine) as connection:
            return frozenset(connection.scalars(found))

    def _take(self, pods: Sequence[WatchedPod], *, listed: bool) -> None:
        with reading(self._engine) as connection:
            known = self._rows(connection, [pod.uid for pod in pods])
        # Outside of a transaction, because owners are asked for.
        news = [self._row(pod) for pod in pods if not _known(known.get(pod.uid), pod, listed=listed)]
        if not news and not listed:
            return
        with self._writing() as connection:
            known = self._rows(connection, [new["pod_uid"] for new in news])
            for new in news:
                self._write(connection, known.get(new["pod_uid"]), new, listed=listed)
            if listed:
                self._set(connection, [pod.uid for pod in pods], last_seen_us=self._now_us())

    def _row(self, pod: WatchedPod) -> Values:
        lookup = _Noting(self._lookup)
        workload = self._book.resolve(pod.facts, lookup)
        self._incomplete |= lookup.failed
        return row_of(self._cluster, pod, workload, complete=not lookup.failed, now_us=self._now_us())

    def _write(self, connection: Connection, row: Mapping[str, Any] | None, new: Values, *, listed: bool) -> None:
        if row is None:
            connection.execute(insert(pod_workload).values(new))
            return
        if not listed and (row["resource_version"] >= new["resource_version"] or row["gone_us"] is not None):
            return
        changed = changes(row, new)
        if changed:
            seen = {name: new[name] for name in ("resource_version", "last_seen_us")}
            self._set(connection, [new["pod_uid"]], **changed, **seen)

    def _rows(self, connection: Connection, uids: Collection[str]) -> _Rows:
        found = connection.execute(select(pod_workload).where(self._of(uids))).mappings()
        return {row["pod_uid"]: dict(row) for row in found}

    def _set(self, connection: Connection, uids: Collection[str], **values: object) -> None:
        connection.execute(update(pod_workload).where(self._of(uids)).values(values))

    def _of(self, uids: Collection[str]) -> Any:
        return and_(_table.cluster == self._cluster, _table.pod_uid.in_(uids))

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            if not is_sqlite(connection):
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection


class _Noting:
    """A lookup that notes whether an owner could not be read: then another answer may be better."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.failed = False

    def __call__(self, namespace: str, reference: OwnerReference) -> OwnerFacts | None:
        found = self._lookup(namespace, reference)
        self.failed |= found is None or found.uid != reference.uid
        return found


def _known(row: Mapping[str, Any] | None, pod: WatchedPod, *, listed: bool) -> bool:
    """Whether a pod tells nothing new, seen by its version."""
    if row is None:
        return False
    if not listed:
        return bool(row["resource_version"] >= pod.version)
    return bool(row["resource_version"] == pod.version and row["complete"] and row["gone_us"] is None)
