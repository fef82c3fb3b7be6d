"""What the kubelet's answers come to, and what it means that it is not asked."""

from pathlib import Path

import pytest

from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.pod_resources import Answer, check, is_there, judge
from gputally.agent.kube.slices import DraDevice
from gputally.agent.reservations.kubelet import (
    ContainerClaim,
    ContainerReservation,
    KubeletSilent,
    Reservations,
    SocketForbidden,
)

SOCKET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
HELD = ContainerReservation("research", "train", "main", "nvidia.com/gpu", ("GPU-a",))
CLAIM = ContainerClaim("ml", "serve", "main", "ml", "claim", (DraDevice("gpu.nvidia.com", "n", "gpu-0"),))


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (Answer(Reservations(0, False, (HELD,), (("nvidia.com/gpu", "GPU-a"),))), Level.OK, "pods that hold some: 1"),
        (Answer(Reservations(0, False, (HELD,), (), (CLAIM,))), Level.OK, "pods that hold some: 2"),
        (Answer(Reservations(0, False, (), (), ())), Level.WARN, "knows no GPU"),
        (Answer(refusal=KubeletSilent("the kubelet is away")), Level.FAIL, "the kubelet is away"),
        (Answer(refusal=SocketForbidden("no")), Level.FAIL, f"this user may not use {SOCKET}"),
    ],
)
def test_what_the_kubelet_answers(answer: Answer, level: Level, words: str) -> None:
    found = judge(SOCKET, answer, lambda: False)
    assert (found.level, words in found.found) == (level, True), found


def test_a_socket_that_may_not_be_looked_at_ends_nothing(tmp_path: Path) -> None:
    """As below a folder of root's; a name that is too long is refused to root as well."""
    assert not is_there(tmp_path / ("x" * 300))
    assert is_there(tmp_path)


def test_an_idle_node_whose_gpus_are_a_dra_drivers_is_well() -> None:
    """The kubelet lists claims that are held, and not what could be claimed."""
    idle = Answer(Reservations(0, False, (), (), ()))
    assert judge(SOCKET, idle, lambda: True).level is Level.OK


@pytest.mark.parametrize(
    ("socket", "in_pod", "level"),
    [("off", False, Level.OK), ("off", True, Level.WARN), ("scenario", True, Level.OK)],
)
def test_a_kubelet_that_is_not_asked_is_a_fault_only_in_a_pod(socket: str, in_pod: bool, level: Level) -> None:
    (found,) = check("off" if socket == "off" else "scenario", Answer, lambda: False, in_pod=in_pod)
    assert found.level is level
