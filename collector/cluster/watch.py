"""The watch of a Kubernetes cluster: what namespaces, nodes and pods there are, as it changes.

Optional: without it nodes have no known labels, namespaces no known team and pods no known workload, which the
collector says instead of guessing. Any number of replicas may watch one cluster; they write the same facts once.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Generic, Protocol, TypeVar

from gputally.collector.database.engine import DATABASE_ERRORS

_LOG = logging.getLogger(__name__)

RETRY_S = 5.0  # after an error; the API server and the database have their own ways to be busy
REFUSED_S = 600.0  # after a refusal of what the collector can do without: somebody may grant it

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class ObjectKind(StrEnum):
    """What is watched, by its name in the API."""

    NAMESPACE = "namespaces"
    NODE = "nodes"
    POD = "pods"
    CLUSTER_QUEUE = "clusterqueues"  # of Kueue
    LOCAL_QUEUE = "localqueues"  # of Kueue
    QUEUE = "queues"  # of Volcano


LABELLED = (ObjectKind.NAMESPACE, ObjectKind.NODE)  # those whose labels are kept
QUEUED = (ObjectKind.CLUSTER_QUEUE, ObjectKind.LOCAL_QUEUE, ObjectKind.QUEUE)


@dataclass(frozen=True, slots=True)
class Seen:
    """A namespace or node as the API showed it at `version`; a node's annotations are left out."""

    name: str
    uid: str
    created_us: int
    version: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listing(Generic[T_co]):
    """All objects of a kind, and the version from which a watch goes on."""

    objects: Sequence[T_co]
    version: str


@dataclass(frozen=True, slots=True)
class Change(Generic[T_co]):
    """What a watch tells: the version it has come to, and the object that changed (None: only the version)."""

    version: str
    seen: T_co | None = None
    deleted: bool = False


class ClusterError(OSError):
    """The API cannot be asked, or refuses; the message says what to do."""


class Refused(ClusterError):
    """The collector has no right to what it asks for."""


class NotThere(ClusterError):
    """What was asked for does not exist."""


class VersionGone(Exception):
    """A watch cannot go on from its version: the objects have to be listed again."""


class ClusterApi(Protocol[T_co]):
    """What the watch needs of Kubernetes. Both raise ClusterError; a watch also VersionGone."""

    def objects(self, kind: ObjectKind) -> Listing[T_co]:
        """All objects there are."""

    def changes(self, kind: ObjectKind, version: str) -> Iterator[Change[T_co]]:
        """The changes after a version, as they happen, until the server ends the watch."""


class History(Protocol[T_contra]):
    """Where it is written; what may be raised is DATABASE_ERRORS."""

    def replace(self, kind: ObjectKind, listing: Listing[T_contra]) -> None:
        """Take over a complete list: what is not on it is gone."""

    def put(self, kind: ObjectKind, seen: T_contra) -> None:
        """Take over a new or changed object."""

    def delete(self, kind: ObjectKind, seen: T_contra) -> None:
        """Take over that an object is gone."""

    def synced(self, kind: ObjectKind) -> None:
        """Everything of a kind is known as of now; raises VersionGone where it wants to see all of it again."""


class ClusterWatch(Generic[T]):
    """Follows one cluster into a history, in a thread for each kind, until it is closed."""

    def __init__(
        self,
        api: ClusterApi[T],
        history: History[T],
        retry_s: float = RETRY_S,
        kinds: Sequence[ObjectKind] = LABELLED,
        *,
        optional: bool = False,
    ) -> None:
        """`optional`: where the right or the kind is missing, that is told once and asked for again now and then."""
        self._api = api
        self._history = history
        self._retry_s = retry_s
        self._optional = optional
        self._stop = threading.Event()
        self._errors: dict[ObjectKind, str] = {}
        self._refused: set[ObjectKind] = set()
        self._threads = {
            kind: threading.Thread(target=partial(self._run, kind), name=f"watch-{kind}", daemon=True) for kind in kinds
        }

    @property
    def errors(self) -> Mapping[str, str]:
        """What keeps each kind from being complete, one line; empty where nothing does.

        A kind that the collector may not see, and can do without, is left out.
        """
        found = {kind: self._error(kind) for kind in self._threads}
        return {kind.value: error for kind, error in found.items() if error or kind not in self._refused}

    @property
    def last_error(self) -> str:
        """What keeps the watch from being complete, one line; empty while nothing does."""
        return "; ".join(filter(None, self.errors.values()))

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads.values():
            thread.start()

    def close(self, timeout_s: float) -> None:
        """End after the change at hand; a watch that is silent ends with the process."""
        self._stop.set()
        for thread in self._threads.values():
            if thread.ident is not None:
                thread.join(timeout_s / len(self._threads))

    def _error(self, kind: ObjectKind) -> str:
        thread = self._threads[kind]
        ended = f"{thread.name} has ended" if thread.ident and not thread.is_alive() else ""
        return self._errors.get(kind, ended)

    def _run(self, kind: ObjectKind) -> None:
        while not self._stop.is_set():
            if not self.follow(kind, self._stop.is_set):
                self._stop.wait(REFUSED_S if kind in self._refused else self._retry_s)

    def follow(self, kind: ObjectKind, stopped: Callable[[], bool]) -> bool:
        """List, then watch until the version is gone or `stopped`; False where it failed, which is noted."""
        try:
            listing = self._api.objects(kind)
            self._history.replace(kind, listing)
            version = listing.version
            while not stopped():
                self._history.synced(kind)
                self._errors.pop(kind, None)
                version = self._watch(kind, version, stopped)
                self._refused.discard(kind)
        except VersionGone:
            return True
        except (ClusterError, *DATABASE_ERRORS) as error:
            self._failed(kind, error)
            return False
        return True

    def _failed(self, kind: ObjectKind, error: Exception) -> None:
        told = f"the cluster's {kind} cannot be followed: {str(error).partition(chr(10))[0]}"
        if not (self._optional and isinstance(error, Refused | NotThere)):
            self._refused.discard(kind)
            self._errors[kind] = told
            _LOG.warning("%s; trying again in %g s", told, self._retry_s)
            return
        self._errors.pop(kind, None)
        if kind not in self._refused:
            self._refused.add(kind)
            _LOG.info("%s; everything else goes on", told)

    def _watch(self, kind: ObjectKind, version: str, stopped: Callable[[], bool]) -> str:
        """Take over what one watch tells; the version it came to."""
        for change in self._api.changes(kind, version):
            if change.seen is not None and change.deleted:
                self._history.delete(kind, change.seen)
            elif change.seen is not None:
                self._history.put(kind, change.seen)
            version = change.version
            if stopped():
                break
        return version
