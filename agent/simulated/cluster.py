"""The kubelet and the pods of a scenario: what a simulated node's reservations and pod names are read from."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from gputally.agent.kube.pods import Pod, PodContainer, PodTable
from gputally.agent.reservations.kubelet import ContainerReservation, Reservations
from gputally.agent.simulated.scenario import Gpu, Holding, PodRun, Scenario, container_id, replica_id
from gputally.agent.simulated.scenario import Pod as ScenarioPod

RESOURCE = "nvidia.com/gpu"  # replicas of GPUs too: a device plugin renames them only where it is told to
_MIG_RESOURCE = "nvidia.com/mig-"  # and the profile: what the device plugin's `mixed` strategy offers


class SimulatedKubelet:
    """Answers as `Kubelet` does, from a scenario; it is never away, so nothing is ever stale."""

    def __init__(self, scenario: Scenario, wall_us: Callable[[], int], monotonic_us: Callable[[], int]) -> None:
        self._scenario = scenario
        self._wall_us = wall_us
        self._monotonic_us = monotonic_us
        self._resources = resources(scenario)
        self._allocatable = tuple(sorted((resource, device_id) for device_id, resource in self._resources.items()))

    def poll(self) -> Reservations:
        """What is held now."""
        containers = self._scenario.containers(self._wall_us())
        held = [reservation for each in containers for reservation in self._listed(each)]
        held.sort(key=lambda entry: (entry.namespace, entry.pod, entry.container, entry.resource))
        return Reservations(self._monotonic_us(), False, tuple(held), self._allocatable)

    def close(self) -> None:
        """There is no socket to let go of."""

    def _listed(self, holding: Holding) -> Iterator[ContainerReservation]:
        by_resource: dict[str, list[str]] = defaultdict(list)
        for device_id in sorted(holding.gpus):
            by_resource[self._resources[device_id]].append(device_id)
        for resource, ids in by_resource.items():
            yield ContainerReservation(holding.pod.namespace, holding.pod.name, holding.container, resource, tuple(ids))


class SimulatedPods:
    """Looks pods up as a `PodTable` does, and keeps one that follows the scenario; any thread may ask.

    As with a watch, a pod that came and went between two questions was never seen.
    """

    def __init__(self, scenario: Scenario, wall_us: Callable[[], int], monotonic_us: Callable[[], int]) -> None:
        self._scenario = scenario
        self._wall_us = wall_us
        self._monotonic_us = monotonic_us
        self._lock = threading.Lock()
        self._table = PodTable()
        self._shown: tuple[PodRun, ...] | None = None
        self._shown_us: int | None = None
        self._resources = resources(scenario)

    def of_uid(self, uid: str) -> Pod | None:
        """The pod with this UID."""
        return self._now().of_uid(uid)

    def of_name(self, namespace: str, name: str) -> Pod | None:
        """The pod that has this name now, else the last that had it."""
        return self._now().of_name(namespace, name)

    def of_container(self, container_id: str) -> tuple[Pod, str] | None:
        """The pod that a container belongs to, and the container's name in it."""
        return self._now().of_container(container_id)

    def known(self) -> frozenset[str]:
        """All UIDs that are known now."""
        return self._now().known()

    @property
    def alive(self) -> tuple[Pod, ...]:
        """The pods that exist now."""
        return self._now().alive

    def _now(self) -> PodTable:
        """The table, brought up to the time that the wall clock tells."""
        with self._lock:
            now_us = self._wall_us()
            if now_us == self._shown_us:
                return self._table
            found = [(pod, run) for pod in self._scenario.pods if (run := pod.run(now_us)) is not None]
            shown = tuple(run for _, run in found)
            if shown != self._shown:
                pods = (_as_the_api_shows(pod, run, self._resources) for pod, run in found)
                self._table.replace(pods, self._monotonic_us())
                self._shown = shown
            self._shown_us = now_us
            return self._table


def resources(scenario: Scenario) -> dict[str, str]:
    """What the device plugin offers: ids, and the resource as which containers ask for each."""
    return {device_id: resource for gpu in scenario.gpus for resource, ids in _offers(gpu) for device_id in ids}


def _offers(gpu: Gpu) -> Iterator[tuple[str, Sequence[str]]]:
    if not gpu.instances:
        yield RESOURCE, _ids(gpu.info.uuid, gpu.replicas)
    for instance in gpu.instances:
        profile = instance.info.profile.replace("+", ".")  # a resource's name has no plus
        yield _MIG_RESOURCE + profile, _ids(instance.info.uuid, instance.replicas)


def _ids(uuid: str, replicas: int) -> Sequence[str]:
    return [replica_id(uuid, number) for number in range(replicas)] if replicas else [uuid]


def _as_the_api_shows(pod: ScenarioPod, run: PodRun, of: Mapping[str, str]) -> Pod:
    requested = Counter(of[device_id] for container in pod.containers for device_id in container.gpus)
    return Pod(
        uid=run.uid,
        namespace=run.namespace,
        name=run.name,
        labels={key: run.filled(text) for key, text in pod.labels},
        phase="Running",
        started_us=run.start_us,
        gpu_requests=tuple(sorted(requested.items())),
        containers=tuple(
            PodContainer(one.name, container_id(run.uid, one.name), run.start_us) for one in pod.containers
        ),
    )
