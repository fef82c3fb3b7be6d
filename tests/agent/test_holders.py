"""Who holds which device: shares sum to at most one, and what cannot be told is not called free."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import REPLICA, Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.accounting.states import OwnerKind
from gputally.agent.held import NOBODY, UNKNOWN, Held, HeldInstance
from gputally.agent.reservations.device_id import DeviceName
from gputally.agent.reservations.holders import ClaimGrant, ClaimingPod, Grant, place
from gputally.agent.sample import DeviceInfo, MigInstance

A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
G0, G1 = DeviceInfo("GPU-0", 0, "H100", 4), DeviceInfo("GPU-1", 1, "H100", 5)
REPLICAS = [f"GPU-0::{n}" for n in range(4)]
THREE = MigInstance("MIG-three", 1, 0, 3, "3g.40gb", 9, 4)
ONE = MigInstance("MIG-one", 7, 0, 1, "1g.10gb", 19, 0)
PARTED = DeviceInfo("GPU-0", 0, "H100", 4, mig_enabled=True, slices=7, instances=(THREE, ONE))


def instances(*grants: Grant, allocatable: tuple[str, ...] = (), claims: tuple[ClaimGrant, ...] = ()) -> list[Held]:
    """Who holds the instances of 3 and of 1 slices."""
    return [each.held for each in place([PARTED], grants, allocatable, claims)["GPU-0"].instances]


def claiming(owner: Owner, *containers: str, started_us: int | None = None, first_seen_us: int = 0) -> ClaimingPod:
    owners = tuple(replace(owner, container=name) for name in containers or ("main",))
    return ClaimingPod(replace(owner, container=""), owners, started_us, first_seen_us)


# Whole devices


def test_a_whole_device_is_held_as_a_whole_and_the_others_are_free() -> None:
    assert place([G0, G1], [Grant(A, ("GPU-0",))], []) == {"GPU-0": Held((Holding(A),)), "GPU-1": NOBODY}


def test_ids_by_minor_number_mean_the_same_device() -> None:
    assert place([G0, G1], [Grant(A, ("nvidia5",))], [])["GPU-1"] == Held((Holding(A),))


def test_of_two_pods_on_one_device_the_later_start_wins() -> None:
    grants = [Grant(A, ("GPU-0",), started_us=10), Grant(B, ("GPU-0",), started_us=20)]
    assert place([G0], grants, [])["GPU-0"].holdings == (Holding(B),)


def test_where_a_start_is_unknown_the_one_first_seen_later_wins() -> None:
    grants = [Grant(A, ("GPU-0",), 30, first_seen_us=2), Grant(B, ("GPU-0",), None, first_seen_us=1)]
    assert place([G0], grants, [])["GPU-0"].holdings == (Holding(A),)


def test_two_pods_first_seen_together_contest_the_device() -> None:
    grants = [Grant(A, ("GPU-0",), first_seen_us=1), Grant(B, ("GPU-0",), first_seen_us=1)]
    assert place([G0], grants, [])["GPU-0"] == Held((), Contest(frozenset({A, B})))


# Replicas


def test_replicas_of_one_owner_are_one_holding_of_n_of_r() -> None:
    held = place([G0], [Grant(A, ("GPU-0::0", "GPU-0::2")), Grant(B, ("GPU-0::1",))], REPLICAS)["GPU-0"]
    assert {h.owner: h.share for h in held.holdings} == {A: Fraction(1, 2), B: Fraction(1, 4)}
    assert {h.partition for h in held.holdings} == {REPLICA}


def test_gke_replicas_are_counted_alike() -> None:
    held = place([G0], [Grant(A, ("nvidia4/vgpu2",))], [f"nvidia4/vgpu{n}" for n in range(3)])["GPU-0"]
    assert held.holdings == (Holding(A, REPLICA, Fraction(1, 3)),)


def test_replicas_whose_number_is_not_known_have_no_share_and_the_device_is_not_free() -> None:
    assert place([G0], [Grant(A, ("GPU-0::0",))], [])["GPU-0"] == UNKNOWN


def test_a_contested_replica_leaves_the_others_alone() -> None:
    grants = [Grant(A, ("GPU-0::0",), first_seen_us=1), Grant(B, ("GPU-0::0", "GPU-0::1"), first_seen_us=1)]
    held = place([G0], grants, REPLICAS)["GPU-0"]
    assert held.holdings == (Holding(B, REPLICA, Fraction(1, 4)),)
    assert held.contest == Contest(frozenset({A, B}), Fraction(1, 4))


@pytest.mark.parametrize(("whole_us", "wins"), [(9, REPLICA), (11, "gpu")])
def test_where_a_device_is_listed_whole_and_in_replicas_whoever_came_later_counts(whole_us: int, wins: str) -> None:
    """The plugin was told to share, or no more to; pods of before are still listed."""
    grants = [Grant(A, ("GPU-0",), whole_us), Grant(B, ("GPU-0::1",), 10)]
    assert [h.partition for h in place([G0], grants, REPLICAS)["GPU-0"].holdings] == [wins]


# MIG


def test_each_instance_is_held_for_itself_with_its_share_of_the_slices() -> None:
    held = place([PARTED], [Grant(A, ("MIG-three",)), Grant(B, ("MIG-one",))], [])["GPU-0"]
    assert held.instances == (
        HeldInstance("MIG-three", "3g.40gb", Fraction(3, 7), Held((Holding(A, "MIG-three"),))),
        HeldInstance("MIG-one", "1g.10gb", Fraction(1, 7), Held((Holding(B, "MIG-one"),))),
    )


@pytest.mark.parametrize("device_id", ["MIG-three", "MIG-GPU-0/1/0", "nvidia4/gi1"])
def test_every_shape_of_an_instances_id_means_the_same_instance(device_id: str) -> None:
    assert instances(Grant(A, (device_id,))) == [Held((Holding(A, "MIG-three"),)), NOBODY]


@pytest.mark.parametrize("prefix", ["MIG-three::", "nvidia4/gi1/vgpu"])
def test_replicas_of_an_instance_share_the_instance(prefix: str) -> None:
    allocatable = tuple(f"{prefix}{n}" for n in range(2))
    held = instances(Grant(A, (f"{prefix}0",)), allocatable=allocatable)
    assert held == [Held((Holding(A, REPLICA, Fraction(1, 2)),)), NOBODY]


def test_an_instance_that_vanished_says_nothing_of_those_that_are_there() -> None:
    """Its id is its own; ids in the GPU are used again, but then they mean the new instance."""
    assert instances(Grant(A, ("MIG-gone", "MIG-GPU-0/5/0", "nvidia4/gi5"))) == [NOBODY, NOBODY]


@pytest.mark.parametrize("device_id", ["MIG-gone", "MIG-GPU-0/5/0", "nvidia4/gi5"])
def test_an_instance_on_a_device_that_shows_none_is_not_called_free(device_id: str) -> None:
    """The kubelet and the driver disagree: what was not shown may still come."""
    bare = replace(PARTED, instances=(), slices=None)
    assert place([bare, G1], [Grant(A, (device_id,))], []) == {"GPU-0": UNKNOWN, "GPU-1": NOBODY}


@pytest.mark.parametrize(
    "device", [replace(PARTED, slices=None), replace(PARTED, instances=(THREE, replace(ONE, slices=None)))]
)
def test_slices_that_are_not_known_leave_the_device_unknown(device: DeviceInfo) -> None:
    assert place([device], [Grant(A, ("MIG-one",))], [])["GPU-0"] == UNKNOWN


def test_a_whole_device_is_its_holders_even_where_it_is_partitioned() -> None:
    """The plugin's MIG strategy `none` hands out partitioned devices as whole ones."""
    assert place([PARTED], [Grant(A, ("GPU-0",))], [])["GPU-0"] == Held((Holding(A),))


def test_where_a_device_is_listed_whole_and_in_instances_whoever_came_later_counts() -> None:
    """A pod of before the partitioning is still listed; equal times make it a contest."""
    early, late = Grant(A, ("GPU-0",), 10), Grant(B, ("MIG-one",), 20)
    assert [each.held for each in place([PARTED], [early, late], [])["GPU-0"].instances][1].holdings[0].owner == B
    together = place([PARTED], [early, replace(late, started_us=10)], [])["GPU-0"]
    assert together == Held((), Contest(frozenset({A, B})))


# Claims


def test_a_claim_of_one_container_is_a_plain_holding() -> None:
    claim = ClaimGrant(DeviceName(minor=4), (claiming(A),))
    assert place([G0, G1], [], [], [claim])["GPU-0"] == Held((Holding(A),))


def test_a_claim_that_several_containers_list_is_held_by_the_pod_for_them() -> None:
    pod = claiming(A, "left", "right")
    held = place([G0], [], [], [ClaimGrant(DeviceName(uuid="GPU-0"), (pod,))])["GPU-0"]
    assert held.holdings == (Holding(pod.owner, containers=pod.containers),)


def test_a_claim_that_pods_share_counts_as_replicas() -> None:
    claim = ClaimGrant(DeviceName(uuid="GPU-0"), (claiming(B), claiming(A, "left", "right")))
    held = place([G0], [], [], [claim])["GPU-0"]
    third = replace(A, container="")
    assert held.holdings == (
        Holding(third, REPLICA, Fraction(1, 2), claiming(A, "left", "right").containers),
        Holding(B, REPLICA, Fraction(1, 2)),
    )


@pytest.mark.parametrize(
    "name",
    [
        DeviceName(mig_uuid="MIG-one"),
        DeviceName(uuid="GPU-0", profile="1g10gb", profile_id=19, placement_start=0),
        DeviceName(minor=4, profile_id=19, placement_start=0),
    ],
)
def test_a_claim_on_an_instance_holds_the_instance(name: DeviceName) -> None:
    assert instances(claims=(ClaimGrant(name, (claiming(A),)),)) == [NOBODY, Held((Holding(A, "MIG-one"),))]
    shared = instances(claims=(ClaimGrant(name, (claiming(A), claiming(B))),))[1]
    assert shared.holdings == tuple(Holding(owner, REPLICA, Fraction(1, 2)) for owner in (A, B))


def test_admin_access_is_no_holding() -> None:
    monitor = ClaimGrant(DeviceName(uuid="GPU-0"), (claiming(B, "watch"),), admin=True)
    watcher = frozenset({replace(B, container="watch")})
    assert place([G0], [], [], [monitor])["GPU-0"] == Held(monitors=watcher)
    assert place([G0], [Grant(A, ("GPU-0",))], [], [monitor])["GPU-0"] == Held((Holding(A),), monitors=watcher)


def test_who_monitors_a_partitioned_device_monitors_its_instances() -> None:
    monitor = ClaimGrant(DeviceName(uuid="GPU-0"), (claiming(B),), admin=True)
    assert instances(claims=(monitor,)) == [Held(monitors=frozenset({B}))] * 2


def test_a_claim_that_no_pod_uses_is_told_apart_from_free() -> None:
    unused = ClaimGrant(DeviceName(uuid="GPU-0"))
    assert place([G0], [], [], [unused])["GPU-0"] == Held(unused_share=Fraction(1))
    assert place([G0], [Grant(A, ("GPU-0",))], [], [unused])["GPU-0"] == Held((Holding(A),))


def test_a_claim_and_the_device_plugin_on_one_device_are_two_holders() -> None:
    claim = ClaimGrant(DeviceName(uuid="GPU-0"), (claiming(B, started_us=20),))
    assert place([G0], [Grant(A, ("GPU-0",), 10)], [], [claim])["GPU-0"] == Held((Holding(B),))
    assert place([G0], [Grant(A, ("GPU-0",), 30)], [], [claim])["GPU-0"] == Held((Holding(A),))
    contested = place([G0], [Grant(A, ("GPU-0",), 20)], [], [claim])["GPU-0"]
    assert contested.contest == Contest(frozenset({A, B}))


def test_the_containers_of_a_contested_claim_are_listed_each() -> None:
    """Their processes are no intruders there."""
    claim = ClaimGrant(DeviceName(uuid="GPU-0"), (claiming(B, "left", "right"),))
    held = place([G0], [Grant(A, ("GPU-0",))], [], [claim])["GPU-0"]
    assert held.contest == Contest(frozenset({A, *claiming(B, "left", "right").containers}))


def test_one_pod_with_two_claims_on_a_device_holds_it_once() -> None:
    """As with a monitoring claim that cannot be told from any other."""
    claims = [ClaimGrant(DeviceName(uuid="GPU-0"), (claiming(A, name),)) for name in ("left", "right")]
    pod = claiming(A, "left", "right")
    assert place([G0], [], [], claims)["GPU-0"] == Held((Holding(pod.owner, containers=pod.containers),))


def test_a_claim_on_a_part_of_a_devices_capacity_has_no_known_share() -> None:
    claims = [ClaimGrant(DeviceName(uuid="GPU-0"), (claiming(owner),), partial=True) for owner in (A, B)]
    assert place([G0], [], [], claims)["GPU-0"] == UNKNOWN


# What cannot be placed


@pytest.mark.parametrize("device_id", ["nvidia0", "unheard-of", "GPU-0::x"])
def test_an_id_that_cannot_be_placed_makes_what_seems_free_unattributable(device_id: str) -> None:
    placed = place([G0, G1], [Grant(A, ("GPU-0",)), Grant(B, (device_id,))], [])
    assert placed == {"GPU-0": Held((Holding(A),)), "GPU-1": UNKNOWN}
    assert instances(Grant(A, ("MIG-one",)), Grant(B, (device_id,))) == [UNKNOWN, Held((Holding(A, "MIG-one"),))]


def test_a_claim_whose_device_means_nothing_does_so_too() -> None:
    assert place([G0], [], [], [ClaimGrant(None, (claiming(A),))]) == {"GPU-0": UNKNOWN}


def test_a_uuid_that_the_driver_does_not_show_is_none_of_those_it_shows() -> None:
    assert place([G0], [Grant(A, ("GPU-9", "GPU-9::1", "MIG-GPU-9/1/0"))], []) == {"GPU-0": NOBODY}


# Properties

OWNERS = st.sampled_from([A, B, replace(A, container="side"), Owner(OwnerKind.POD, "n", "p", "c", first_seen_us=7)])
IDS = ["GPU-0", "GPU-1", "MIG-three", "MIG-one", "MIG-gone", "nvidia5", "nvidia4/gi7", "odd", *REPLICAS, "MIG-one::0"]
TIMES = st.integers(0, 2)
GRANTS = st.builds(Grant, OWNERS, st.lists(st.sampled_from(IDS), max_size=4).map(tuple), st.none() | TIMES, TIMES)
PODS = st.builds(claiming, OWNERS, st.sampled_from(["left", "right"]), started_us=st.none() | TIMES)
NAMES = st.sampled_from([None, DeviceName(uuid="GPU-0"), DeviceName(minor=5), DeviceName(mig_uuid="MIG-one")])
CLAIMS = st.builds(
    ClaimGrant,
    NAMES,
    st.lists(PODS, max_size=3, unique_by=lambda pod: pod.owner).map(tuple),
    st.booleans(),
    st.booleans(),
)


def listed_share(held: Held) -> Fraction:
    contested = held.contest.share if held.contest else Fraction(0)
    return sum((h.share for h in held.holdings), contested) + held.unused_share


@given(
    st.sampled_from([G0, PARTED]),
    st.lists(GRANTS, max_size=6),
    st.sets(st.sampled_from(["MIG-one::0", "MIG-one::1", *REPLICAS])),
    st.lists(CLAIMS, max_size=4),
)
def test_whatever_is_listed_shares_never_exceed_what_there_is(
    first: DeviceInfo, grants: list[Grant], allocatable: set[str], claims: list[ClaimGrant]
) -> None:
    placed = place([first, G1], grants, allocatable, claims)
    assert placed.keys() == {"GPU-0", "GPU-1"}
    for held in placed.values():
        assert sum(each.share for each in held.instances) <= 1
        for part in (held, *(each.held for each in held.instances)):
            assert listed_share(part) <= 1
            assert all(holding.share > 0 for holding in part.holdings)
            assert len({(h.owner, h.partition) for h in part.holdings}) == len(part.holdings)


@given(st.data())
def test_the_order_in_which_holders_are_listed_means_nothing(data: st.DataObject) -> None:
    grants, claims = data.draw(st.lists(GRANTS, max_size=5)), data.draw(st.lists(CLAIMS, max_size=4))
    allocatable = [*REPLICAS, "MIG-one::0"]
    shuffled = data.draw(st.permutations(grants)), data.draw(st.permutations(claims))
    assert place([PARTED, G1], grants, allocatable, claims) == place(
        [PARTED, G1], shuffled[0], allocatable, shuffled[1]
    )
