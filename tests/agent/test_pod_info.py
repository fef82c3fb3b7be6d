"""What is said of a pod that holds something: who made it, since when, and whether it may be idle."""

from fractions import Fraction

from gputally.agent.idle_spell import IdleSpell
from gputally.agent.kube.pods import OwnerReference, Pod
from gputally.agent.pod_info import IDLE_ALERT, pod_infos
from gputally.agent.snapshot import PodInfo

TRAIN = Pod(
    "uid",
    "team",
    "train-0",
    {IDLE_ALERT: "off", "app": "train"},
    owners=(OwnerReference("v1", "Node", "n", "1", False), OwnerReference("batch/v1", "Job", "train", "2", True)),
    started_us=5,
)
PODS = {("team", "train-0"): TRAIN, ("team", "bare"): Pod("uid-2", "team", "bare")}


def spell(pod: str, uuid: str = "GPU-1") -> IdleSpell:
    return IdleSpell("team", pod, "main", uuid, "gpu", Fraction(1), None, 0)


def pod_of(namespace: str, name: str) -> Pod | None:
    return PODS.get((namespace, name))


def test_a_pod_is_described_once_by_the_object_that_manages_it() -> None:
    found = list(pod_infos([spell("train-0"), spell("train-0", "GPU-2")], pod_of))
    assert found == [PodInfo("team", "train-0", "Job", "train", "off", 5)]


def test_a_pod_that_nobody_manages_and_one_that_the_api_does_not_know() -> None:
    """What is not known has no series; a pod without controller or label is one all the same."""
    assert list(pod_infos([spell("bare"), spell("unknown")], pod_of)) == [PodInfo("team", "bare")]
