"""From the recorded answers of a real kubelet and API to who holds what, in one pass."""

import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import pytest

from gputally.accounting.keys import REPLICA, WHOLE_GPU, Holding
from gputally.agent.held import NOBODY, Held
from gputally.agent.kube.claims import ClaimTable, parse_claim
from gputally.agent.kube.slices import DraDevice, SliceTable, parse_slice
from gputally.agent.reservations.device_id import DeviceName
from gputally.agent.reservations.grants import GrantBook, NoApi
from gputally.agent.reservations.holders import place
from gputally.agent.reservations.kubelet import Reservations, parse_allocatable, parse_claims, parse_list
from gputally.agent.sample import DeviceInfo, MigInstance
from gputally.proto.podresources_pb2 import AllocatableResourcesResponse, ListPodResourcesResponse

RECORDED = Path(__file__).parent.parent / "data" / "kubernetes" / "podresources"
GPU_A = "GPU-5384ad17-ce81-5107-a784-772f58de6e11"
GPU_B = "GPU-e8a28ecc-06f6-5c5f-a11a-5f8fe89488fc"


def items(path: Path) -> Iterable[dict[str, object]]:
    return json.loads(path.read_text())["items"] if path.exists() else ()


class RecordedApi:
    """The slices and claims that were recorded beside an answer."""

    problem = ""

    def __init__(self, moment: str) -> None:
        self._slices, self._claims = SliceTable(), ClaimTable("labnode")
        self._slices.replace(map(parse_slice, items(RECORDED / "f-dra" / "resourceslices.json")), 0)
        self._claims.replace(map(parse_claim, items(RECORDED / "f-dra" / f"{moment}.resourceclaims.json")), 0)

    def name_of(self, device: DraDevice) -> DeviceName | None:
        return self._slices.name_of(device)

    def is_admin(self, namespace: str, claim: str, device: DraDevice) -> bool:
        return self._claims.is_admin(namespace, claim, device)

    def unused(self) -> tuple[DraDevice, ...]:
        return self._claims.unused()


def reservations(name: str) -> Reservations:
    listed = ListPodResourcesResponse.FromString((RECORDED / f"{name}List.bin").read_bytes())
    offered = AllocatableResourcesResponse.FromString((RECORDED / f"{name}GetAllocatableResources.bin").read_bytes())
    return Reservations(0, False, parse_list(listed), parse_allocatable(offered), parse_claims(listed))


def placed(name: str, devices: list[DeviceInfo], api: RecordedApi | NoApi) -> dict[str, Held]:
    answer = reservations(name)
    granted = GrantBook(lambda _namespace, _pod: None, lambda: 100, api).read(answer)
    return place(devices, granted.grants, [one for _, one in answer.allocatable or ()], granted.claims)


def told(holding: Holding) -> tuple[str, str, Fraction, str]:
    """A holding in short: pod and container, partition, share, the containers it is split over."""
    split = " ".join(owner.container for owner in holding.containers)
    return (f"{holding.owner.pod}/{holding.owner.container}", holding.partition, holding.share, split)


def dra_devices() -> list[DeviceInfo]:
    """The eight devices that the recorded slice announces, by their minor numbers."""
    [announced] = map(parse_slice, items(RECORDED / "f-dra" / "resourceslices.json"))
    return [
        DeviceInfo(said.uuid, n, "H100", minor=int(name.removeprefix("gpu-")))
        for n, (name, said) in enumerate(announced.devices.items())
    ]


def claimed(moment: str, api: RecordedApi | NoApi | None = None) -> dict[int, list[tuple[str, str, Fraction, str]]]:
    """Minor number -> holders, where there are some."""
    devices = dra_devices()
    held = placed(f"f-dra/{moment}.", devices, api or RecordedApi(moment))
    return {d.minor or 0: [told(one) for one in held[d.uuid].holdings] for d in devices if held[d.uuid].holdings}


WHOLE, HALF = Fraction(1), Fraction(1, 2)
TEMPLATED = {0: [("templated/train", WHOLE_GPU, WHOLE, "")]}
PAIR = {n: [("pair/train", WHOLE_GPU, WHOLE, "")] for n in (1, 2)}
SPLIT = {n: [("split/", WHOLE_GPU, WHOLE, "both l r")] for n in (3, 4)}
EXTENDED = {5: [("extended/server", WHOLE_GPU, WHOLE, "")]}
CLASSIC = {6: [("classic-name/server", WHOLE_GPU, WHOLE, "")]}
EXPECTED = {
    "no-claims": {},
    "template": TEMPLATED,
    "shared-claim": TEMPLATED | {1: [(f"share-{n}/{n}", REPLICA, HALF, "") for n in "ab"]},
    "shared-claim-third-pod-later": TEMPLATED | {1: [(f"share-{n}/{n}", REPLICA, Fraction(1, 3), "") for n in "abc"]},
    "two-devices": TEMPLATED | PAIR | SPLIT,
    "extended-resource": TEMPLATED | PAIR | SPLIT | EXTENDED,
    "extended-resource-nvidia.com-gpu": TEMPLATED | PAIR | SPLIT | EXTENDED | CLASSIC,
    "admin-access": TEMPLATED | PAIR | SPLIT | EXTENDED | CLASSIC,
}


@pytest.mark.parametrize("moment", EXPECTED)
def test_recorded_claims_hold_what_they_were_allocated(moment: str) -> None:
    assert claimed(moment) == EXPECTED[moment]


@pytest.mark.parametrize("moment", [moment for moment in EXPECTED if moment != "admin-access"])
def test_without_the_api_the_names_say_the_same(moment: str) -> None:
    assert claimed(moment, NoApi()) == EXPECTED[moment]


def test_who_has_admin_access_monitors_every_device_and_holds_none() -> None:
    held = placed("f-dra/admin-access.", dra_devices(), RecordedApi("admin-access"))
    assert [{(owner.pod, owner.namespace) for owner in one.monitors} for one in held.values()] == [
        {("watcher", "monitoring")}
    ] * 8


def whole(uuid: str, minor: int) -> DeviceInfo:
    return DeviceInfo(uuid, minor, "H100", minor)


def parted(minor: int, *uuids: str, slices: int = 7) -> DeviceInfo:
    """A device with an instance of one slice for each UUID; GPU instances are numbered from 1."""
    instances = tuple(MigInstance(uuid, n, 0, 1, "1g.10gb") for n, uuid in enumerate(uuids, start=1))
    return DeviceInfo("GPU-parted", minor, "H100", minor, mig_enabled=True, slices=slices, instances=instances)


def of_instances(held: Held) -> dict[str, list[str]]:
    """Instance -> who holds all of it."""
    assert all((one.partition, one.share) == (part.uuid, 1) for part in held.instances for one in part.held.holdings)
    return {
        part.uuid: [f"{one.owner.pod}/{one.owner.container}" for one in part.held.holdings] for part in held.instances
    }


def test_recorded_replicas_are_n_of_r() -> None:
    """Two of four are one holding of a half; the number of replicas is what the recorded plugin offers."""
    held = placed("c-replicas/held.", [whole(GPU_A, 0), whole(GPU_B, 1)], NoApi())
    quarter = Fraction(1, 4)
    assert sorted(told(one)[:3] for one in held[GPU_A].holdings) == [
        ("greedy/train", REPLICA, HALF),
        ("notebook-a/jupyter", REPLICA, quarter),
        ("notebook-d/jupyter", REPLICA, quarter),
    ]
    assert sorted(told(one)[:3] for one in held[GPU_B].holdings) == [
        (f"notebook-{n}/jupyter", REPLICA, quarter) for n in "bce"
    ]


def test_recorded_mig_devices_are_held_each_beside_whole_gpus() -> None:
    """One pod has two profiles in one container and a whole GPU in the other."""
    uuids = {
        "MIG-59bad33e-d216-50f1-8d63-e21b844de64c": ["small-a/server"],
        "MIG-c7a91589-60b9-5d1a-a48f-502d20b2cf44": ["small-two/server"],
        "MIG-90bab9c4-48a6-5648-8eed-0bfe7d22c4d2": ["small-two/server"],
        "MIG-034d6440-818f-5f3f-b65e-b7e42473349c": ["mixed/a"],
        "MIG-2b8581fe-2418-52e2-a471-65f84f7de2ab": ["mixed/a"],
        "MIG-a4cd9759-23a0-5059-93ea-334e219b246e": ["large/train"],
    }
    held = placed("d-mig/", [parted(0, *uuids, "MIG-free"), whole(GPU_B, 1), whole("GPU-free", 2)], NoApi())
    assert of_instances(held["GPU-parted"]) == uuids | {"MIG-free": []}
    assert [told(one) for one in held[GPU_B].holdings] == [("mixed/b", WHOLE_GPU, WHOLE, "")]
    assert held["GPU-free"] == NOBODY


def test_recorded_gke_ids_are_placed_by_minor_number() -> None:
    devices = [whole(f"GPU-{n}", n) for n in range(4)]
    held = placed("e-gke-whole/", devices, NoApi())
    assert [[told(one)[0] for one in each.holdings] for each in held.values()] == [
        ["two/train"],
        ["double/server"],
        ["double/server"],
        ["one/train"],
    ]
    held = placed("e-gke-time-sharing/", devices[:2], NoApi())
    assert [[told(one)[:3] for one in each.holdings] for each in held.values()] == [
        [("one/train", REPLICA, Fraction(1, 4))],
        [("two/train", REPLICA, Fraction(1, 4))],
    ]


def test_recorded_gke_instances_are_placed_by_their_number() -> None:
    held = placed("e-gke-mig/", [parted(0, *(f"MIG-{n}" for n in range(1, 8)))], NoApi())
    holders = {"MIG-1": ["one/train"], "MIG-3": ["two/train"], "MIG-4": ["double/server"], "MIG-5": ["double/server"]}
    assert of_instances(held["GPU-parted"]) == {f"MIG-{n}": [] for n in range(1, 8)} | holders
