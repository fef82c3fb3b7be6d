"""The kubelet and the pods of a scenario: what a simulated node's reservations and pod names are read from."""

import threading
from collections.abc import Callable, KeysView

from gputally.agent.kube.pods import Pod, PodContainer, PodTable
from gputally.agent.reservations.kubelet import ContainerReservation, Reservations
from gputally.agent.simulated.scenario import Pod as ScenarioPod
from gputally.agent.simulated.scenario import PodRun, Scenario, container_id

RESOURCE = "nvidia.com/gpu"


class SimulatedKubelet:
    """Answers as `Kubelet` does, from a scenario; it is never away, so nothing is ever stale."""

    def __init__(self, scenario: Scenario, wall_us: Callable[[], int], monotonic_us: Callable[[], int]) -> None:
        self._scenario = scenario
        self._wall_us = wall_us
        self._monotonic_us = monotonic_us
        self._allocatable = tuple(sorted((RESOURCE, gpu.info.uuid) for gpu in scenario.gpus))

    def poll(self) -> Reservations:
        """What is held now."""
        held = [
            ContainerReservation(each.pod.namespace, each.pod.name, each.container, RESOURCE, tuple(sorted(each.gpus)))
            for each in self._scenario.containers(self._wall_us())
            if each.gpus
        ]
        held.sort(key=lambda entry: (entry.namespace, entry.pod, entry.container))
        return Reservations(self._monotonic_us(), False, tuple(held), self._allocatable)

    def close(self) -> None:
        """There is no socket to let go of."""


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

    def of_uid(self, uid: str) -> Pod | None:
        """The pod with this UID."""
        return self._now().of_uid(uid)

    def of_name(self, namespace: str, name: str) -> Pod | None:
        """The pod that has this name now, else the last that had it."""
        return self._now().of_name(namespace, name)

    def of_container(self, container_id: str) -> tuple[Pod, str] | None:
        """The pod that a container belongs to, and the container's name in it."""
        return self._now().of_container(container_id)

    def known(self) -> KeysView[str]:
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
            found = [(pod, run) for pod in self._scenario.pods if (run := pod.run(now_us)) is not None]
            shown = tuple(run for _, run in found)
            if shown != self._shown:
                self._table.replace((_as_the_api_shows(pod, run) for pod, run in found), self._monotonic_us())
                self._shown = shown
            return self._table


def _as_the_api_shows(pod: ScenarioPod, run: PodRun) -> Pod:
    requested = sum(len(container.gpus) for container in pod.containers)
    return Pod(
        uid=run.uid,
        namespace=run.namespace,
        name=run.name,
        labels=dict(pod.labels),
        phase="Running",
        started_us=run.start_us,
        gpu_requests=((RESOURCE, requested),) if requested else (),
        containers=tuple(
            PodContainer(one.name, container_id(run.uid, one.name), run.start_us) for one in pod.containers
        ),
    )
