"""A Kubernetes cluster for tests of the watch: it has state, versions, and can refuse, forget and fail."""

from collections.abc import Iterator

from gputally.collector.cluster.watch import Change, ClusterError, Listing, ObjectKind, Seen, VersionGone


class FakeCluster:
    """Objects by kind, with the history of their changes since the last `compact`."""

    def __init__(self) -> None:
        self.trouble: str | ClusterError = ""  # what every request is refused with while it is there
        self.asked: list[tuple[str, ObjectKind]] = []
        self._version = 100
        self._oldest = 100
        self._objects: dict[ObjectKind, dict[str, Seen]] = {kind: {} for kind in ObjectKind}
        self._events: list[tuple[int, ObjectKind, Change[Seen]]] = []

    def put(self, kind: ObjectKind, name: str, uid: str, created_us: int, **labels: str) -> Seen:
        """Make or change an object; labels of a namespace stand for its annotations too."""
        self._version += 1
        seen = Seen(name, uid, created_us, self._version, labels, {})
        self._objects[kind][uid] = seen
        self._events.append((self._version, kind, Change(str(self._version), seen)))
        return seen

    def remove(self, kind: ObjectKind, uid: str) -> None:
        """Delete an object."""
        self._version += 1
        gone = self._objects[kind].pop(uid)
        self._events.append((self._version, kind, Change(str(self._version), gone, deleted=True)))

    def compact(self) -> None:
        """Forget the history of changes."""
        self._version += 1
        self._oldest = self._version
        self._events.clear()

    def objects(self, kind: ObjectKind) -> Listing[Seen]:
        self.asked.append(("list", kind))
        self._refuse()
        return Listing(list(self._objects[kind].values()), str(self._version))

    def changes(self, kind: ObjectKind, version: str) -> Iterator[Change[Seen]]:
        """What happened after a version; the watch ends there."""
        self.asked.append(("watch", kind))
        self._refuse()
        if int(version) < self._oldest:
            raise VersionGone
        yield from [change for at, of_kind, change in self._events if of_kind is kind and at > int(version)]

    def _refuse(self) -> None:
        if self.trouble:
            raise self.trouble if isinstance(self.trouble, ClusterError) else ClusterError(self.trouble)
