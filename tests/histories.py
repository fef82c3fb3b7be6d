"""Histories of labels for tests, written as the watch writes them."""

from datetime import UTC, tzinfo

from sqlalchemy import Engine

from gputally.collector.cluster.history import ClusterHistory
from gputally.collector.cluster.watch import ObjectKind, Seen


class Labelled:
    """A cluster whose objects change at the instants that a test says."""

    def __init__(self, engine: Engine, cluster: str = "east", zone: tzinfo = UTC) -> None:
        self._now_us = 0
        self._version = 0
        self._history = ClusterHistory(engine, cluster, zone, lambda: self._now_us)

    def namespace(
        self, at_us: int, name: str, uid: str = "", annotations: dict[str, str] | None = None, **labels: str
    ) -> Seen:
        """Make or change a namespace."""
        return self._put(ObjectKind.NAMESPACE, at_us, name, uid, labels, annotations or {})

    def node(self, at_us: int, name: str, uid: str = "", **labels: str) -> Seen:
        """Make or change a node."""
        return self._put(ObjectKind.NODE, at_us, name, uid, labels, {})

    def delete(self, at_us: int, kind: ObjectKind, seen: Seen) -> None:
        """Delete an object."""
        self._now_us = at_us
        self._history.delete(kind, seen)

    def _put(
        self, kind: ObjectKind, at_us: int, name: str, uid: str, labels: dict[str, str], annotations: dict[str, str]
    ) -> Seen:
        self._now_us = at_us
        self._version += 1
        seen = Seen(name, uid or f"uid-of-{name}", at_us, self._version, labels, annotations)
        self._history.put(kind, seen)
        return seen
