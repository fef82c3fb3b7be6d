"""Reservations: what the kubelet's answers mean, and that nothing but a release releases."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tests.kubelet import BURST, FakeKubelet, TokenBucket, allocatable_answer, list_answer

from gputally.agent.reservations import (
    EMPTY_HOLD_US,
    SPACING_US,
    ContainerReservation,
    Kubelet,
    KubeletSilent,
    Reservations,
    SocketForbidden,
    SocketMissing,
    count_claims,
    is_gpu,
    parse_allocatable,
    parse_list,
    remember,
)
from gputally.proto.podresources_pb2 import (
    AllocatableResourcesResponse,
    GetPodResourcesResponse,
    ListPodResourcesResponse,
)

RECORDED = Path(__file__).parent.parent / "data" / "kubernetes" / "podresources"
ANSWERS = {
    "List": ListPodResourcesResponse,
    "GetAllocatableResources": AllocatableResourcesResponse,
    "Get": GetPodResourcesResponse,
}
GPU_A = "GPU-5384ad17-ce81-5107-a784-772f58de6e11"
GPU_B = "GPU-e8a28ecc-06f6-5c5f-a11a-5f8fe89488fc"
TRAIN = list_answer([("ml", "train-0", "main", [GPU_A])])
AGENT_ONLY = list_answer([("gputally", "agent", "agent", [])])


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


def recorded_list(name: str) -> ListPodResourcesResponse:
    return ListPodResourcesResponse.FromString((RECORDED / f"{name}.bin").read_bytes())


def holders(name: str) -> dict[str, tuple[str, ...]]:
    """container -> ids of a recorded List in which every container holds one resource."""
    return {f"{c.namespace}/{c.pod}/{c.container}": c.device_ids for c in parse_list(recorded_list(name))}


def poll(kubelet: Kubelet, clock: Clock) -> Reservations:
    clock.step()
    return kubelet.poll()


# What an answer means


@pytest.mark.parametrize("path", sorted(RECORDED.rglob("*.txtpb")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recorded_answer_means_what_its_text_says(path: Path) -> None:
    """Our own definition reads the real bytes: the same message as the text form, whatever fields it leaves out."""
    answer = next(ANSWERS[part] for part in path.stem.split(".") if part in ANSWERS)
    expected = text_format.Parse(path.read_text(), answer(), allow_unknown_field=True)
    got = answer.FromString(path.with_suffix(".bin").read_bytes())
    got.DiscardUnknownFields()
    assert got == expected


@pytest.mark.parametrize(
    "path", sorted(RECORDED.rglob("*List.bin")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_recorded_list_gives_exactly_its_gpu_ids(path: Path) -> None:
    """No device of a recorded List is lost or made up, and only GPUs are kept."""
    answer = ListPodResourcesResponse.FromString(path.read_bytes())
    given_ids = sorted(
        (pod.namespace, pod.name, container.name, device_id)
        for pod in answer.pod_resources
        for container in pod.containers
        for devices in container.devices
        for device_id in devices.device_ids
        if devices.resource_name.startswith("nvidia.com/")
    )
    kept = [(c.namespace, c.pod, c.container, one) for c in parse_list(answer) for one in c.device_ids]
    assert sorted(kept) == given_ids


@pytest.mark.parametrize("name", ["a-no-plugin-no-pods/List", "a-plugin-no-gpu-pods/List", "c-replicas/empty.List"])
def test_a_node_whose_gpus_nobody_holds_has_no_reservations(name: str) -> None:
    assert holders(name) == {}


def test_other_vendors_devices_are_dropped() -> None:
    """rdma/hca in the same container and amd.com/gpu in another pod are not ours."""
    assert holders("b-other-resources/List") == {"ml-research/rdma/train": (GPU_A,)}


@pytest.mark.parametrize(("name", "pod"), [("g-imagepullbackoff/List", "no-image"), ("g-crashloop/List", "crash")])
def test_a_pod_that_never_ran_holds_what_it_was_granted(name: str, pod: str) -> None:
    assert any(pod in container for container in holders(name))


def test_replicas_keep_their_raw_ids() -> None:
    """`GPU-uuid::n` stays as it is: how many of them somebody holds is the share."""
    held = holders("c-replicas/held.List")
    assert held["inference/greedy/train"] == (f"{GPU_A}::1", f"{GPU_A}::2")
    assert held["ml-research/notebook-a/jupyter"] == (f"{GPU_A}::3",)


def test_one_pod_may_hold_mig_profiles_and_a_whole_gpu() -> None:
    """Each resource of a container is an entry of its own."""
    by_container: dict[str, set[str]] = {}
    for held in parse_list(recorded_list("d-mig/List")):
        by_container.setdefault(f"{held.pod}/{held.container}", set()).add(held.resource)
        prefix = "MIG-" if "mig" in held.resource else "GPU-"
        assert all(device_id.startswith(prefix) for device_id in held.device_ids)
    assert by_container["mixed/a"] == {"nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"}
    assert by_container["mixed/b"] == {"nvidia.com/gpu"}


@pytest.mark.parametrize("folder", ["e-gke-whole", "e-gke-mig", "e-gke-time-sharing"])
def test_gke_ids_are_kept(folder: str) -> None:
    """nvidiaN, nvidiaN/giM and nvidiaN/vgpuM are GPUs."""
    assert all(one.startswith("nvidia") for ids in holders(f"{folder}/List").values() for one in ids)
    assert holders(f"{folder}/List")


def test_claims_are_counted_once_however_often_they_are_listed() -> None:
    """A DRA claim that two pods share, and whose entries repeat, is one claim that is not understood yet."""
    assert count_claims(recorded_list("f-dra/no-claims.List")) == 0
    assert count_claims(recorded_list("f-dra/template.List")) == 1
    assert count_claims(recorded_list("f-dra/shared-claim.List")) == 2  # the template's pod is still there
    assert count_claims(recorded_list("f-dra/shared-claim-third-pod-later.List")) == 2


@pytest.mark.parametrize(
    ("resource", "device_id", "gpu"),
    [
        ("nvidia.com/gpu", GPU_A, True),
        ("example.com/renamed", f"{GPU_A}::3", True),
        ("example.com/renamed", "MIG-034d6440-818f-5f3f-b65e-b7e42473349c", True),
        ("example.com/renamed", f"MIG-{GPU_A}/7/0", True),
        ("example.com/renamed", "nvidia0/gi3/vgpu1", True),
        ("nvidia.com/gpu", "unheard-of", True),
        ("amd.com/gpu", "0000:43:00.0", False),
        ("amd.com/gpu", "GPU-0", False),
        ("rdma/hca", "1", False),
    ],
)
def test_the_shape_of_an_id_comes_first_then_the_resource(resource: str, device_id: str, gpu: bool) -> None:
    """Resources get renamed, ids do not; an id of no known shape counts under NVIDIA's own names."""
    assert is_gpu(resource, device_id) is gpu


ENTRIES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("pq"), st.sampled_from("xy"), st.sampled_from([GPU_A, GPU_B])),
    unique=True,
)


@given(entries=ENTRIES, data=st.data())
def test_the_order_of_an_answer_means_nothing(entries: list[tuple[str, str, str, str]], data: st.DataObject) -> None:
    """The kubelet's order changes from call to call; equal content is equal."""

    def parsed(order: list[tuple[str, str, str, str]]) -> tuple[ContainerReservation, ...]:
        answer = list_answer([(namespace, pod, container, [one]) for namespace, pod, container, one in order])
        return parse_list(ListPodResourcesResponse.FromString(answer))

    assert parsed(entries) == parsed(data.draw(st.permutations(entries)))


def test_a_list_in_another_order_is_the_same_snapshot() -> None:
    """Reversing the recorded pods, containers and devices changes nothing."""
    answer = recorded_list("c-replicas/held.List")
    reversed_answer = ListPodResourcesResponse()
    for pod in reversed(answer.pod_resources):
        copy = reversed_answer.pod_resources.add(name=pod.name, namespace=pod.namespace)
        for container in reversed(pod.containers):
            copy.containers.add(name=container.name, devices=list(reversed(container.devices)))
    assert parse_list(reversed_answer) == parse_list(answer)


# What can be held


def recorded_allocatable(name: str) -> tuple[tuple[str, str], ...]:
    path = RECORDED / f"{name}.GetAllocatableResources.bin"
    path = path if path.exists() else RECORDED / name / "GetAllocatableResources.bin"
    return parse_allocatable(AllocatableResourcesResponse.FromString(path.read_bytes()))


def test_allocatable_lists_every_replica() -> None:
    """Two GPUs of four replicas are eight ids."""
    offered = recorded_allocatable("c-replicas/held")
    assert offered == tuple(("nvidia.com/gpu", f"{gpu}::{n}") for gpu in (GPU_A, GPU_B) for n in range(4))


def test_other_vendors_devices_are_not_allocatable_here() -> None:
    assert recorded_allocatable("b-other-resources") == (("nvidia.com/gpu", GPU_A),)


def test_the_last_allocatable_is_remembered_while_the_plugin_is_away() -> None:
    """A stopped plugin empties the answer; the number of replicas does not change by that."""
    offered = recorded_allocatable("c-replicas/held")
    assert remember(offered, ()) == offered
    assert remember(None, ()) == ()


def test_an_unhealthy_device_keeps_the_number_of_its_replicas() -> None:
    """It is missing from the answer, but its replicas may be held."""
    offered = recorded_allocatable("c-replicas/held")
    healthy = tuple(entry for entry in offered if GPU_A not in entry[1])
    assert remember(offered, healthy) == offered


def test_what_is_offered_now_replaces_what_a_device_was_divided_into() -> None:
    """Replicas turned off, or their number changed: nothing of the old division stays."""
    replicas = recorded_allocatable("c-replicas/held")
    whole = (("nvidia.com/gpu", GPU_A), ("nvidia.com/gpu", GPU_B))
    assert remember(replicas, whole) == whole
    assert remember(whole, replicas) == replicas
    assert remember(whole, whole[:1]) == whole[:1]


# Asking the kubelet


def test_poll_reads_who_holds_what_and_when_it_was_said(server: FakeKubelet, kubelet: Kubelet, clock: Clock) -> None:
    server.answer(TRAIN, allocatable_answer([GPU_A, GPU_B]))
    assert kubelet.poll() == Reservations(
        clock.us,
        False,
        (ContainerReservation("ml", "train-0", "main", "nvidia.com/gpu", (GPU_A,)),),
        (("nvidia.com/gpu", GPU_A), ("nvidia.com/gpu", GPU_B)),
    )


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


def test_a_list_of_pods_without_gpus_is_a_release_also_after_a_restart(
    server: FakeKubelet, kubelet: Kubelet, clock: Clock
) -> None:
    """Only an answer of no bytes is doubted: a kubelet that names its pods knows them."""
    server.answer(TRAIN)
    kubelet.poll()
    server.stop()
    server.answer(AGENT_ONLY)
    server.start()
    assert poll(kubelet, clock).containers == ()


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
