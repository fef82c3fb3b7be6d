"""The pods of this node: UID <-> namespace, name, containers, labels, owner.

Parsing keeps the fields that accounting needs and drops the rest. The table is written by one thread and read by any.
Without API access the table stays empty and the agent counts all the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gputally.agent.attribution.identity import PodName

KEEP_US = 120_000_000  # late samples and driver buffers still speak of pods that are gone; two windows are plenty
KEEP_PODS = 1024
_CONFIG_HASH = "kubernetes.io/config.hash"
_CONFIG_MIRROR = "kubernetes.io/config.mirror"
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # the whole manifest once more: of no use here
_GPU_RESOURCE_PREFIX = "nvidia.com/"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OwnerReference:
    """The object that made a pod; `controller`: the one that manages it."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool


@dataclass(frozen=True, slots=True)
class PodContainer:
    """A container of a pod, or an earlier run of it. Times are microseconds since the epoch; None: not (yet)."""

    name: str
    id: str | None
    started_us: int | None = None
    finished_us: int | None = None
    exit_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Pod(PodName):
    """A pod as the API last showed it; `started_us` is when the kubelet took it on, None while it has not.

    `gpu_requests`: (resource, number) that the scheduler reserved for it, sorted.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[OwnerReference, ...] = ()
    phase: str = ""
    started_us: int | None = None
    gpu_requests: tuple[tuple[str, int], ...] = ()
    containers: tuple[PodContainer, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether all its containers have ended for good."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def uids(self) -> tuple[str, ...]:
        """All UIDs that mean this pod: a static pod's cgroup carries the hash of its manifest, not the API's UID."""
        static = (self.annotations.get(_CONFIG_HASH), self.annotations.get(_CONFIG_MIRROR))
        return (self.uid, *(uid for uid in static if uid))


@dataclass(frozen=True, slots=True)
class Deleted:
    """A pod that is gone, and when the table learned it (monotonic microseconds)."""

    pod: Pod
    at_us: int


def parse_pod(raw: Mapping[str, Any]) -> Pod:
    """The fields that accounting needs of a Pod (or its PartialObjectMetadata). Raises KeyError without identity."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    annotations = metadata.get("annotations") or {}
    return Pod(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        labels=dict(metadata.get("labels") or {}),
        annotations={name: text for name, text in annotations.items() if name != _APPLIED},
        owners=tuple(_owner(reference) for reference in metadata.get("ownerReferences") or ()),
        phase=status.get("phase") or "",
        started_us=parse_time(status.get("startTime")),
        gpu_requests=tuple(sorted(_gpu_requests(spec).items())),
        containers=tuple(_containers(status)),
    )


def parse_time(text: str | None) -> int | None:
    """An API time (RFC 3339) as microseconds since the epoch; None where there is none."""
    if not text:
        return None
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def _owner(raw: Mapping[str, Any]) -> OwnerReference:
    return OwnerReference(raw["apiVersion"], raw["kind"], raw["name"], raw["uid"], bool(raw.get("controller")))


def _containers(status: Mapping[str, Any]) -> Iterator[PodContainer]:
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for raw in status.get(kind) or ():
            now = _run(raw["name"], raw.get("containerID"), raw.get("state") or {})
            before = _run(raw["name"], None, raw.get("lastState") or {})
            if before.id not in (None, now.id):
                yield before
            yield now


def _run(name: str, container_id: str | None, state: Mapping[str, Any]) -> PodContainer:
    """One run of a container: what its state says. A container that waits has an id only if it ran before."""
    ended = state.get("terminated") or {}
    running = state.get("running") or {}
    return PodContainer(
        name,
        _bare_id(container_id or ended.get("containerID")),
        parse_time(running.get("startedAt") or ended.get("startedAt")),
        parse_time(ended.get("finishedAt")),
        ended.get("reason"),
    )


def _bare_id(container_id: str | None) -> str | None:
    """The id without its runtime: containerd://<id>."""
    return container_id.rpartition("/")[2] or None if container_id else None


def _gpu_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """The number of each GPU resource that the pod needs at once, as the scheduler reckons it.

    Init containers run one after the other before the rest, and may need more; those that restart (sidecars) go on
    beside everything that comes later.
    """
    kept: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        wanted = _add(kept, _requested(container))
        peak = _larger(peak, wanted)
        if container.get("restartPolicy") == "Always":
            kept = wanted
    for container in spec.get("containers") or ():
        kept = _add(kept, _requested(container))
    return _larger(peak, kept)


def _requested(container: Mapping[str, Any]) -> dict[str, int]:
    resources = container.get("resources") or {}
    wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {
        name: int(number)
        for name, number in wanted.items()
        if name.startswith(_GPU_RESOURCE_PREFIX) and str(number).isdecimal()
    }


def _add(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {*one, *other}}


def _larger(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {*one, *other}}


class _View:
    """All pods at one moment, indexed; never changed once made. Later entries win: what is alive comes last."""

    def __init__(self, alive: Mapping[str, Pod], deleted: Sequence[Deleted]) -> None:
        self.alive = alive
        self.deleted = deleted
        every = [*(entry.pod for entry in deleted), *alive.values()]
        self.by_uid = {uid: pod for pod in every for uid in pod.uids}
        self.uids = frozenset(self.by_uid)  # asked for with each sample, and mostly the same
        self.by_name = {(pod.namespace, pod.name): pod for pod in every}
        self.by_container = {one.id: (pod, one.name) for pod in every for one in pod.containers if one.id}


class PodTable:
    """The pods of this node, and for a while those that are gone. One thread writes; any thread reads.

    Time is an argument (monotonic microseconds). `forgotten` counts deleted pods that had to go before their time.
    """

    def __init__(self, *, keep_us: int = KEEP_US, keep_pods: int = KEEP_PODS) -> None:
        self._keep_us = keep_us
        self._keep_pods = keep_pods
        self._view = _View({}, ())
        self.forgotten = 0

    def replace(self, pods: Iterable[Pod], now_us: int) -> None:
        """Take over a complete list: what is not on it any more was deleted."""
        alive = {pod.uid: pod for pod in pods}
        lost = [Deleted(pod, now_us) for uid, pod in self._view.alive.items() if uid not in alive]
        self._swap(alive, lost, now_us)

    def put(self, pod: Pod, now_us: int) -> None:
        """Take over a new or changed pod."""
        self._swap({**self._view.alive, pod.uid: pod}, [], now_us)

    def delete(self, pod: Pod, now_us: int) -> None:
        """Take over that a pod is gone; `pod` is how it was last."""
        alive = {uid: known for uid, known in self._view.alive.items() if uid != pod.uid}
        self._swap(alive, [Deleted(pod, now_us)], now_us)

    def of_uid(self, uid: str) -> Pod | None:
        """The pod with this UID, or with this config hash (static pods)."""
        return self._view.by_uid.get(uid)

    def of_name(self, namespace: str, name: str) -> Pod | None:
        """The pod that has this name now, else the last that had it."""
        return self._view.by_name.get((namespace, name))

    def of_container(self, container_id: str) -> tuple[Pod, str] | None:
        """The pod that a container belongs to, and the container's name in it."""
        return self._view.by_container.get(container_id)

    def known(self) -> frozenset[str]:
        """All UIDs that are known now, config hashes among them."""
        return self._view.uids

    @property
    def alive(self) -> tuple[Pod, ...]:
        """The pods that the API shows, without the deleted ones."""
        return tuple(self._view.alive.values())

    def _swap(self, alive: Mapping[str, Pod], lost: Sequence[Deleted], now_us: int) -> None:
        fresh = {entry.pod.uid for entry in lost}
        kept = [
            entry
            for entry in self._view.deleted
            if now_us - entry.at_us < self._keep_us and entry.pod.uid not in alive and entry.pod.uid not in fresh
        ]
        deleted = [*kept, *lost]
        excess = max(0, len(deleted) - self._keep_pods)
        self.forgotten += excess
        self._view = _View(alive, deleted[excess:])
