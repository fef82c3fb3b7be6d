"""The kubelet as it is asked: nothing but a release releases, and whatever is wrong is said in one line."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.kubelet import BURST, FakeKubelet, TokenBucket, allocatable_answer, list_answer

from gputally.agent.kube.slices import DraDevice
from gputally.agent.reservations import pod_resources
from gputally.agent.reservations.kubelet import (
    EMPTY_HOLD_US,
    SPACING_US,
    ContainerClaim,
    ContainerReservation,
    Kubelet,
    KubeletSilent,
    Reservations,
    SocketForbidden,
    SocketMissing,
)

RECORDED = Path(__file__).parent.parent / "data" / "kubernetes" / "podresources"
GPU_A = "GPU-5384ad17-ce81-5107-a784-772f58de6e11"
GPU_B = "GPU-e8a28ecc-06f6-5c5f-a11a-5f8fe89488fc"
TRAIN = list_answer([("ml", "train-0", "main", [GPU_A])])
STATIC_ONLY = list_answer([("kube-system", "kube-proxy-node-1", "kube-proxy", [])])


class Clock:
    """A monotonic clock, in microseconds, that moves when told."""

    def __init__(self) -> None:
        self.us = 1_000_000_000

    def __call__(self) -> int:
        return self.us

    def step(self, us: int = SPACING_US) -> None:
        self.us += us

    def seconds(self) -> float:
        return self.us / 1_000_000


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubelet here is silent because it is away, and never because this machine is busy."""
    monkeypatch.setattr(pod_resources, "CALL_DEADLINE_S", 60.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[FakeKubelet]:
    with FakeKubelet(tmp_path / "kubelet.sock", clock.seconds) as running:
        yield running


@pytest.fixture
def kubelet(server: FakeKubelet, clock: Clock) -> Iterator[Kubelet]:
    client = Kubelet(server.path, clock)
    yield client
    client.close()


def poll(kubelet: Kubelet, clock: Clock) -> Reservations:
    clock.step()
    return kubelet.poll()


def test_poll_reads_who_holds_what_and_when_it_was_said(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    server.answer(TRAIN, allocatable_answer([GPU_A, GPU_B]))
    assert kubelet.poll() == Reservations(
        clock.us,
        False,
        (ContainerReservation("ml", "train-0", "main", "nvidia.com/gpu", (GPU_A,)),),
        (("nvidia.com/gpu", GPU_A), ("nvidia.com/gpu", GPU_B)),
    )


def test_claims_are_read_in_the_same_pass_as_what_the_device_plugin_gave(server: FakeKubelet, kubelet: Kubelet) -> None:
    """Also of one container."""
    server.answer(list_answer([("ml", "train-0", "main", [GPU_A])], claims=[("ml", "train-0", "main", "c", ["gpu-1"])]))
    answer = kubelet.poll()
    assert [held.device_ids for held in answer.containers] == [(GPU_A,)]
    claimed = (DraDevice("gpu.nvidia.com", "labnode", "gpu-1"),)
    assert answer.claims == (ContainerClaim("ml", "train-0", "main", "ml", "c", claimed),)


def test_a_release_is_seen_at_the_next_poll(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    """Without a restart an empty list is a release, also when no pod at all is left."""
    server.answer(TRAIN)
    assert kubelet.poll().containers
    server.answer(b"")
    released = poll(kubelet, clock)
    assert released.containers == ()
    assert not released.stale


def test_a_handover_is_followed_as_the_kubelet_lists_it(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    """The recorded change: a Job's pod gives its GPUs to the next one, in one step."""
    seen = []
    for line in (RECORDED / "g-handover" / "timeline.ndjson").read_text().splitlines():
        server.answer((RECORDED / "g-handover" / json.loads(line)["List"]).read_bytes())
        seen.append({held.pod for held in poll(kubelet, clock).containers})
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert "finetune-827cw" in seen[0]
    assert "finetune-827cw" not in seen[2]
    assert "next" in seen[2]


def replay(step: dict[str, str], server: FakeKubelet) -> None:
    """Bring the server into the state that a line of the recorded restart shows."""
    folder = RECORDED / "h-restart"
    if step.get("mark") == "SIGTERM to kubelet":
        server.stop()
    elif step.get("mark") == "kubelet started":
        server.answer(b"", b"")
        server.start()
    elif step.get("answer", "").endswith("List.bin"):
        server.answer((folder / step["answer"]).read_bytes())
    elif step.get("method") == "GetAllocatableResources" and "answer" in step:
        server.answer(server.list_bytes, (folder / step["answer"]).read_bytes())


def test_the_recorded_restart_releases_nothing(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    """Refused connections and empty answers keep the map, marked stale; the first full answer makes it fresh."""
    folder = RECORDED / "h-restart"
    server.answer((folder / "00.List.bin").read_bytes(), (folder / "02.GetAllocatableResources.bin").read_bytes())
    before = kubelet.poll()
    assert len(before.containers) == 1
    stale = []
    for line in (folder / "timeline.ndjson").read_text().splitlines():
        replay(json.loads(line), server)
        now = poll(kubelet, clock)
        assert (now.containers, now.allocatable) == (before.containers, before.allocatable)
        assert bool(now.problem) == now.stale
        stale.append(now.stale)
    assert stale == [False] * 3 + [True] * 13 + [False] * 2
    assert now.taken_monotonic_us == clock.us


def test_a_restart_releases_no_claims_either(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    """Also where nothing is held but claims, which the device plugin's lists do not show."""
    listed = (RECORDED / "f-dra" / "template.List.bin").read_bytes()
    server.answer(listed, b"")
    before = kubelet.poll()
    assert (len(before.claims), before.containers, before.allocatable) == (1, (), ())
    server.stop()
    server.answer(b"", b"")
    server.start()
    for _ in range(3):
        kept = poll(kubelet, clock)
        assert (kept.claims, kept.stale) == (before.claims, True)
    server.answer(listed)
    assert not poll(kubelet, clock).stale


def test_a_stale_map_says_when_it_was_true(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    server.answer(TRAIN)
    taken = kubelet.poll().taken_monotonic_us
    server.stop()
    kept = poll(kubelet, clock)
    assert kept.stale
    assert kept.taken_monotonic_us == taken < clock.us
    assert "is it running" in kept.problem


def test_a_restart_between_two_polls_releases_nothing_either(
    server: FakeKubelet, kubelet: Kubelet, clock: Clock
) -> None:
    """No call failed, but the socket is a new one: an empty answer is not believed."""
    server.answer(TRAIN)
    kubelet.poll()
    server.stop()
    server.answer(b"")
    server.start()
    kept = poll(kubelet, clock)
    assert kept.stale
    assert kept.containers


def test_a_restarted_kubelet_that_knows_only_its_static_pods_releases_nothing(
    server: FakeKubelet, kubelet: Kubelet, clock: Clock
) -> None:
    """Their manifests are files on the node; the others' it must ask the API for."""
    server.answer(TRAIN)
    kubelet.poll()
    server.stop()
    server.answer(STATIC_ONLY)
    server.start()
    kept = poll(kubelet, clock)
    assert kept.stale
    assert kept.containers
    clock.step(EMPTY_HOLD_US)
    assert poll(kubelet, clock).containers == ()


def test_empty_answers_are_believed_after_30_seconds(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    """The node may have been emptied while the kubelet was away."""
    server.answer(TRAIN)
    kubelet.poll()
    server.stop()
    assert poll(kubelet, clock).stale
    server.answer(b"")
    server.start()
    assert poll(kubelet, clock).containers
    clock.step(EMPTY_HOLD_US - SPACING_US - 1)
    assert poll(kubelet, clock).stale
    released = poll(kubelet, clock)
    assert not released.stale
    assert released.containers == ()


def test_a_second_poll_at_once_costs_the_kubelet_nothing(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    """Polls on demand share one answer: our own spacing keeps us below the kubelet's limit."""
    server.answer(TRAIN)
    first = kubelet.poll()
    server.answer(b"")
    assert all(kubelet.poll() is first for _ in range(20))
    assert server.calls == ["List", "GetAllocatableResources"]
    assert poll(kubelet, clock).containers == ()


def test_the_kubelets_rate_limit_keeps_the_map(server: FakeKubelet, clock: Clock) -> None:
    """Others may have used the burst up: stale, and good again once the limit allows."""
    server.answer(TRAIN)
    eager = Kubelet(server.path, clock, spacing_us=0)
    answers = [eager.poll() for _ in range(BURST)]
    assert [answer.stale for answer in answers] == [False] * 5 + [True] * 5
    assert all(answer.containers for answer in answers)
    assert "too many callers" in answers[-1].problem
    clock.step()
    assert not eager.poll().stale
    eager.close()


def test_a_rate_limit_is_not_a_restart(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    server.answer(TRAIN)
    kubelet.poll()
    server.refuse("List", grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
    assert poll(kubelet, clock).stale
    server.allow("List")
    server.answer(b"")
    assert poll(kubelet, clock).containers == ()


def test_the_holders_count_also_where_the_kubelet_cannot_say_what_is_allocatable(
    server: FakeKubelet, kubelet: Kubelet, clock: Clock
) -> None:
    """None, not nothing: the question was never answered. Then the last answer stays."""
    server.answer(TRAIN, allocatable_answer([GPU_A]))
    server.refuse("GetAllocatableResources", grpc.StatusCode.UNIMPLEMENTED, "unknown method")
    first = kubelet.poll()
    assert first.containers
    assert not first.stale
    assert first.allocatable is None
    assert "unknown method" in first.problem
    server.allow("GetAllocatableResources")
    assert poll(kubelet, clock).allocatable == (("nvidia.com/gpu", GPU_A),)
    server.answer(TRAIN, b"")
    assert poll(kubelet, clock).allocatable == (("nvidia.com/gpu", GPU_A),)


# Nothing to ask


def test_a_missing_socket_says_what_to_mount(tmp_path: Path, clock: Clock) -> None:
    """One line, before the first good answer and at every poll until there is one."""
    kubelet = Kubelet(tmp_path / "none.sock", clock)
    for _ in range(2):
        with pytest.raises(SocketMissing, match=r"no kubelet socket at .*none\.sock: mount .* --pod-resources-socket"):
            kubelet.poll()
    clock.step()
    with FakeKubelet(tmp_path / "none.sock", clock.seconds) as server:
        server.answer(TRAIN)
        assert kubelet.poll().containers
        kubelet.close()


def test_a_socket_that_nobody_listens_on(server: FakeKubelet, kubelet: Kubelet) -> None:
    server.stop()
    with pytest.raises(KubeletSilent, match="does not listen") as caught:
        kubelet.poll()
    assert "\n" not in str(caught.value)


def test_a_refusal_is_named_by_its_code(server: FakeKubelet, kubelet: Kubelet) -> None:
    server.refuse("List", grpc.StatusCode.UNIMPLEMENTED, "unknown service v1.PodResourcesLister")
    with pytest.raises(KubeletSilent, match=r"UNIMPLEMENTED .*unknown service"):
        kubelet.poll()


def test_a_socket_without_permission_says_so(server: FakeKubelet, clock: Clock) -> None:
    """As uid 0 in a child that gave up its uid: the real socket's folder is 0750 root:root."""
    if os.geteuid() != 0:
        folder = server.path.parent
        folder.chmod(0)
        try:
            with pytest.raises(SocketForbidden, match="run the agent as uid 0"):
                Kubelet(server.path, clock).poll()
        finally:
            folder.chmod(stat.S_IRWXU)
        return
    server.path.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(SocketForbidden, match="run the agent as uid 0"):
            Kubelet(server.path, clock).poll()
    finally:
        os.seteuid(0)


def test_the_fake_limits_as_the_kubelet_does(clock: Clock) -> None:
    """About ten calls in a burst, then one every 10 ms."""
    bucket = TokenBucket(clock.seconds)
    assert [bucket.take() for _ in range(12)] == [True] * BURST + [False] * 2
    clock.step(10_500)
    assert [bucket.take() for _ in range(2)] == [True, False]
