"""Whose process is it? A process on a GPU becomes an owner, or stays unattributed: nobody is guessed.

A pod's UID comes from the cgroup, its name from the API. Without the API a pod process on a wholly held device is
taken for the holder's (settlement does that with busy time that no known process explains). On a machine without
Kubernetes the namespace is the user, and what a pod is elsewhere is his Slurm job, container or systemd unit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gputally.accounting.keys import Owner, user_namespace
from gputally.accounting.states import OwnerKind
from gputally.agent.held import Held
from gputally.agent.sample import ContainerRef, GpuProcess, Process, SlurmJob

NO_UNIT = "processes"  # what a user runs outside any unit
_ID = 12  # of a container's id, as runtimes print it


@dataclass(frozen=True, slots=True)
class PodName:
    """What a pod is called: the part of it that an owner needs."""

    uid: str
    namespace: str
    name: str


class Pods(Protocol):
    """The pods of this node, as far as naming an owner goes."""

    def of_uid(self, uid: str) -> PodName | None:
        """The pod with this UID (a static pod's config hash counts as one)."""

    def of_container(self, container_id: str) -> tuple[PodName, str] | None:
        """The pod that a container belongs to, and the container's name in it."""


class NoPods:
    """No API: no pod can be named."""

    def of_uid(self, uid: str) -> PodName | None:  # noqa: ARG002 - the protocol's name
        """Nothing is known."""
        return None

    def of_container(self, container_id: str) -> tuple[PodName, str] | None:  # noqa: ARG002
        """Nothing is known."""
        return None


class Identity:
    """Maps processes to owners. `kubernetes`: whether this node has pods at all; without, users are the namespaces.

    `pods` names Slurm jobs too, by `job_<id>` for a UID, where it knows them.
    """

    def __init__(self, pods: Pods, *, kubernetes: bool) -> None:
        self._pods = pods
        self._kubernetes = kubernetes

    def owners(self, gpu_process: GpuProcess, held: Held) -> Sequence[Owner]:
        """The owners among whom the process's time is split evenly; empty: unattributed."""
        process = gpu_process.process
        if process is None:
            return ()
        container = process.container
        if process.job and not self._kubernetes:
            return (self._job_owner(process.job),)
        if container is None or container.kind == "user":
            return (self._beside_pods(process),)
        named = self._pods.of_container(container.container_id) if container.container_id else None
        if named:
            owner = pod_owner(named[0], named[1])
            is_listed = owner in held.monitors or held.lists(owner)
            return (owner,) if is_listed else _of_pod(named[0], held) or (owner,)
        pod = self._pods.of_uid(container.pod_uid) if container.pod_uid else None
        if pod:
            return _of_pod(pod, held) or (pod_owner(pod, ""),)
        return () if self._kubernetes else (user_owner(process),)

    def _beside_pods(self, process: Process) -> Owner:
        return host_owner(process) if self._kubernetes else user_owner(process)

    def _job_owner(self, job: SlurmJob) -> Owner:
        """Slurm's own word on whose a job is counts more than who a process of it is."""
        return pod_owner(self._pods.of_uid(job.name) or job_name(job.name, job.user), "")


def _of_pod(pod: PodName, held: Held) -> Sequence[Owner]:
    """The pod's holders of the device, among whom the time of a container that holds none of it is split evenly.

    Such a container is not known yet, or uses what its pod holds: an init container is given the devices that the
    kubelet lists for the containers after it. A pod that holds nothing may be here to monitor.
    """
    return _named(pod, held.listed) or _named(pod, held.monitors)


def _named(pod: PodName, owners: Iterable[Owner]) -> Sequence[Owner]:
    """Those owners that are of the pod; a pod of the same name that came before or after it is another."""
    known = {o for o in owners if (o.namespace, o.pod) == (pod.namespace, pod.name) and o.pod_uid in ("", pod.uid)}
    return sorted(known, key=lambda owner: owner.text)


def pod_owner(pod: PodName, container: str) -> Owner:
    """A container of a pod whose UID is known."""
    return Owner(OwnerKind.POD, pod.namespace, pod.name, container, pod.uid)


def host_owner(process: Process) -> Owner:
    """A process outside pods."""
    return Owner(OwnerKind.HOST, user=process.user, unit=process.unit)


def job_name(name: str, user: str) -> PodName:
    """What a Slurm job is called; `name` is `job_<id>`, which is its UID too."""
    return PodName(name, user_namespace(user), name)


def user_owner(process: Process) -> Owner:
    """A process of a machine without Kubernetes: its user's, by container or unit."""
    workload = _container_name(process.container) or process.unit or NO_UNIT
    return Owner(OwnerKind.POD, user_namespace(process.user), workload)


def _container_name(container: ContainerRef | None) -> str:
    if container is None or not container.container_id:
        return ""
    runtime = container.runtime if container.runtime not in (None, "unknown") else "container"
    return f"{runtime}-{container.container_id[:_ID]}"
