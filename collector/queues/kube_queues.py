"""The queues of a cluster through its API: Kueue's ClusterQueues and LocalQueues, Volcano's Queues.

They are read whole, because a quota stands in the specification and what is held of it in the status.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gputally.collector.cluster.kube import KubeApi, custom, errors
from gputally.collector.cluster.place import KubePlace
from gputally.collector.cluster.watch import NotThere, ObjectKind
from gputally.collector.queues.quota import (
    SeenLocalQueue,
    SeenQueue,
    read_cluster_queue,
    read_local_queue,
    read_volcano_queue,
)

Seen = SeenQueue | SeenLocalQueue
Ask = Callable[..., Any]

_KUEUE, _VOLCANO = "kueue.x-k8s.io", "scheduling.volcano.sh"
# Those that we know the fields of, the newest first: Kueue 0.20 serves v1beta1 no longer, 0.14 and older nothing else.
_VERSIONS: Mapping[str, Sequence[str]] = {_KUEUE: ("v1beta2", "v1beta1"), _VOLCANO: ("v1beta1",)}
QUEUES: Mapping[ObjectKind, tuple[str, Callable[[Mapping[str, Any]], Seen]]] = {
    ObjectKind.CLUSTER_QUEUE: (_KUEUE, read_cluster_queue),
    ObjectKind.LOCAL_QUEUE: (_KUEUE, read_local_queue),
    ObjectKind.QUEUE: (_VOLCANO, read_volcano_queue),
}


def open_queues(place: KubePlace) -> KubeApi[Seen]:
    """The queues of the cluster whose API is there; nothing is asked yet."""
    ask = custom(place, "application/json").list_cluster_custom_object
    served = {kind: _Served(ask, group, kind) for kind, (group, _) in QUEUES.items()}
    lists = {kind: each.objects for kind, each in served.items()}
    return KubeApi(lists, {kind: each.changes for kind, each in served.items()}, _read)


class _Served:
    """Asks for the objects of a kind in the newest version of its API that is served there."""

    def __init__(self, ask: Ask, group: str, kind: ObjectKind) -> None:
        self._ask = ask
        self._group = group
        self._kind = kind
        self._version = _VERSIONS[group][0]

    def objects(self, **options: Any) -> Any:
        """The answer to a list; raises ClusterError, NotThere where no version is served."""
        for version in _VERSIONS[self._group]:
            self._version = version
            try:
                return self.changes(**options)
            except NotThere as error:
                missing = error
        raise missing

    def changes(self, **options: Any) -> Any:
        """The answer to a request in the version of the last list."""
        with errors(f"{self._kind}.{self._group}", "list and watch"):
            return self._ask(self._group, self._version, self._kind.value, **options)


def _read(kind: ObjectKind, items: Sequence[Mapping[str, Any]]) -> Sequence[Seen]:
    read = QUEUES[kind][1]
    return [read(item) for item in items]
