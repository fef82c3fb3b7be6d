"""The simulated kubelet and API: the answers that the real ones would give about the scenario's pods."""

from dataclasses import dataclass

from gputally.agent.attribution.identity import Identity
from gputally.agent.held import NOBODY
from gputally.agent.reservations.kubelet import ContainerReservation
from gputally.agent.sample import DeviceInfo, GpuProcess, ProcessKind
from gputally.agent.simulated.cluster import RESOURCE, SimulatedKubelet, SimulatedPods
from gputally.agent.simulated.gpus import SimulatedProcesses
from gputally.agent.simulated.pattern import constant
from gputally.agent.simulated.scenario import Container, Gpu, InContainer, Pod, Scenario, Workload

MONDAY_US = 1_735_516_800_000_000  # 2024-12-30
SECOND_US = 1_000_000
A, B = "GPU-a", "GPU-b"
END_US = MONDAY_US + 10 * SECOND_US
TRAIN = Pod(
    "research",
    "train",
    (Container("main", (B, A)), Container("side")),
    constant(1, MONDAY_US, END_US),
    labels=(("team", "vision"),),
)
WEB = Pod("inference", "web", (Container("server"),), constant(1))
WORK = Workload(2001, InContainer(TRAIN, "main"), constant(1), TRAIN.present, 0)
GPUS = tuple(Gpu(DeviceInfo(uuid, i, "NVIDIA Test"), 1, 2, 3) for i, uuid in enumerate((B, A)))
NODE = Scenario(GPUS, (TRAIN, WEB), (WORK,))


@dataclass
class Clock:
    now_us: int = MONDAY_US

    def __call__(self) -> int:
        return self.now_us

    def monotonic(self) -> int:
        return self.now_us - MONDAY_US


def test_the_kubelet_lists_the_containers_that_hold_a_gpu_and_only_while_they_do() -> None:
    clock = Clock()
    kubelet = SimulatedKubelet(NODE, clock, clock.monotonic)
    answer = kubelet.poll()
    assert answer.containers == (ContainerReservation("research", "train", "main", RESOURCE, (A, B)),)
    assert answer.allocatable == ((RESOURCE, A), (RESOURCE, B))
    assert (answer.stale, answer.claims, answer.problem) == (False, (), "")
    clock.now_us = END_US
    assert kubelet.poll().containers == ()
    assert kubelet.poll().taken_monotonic_us == 10 * SECOND_US
    kubelet.close()


def test_a_process_leads_to_its_pod_and_container() -> None:
    clock = Clock()
    pods = SimulatedPods(NODE, clock, clock.monotonic)
    process = SimulatedProcesses(NODE, clock).resolve(2001)
    assert process is not None
    assert process.container is not None
    assert process.container.container_id is not None
    assert process.container.pod_uid is not None
    found = pods.of_container(process.container.container_id)
    assert found is not None
    assert (found[0].namespace, found[0].name, found[1]) == ("research", "train", "main")
    assert pods.of_uid(process.container.pod_uid) == found[0] == pods.of_name("research", "train")
    assert process.container.pod_uid in pods.known()


def test_a_pod_is_shown_with_what_accounting_needs() -> None:
    clock = Clock()
    pod = SimulatedPods(NODE, clock, clock.monotonic).of_name("research", "train")
    assert pod is not None
    assert (pod.labels, pod.phase, pod.started_us) == ({"team": "vision"}, "Running", MONDAY_US)
    assert pod.gpu_requests == ((RESOURCE, 2),)
    assert [one.name for one in pod.containers] == ["main", "side"]


def test_a_pod_that_ended_is_remembered_for_late_samples() -> None:
    clock = Clock()
    pods = SimulatedPods(NODE, clock, clock.monotonic)
    assert len(pods.alive) == 2
    clock.now_us = END_US
    assert [pod.name for pod in pods.alive] == ["web"]
    assert pods.of_name("research", "train") is not None


def test_a_process_in_a_pod_gets_its_container_as_owner() -> None:
    clock = Clock()
    identity = Identity(SimulatedPods(NODE, clock, clock.monotonic), kubernetes=True)
    process = GpuProcess(2001, ProcessKind.COMPUTE, process=SimulatedProcesses(NODE, clock).resolve(2001))
    (owner,) = identity.owners(process, NOBODY)
    assert (owner.namespace, owner.pod, owner.container) == ("research", "train", "main")
