"""What the kubelet's answers mean: the recorded ones, in any order, with whatever else they hold."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tests.kubelet import list_answer

from gputally.agent.kube.slices import DraDevice
from gputally.agent.reservations.kubelet import (
    ContainerClaim,
    ContainerReservation,
    is_gpu,
    parse_allocatable,
    parse_claims,
    parse_list,
    remember,
)
from gputally.proto.podresources_pb2 import (
    AllocatableResourcesResponse,
    ClaimResource,
    ContainerResources,
    DynamicResource,
    GetPodResourcesResponse,
    ListPodResourcesResponse,
    PodResources,
)

RECORDED = Path(__file__).parent.parent / "data" / "kubernetes" / "podresources"
ANSWERS = {
    "List": ListPodResourcesResponse,
    "GetAllocatableResources": AllocatableResourcesResponse,
    "Get": GetPodResourcesResponse,
}
GPU_A = "GPU-5384ad17-ce81-5107-a784-772f58de6e11"
GPU_B = "GPU-e8a28ecc-06f6-5c5f-a11a-5f8fe89488fc"


def recorded_list(name: str) -> ListPodResourcesResponse:
    return ListPodResourcesResponse.FromString((RECORDED / f"{name}.bin").read_bytes())


def holders(name: str) -> dict[str, tuple[str, ...]]:
    """container -> ids of a recorded List in which every container holds one resource."""
    return {f"{c.namespace}/{c.pod}/{c.container}": c.device_ids for c in parse_list(recorded_list(name))}


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


def claims(name: str) -> dict[str, tuple[str, ...]]:
    """container and claim -> devices of a recorded List."""
    found = parse_claims(recorded_list(f"f-dra/{name}.List"))
    assert {(d.driver, d.pool) for claim in found for d in claim.devices} <= {("gpu.nvidia.com", "labnode")}
    return {f"{c.namespace}/{c.pod}/{c.container} {c.claim}": tuple(d.name for d in c.devices) for c in found}


TEMPLATED = {"ml-research/templated/train templated-g-h8h7h": ("gpu-0",)}
PAIR = {"ml-research/pair/train two-gpus": ("gpu-1", "gpu-2")}
SPLIT = {f"ml-research/split/{name} left-right": ("gpu-3", "gpu-4") for name in ("both", "l", "r")}
EXTENDED = {"inference/extended/server extended-extended-resources-xxlnh": ("gpu-5",)}
CLASSIC = {"inference/classic-name/server classic-name-extended-resources-hhxn8": ("gpu-6",)}


def test_a_pod_without_claims_has_none() -> None:
    assert claims("no-claims") == {}


def test_a_claim_of_a_template_is_held_by_the_container_that_lists_it() -> None:
    """The second container of the pod does not."""
    assert claims("template") == TEMPLATED


def test_a_shared_claim_is_listed_for_each_of_its_pods() -> None:

    def shared(pods: str) -> dict[str, tuple[str, ...]]:
        return {f"ml-research/share-{name}/{name} shared-gpu": ("gpu-1",) for name in pods}

    assert claims("shared-claim") == TEMPLATED | shared("ab")
    assert claims("shared-claim-third-pod-later") == TEMPLATED | shared("abc")


def test_repeated_entries_and_cdi_names_add_nothing() -> None:
    """The kubelet lists the CDI names of earlier devices again, and the whole claim for each container of it."""
    assert claims("two-devices") == TEMPLATED | SPLIT | PAIR


def test_extended_resources_show_up_as_claims() -> None:
    """The pod asks for a number of GPUs, under the driver's name or as nvidia.com/gpu; it gets a claim."""
    held = TEMPLATED | SPLIT | PAIR | EXTENDED
    assert claims("extended-resource") == held
    assert claims("extended-resource-nvidia.com-gpu") == held | CLASSIC
    assert parse_list(recorded_list("f-dra/extended-resource-nvidia.com-gpu.List")) == ()


def test_admin_access_looks_like_any_other_claim_here() -> None:
    found = claims("admin-access")
    [watching] = [devices for name, devices in found.items() if "monitoring/watcher" in name]
    assert watching == tuple(f"gpu-{n}" for n in range(8))


def test_claims_of_other_drivers_are_not_ours_and_parts_of_a_capacity_are_marked() -> None:
    parts = [
        ClaimResource(driver_name="gpu.nvidia.com", pool_name="n", device_name="gpu-0", share_id="s"),
        ClaimResource(driver_name="rdma.example.com", pool_name="n", device_name="nic-0"),
    ]
    listed = [
        DynamicResource(claim_name="mixed", claim_namespace="a", claim_resources=parts),
        DynamicResource(claim_name="other", claim_namespace="a", claim_resources=parts[1:]),
    ]
    container = ContainerResources(name="c", dynamic_resources=listed)
    answer = ListPodResourcesResponse(pod_resources=[PodResources(name="p", namespace="a", containers=[container])])
    gpu = (DraDevice("gpu.nvidia.com", "n", "gpu-0"),)
    assert parse_claims(answer) == (ContainerClaim("a", "p", "c", "a", "mixed", gpu, gpu),)


@pytest.mark.parametrize(
    ("resource", "device_id", "gpu"),
    [
        ("nvidia.com/gpu", GPU_A, True),
        ("example.com/renamed", f"{GPU_A}::3", True),
        ("example.com/renamed", "MIG-034d6440-818f-5f3f-b65e-b7e42473349c", True),
        ("example.com/renamed", f"MIG-{GPU_A}/7/0", True),
        ("example.com/renamed", "nvidia0/gi3/vgpu1", True),
        ("nvidia.com/gpu", "unheard-of", True),
        ("nvidia.com/gpu.shared", "unheard-of", True),
        ("nvidia.com/mig-1g.10gb", "unheard-of", True),
        ("nvidia.com/rdma_shared_device_a", "7", False),
        ("nvidia.com/hostdev", "0000:43:00.0", False),
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
    assert remember(offered, (), ()) == offered
    assert remember(None, (), ()) == ()


def test_an_unhealthy_device_keeps_the_number_of_its_replicas_while_one_is_held() -> None:
    """It is missing from the answer; what nobody holds is forgotten, so that the memory stays as small as the node."""
    offered = recorded_allocatable("c-replicas/held")
    healthy = tuple(entry for entry in offered if GPU_A not in entry[1])
    assert remember(offered, healthy, {f"{GPU_A}::2"}) == offered
    assert remember(offered, healthy, {f"{GPU_B}::2"}) == healthy


def test_what_is_offered_now_replaces_what_a_device_was_divided_into() -> None:
    """Replicas turned off, or their number changed: nothing of the old division stays."""
    replicas = recorded_allocatable("c-replicas/held")
    whole = (("nvidia.com/gpu", GPU_A), ("nvidia.com/gpu", GPU_B))
    assert remember(replicas, whole, {f"{GPU_A}::2"}) == whole
    assert remember(whole, replicas, ()) == replicas
    assert remember(whole, whole[:1], {GPU_B}) == whole[:1]
