"""Shared devices: each sharing mode by an example in round numbers. One minute of one GPU each."""

from fractions import Fraction

from gputally.accounting.keys import PLATFORM, PLATFORM_KEY, REPLICA, WHOLE_GPU, Holding, LineKey, Owner
from gputally.accounting.settlement import Contest, Coverage, Settled, Stretch, edge_holders, settle
from gputally.accounting.states import Basis, OwnerKind, Reason, Source, State
from gputally.accounting.stretch import InstanceStretch

A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
C = Owner(OwnerKind.POD, "notebooks", "nb", "lab", "uid-c")
HOST = Owner(OwnerKind.HOST, user="user-1000", unit="session-1.scope")
MINUTE = 60_000_000
SECOND = 1_000_000
HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)


def us(seconds: float) -> Fraction:
    return Fraction(round(seconds * SECOND))


def books(settled: Settled) -> dict[tuple[str, str, str], dict[str, float]]:
    """Every line by (partition, who, reason): its times and memos in seconds, its energy in mJ; without what is 0."""
    return {(k.partition, _who(k.owner), k.reason.value): _amounts(settled, k) for k in settled if _amounts(settled, k)}


def _who(owner: Owner) -> str:
    if owner.kind is not OwnerKind.POD:
        return owner.kind.value
    return owner.pod if owner.container in ("main", "lab") else f"{owner.pod}/{owner.container}"


def _amounts(settled: Settled, key: LineKey) -> dict[str, float]:
    line = settled[key]
    named = {state.value: time for state, time in line.states.items()}
    named |= {"burst": line.burst_us, "intruder": line.intruder_us}
    named = {name: time / SECOND for name, time in named.items()}
    named |= {"idle mJ": line.energy_idle_mj, "dynamic mJ": line.energy_dynamic_mj}
    return {name: float(amount) for name, amount in named.items() if amount}


# Replicas: a GPU that is time-sliced into four.


def test_replicas_by_example() -> None:
    """train holds 2 of 4 and runs 40 s: 30 used, 10 burst; chat holds 1 of 4 and runs 5 s: 5 used, 10 idle."""
    held = (Holding(A, REPLICA, HALF), Holding(B, REPLICA, QUARTER))
    stretch = Stretch(
        MINUTE,
        held,
        busy_us=us(45),
        process_busy_us={A: us(40), B: us(5)},
        energy_mj=Fraction(15_000_000),
        idle_power_mw=100_000,
    )
    assert books(settle(stretch)) == {
        ("replica", "train", ""): {"used": 30, "burst": 10, "idle mJ": 3_000_000, "dynamic mJ": 8_000_000},
        ("replica", "chat", ""): {"used": 5, "idle": 10, "idle mJ": 1_500_000, "dynamic mJ": 1_000_000},
        ("gpu", "platform", ""): {"unallocated": 15, "idle mJ": 1_500_000},
    }


def test_an_owner_of_all_replicas_holds_the_whole_device() -> None:
    """Its busy time is the device's, not what its processes were seen to do; it need not be one holding."""
    held = (Holding(A, REPLICA, HALF), Holding(A, WHOLE_GPU, HALF))
    settled = settle(Stretch(MINUTE, held, busy_us=us(50), process_busy_us={A: us(5)}))
    assert sum(line.states[State.USED] for line in settled.values()) == us(50)
    assert sum(line.states[State.IDLE] for line in settled.values()) == us(10)


def test_an_owner_of_a_plain_and_a_contested_replica_weighs_once() -> None:
    held = (Holding(A, REPLICA, QUARTER), Holding(C, REPLICA, HALF))
    stretch = Stretch(
        MINUTE,
        held,
        Contest(frozenset({A, B}), QUARTER),
        busy_us=us(20),
        process_busy_us={A: us(10), C: us(10)},
        energy_mj=Fraction(100),
    )
    assert books(settle(stretch)) == {
        ("replica", "train", ""): {"used": 10, "idle": 5, "dynamic mJ": 50},
        ("replica", "nb", ""): {"used": 10, "idle": 20, "dynamic mJ": 50},
        ("gpu", "platform", "two-holders"): {"unobserved": 15},
    }


# MIG: an H100 of seven slices, cut into 4g + 2g, one slice left over.


def instance(name: str, slices: int, stretch: Stretch) -> InstanceStretch:
    return InstanceStretch(f"MIG-{name}", Fraction(slices, 7), stretch)


def part(*holdings: Holding, **facts: object) -> Stretch:
    return Stretch(7 * SECOND, holdings, **{"source": Source.GPM, **facts})  # type: ignore[arg-type]


def gpu(*instances: InstanceStretch, **facts: object) -> Stretch:
    return Stretch(7 * SECOND, instances=instances, **facts)  # type: ignore[arg-type]


def test_mig_by_example() -> None:
    """Seven seconds: train's 4g is busy for half of them, the 2g is held by nobody, a slice belongs to no instance."""
    stretch = gpu(
        instance("4g", 4, part(Holding(A), busy_us=us(3.5))),
        instance("2g", 2, part()),
        energy_mj=Fraction(2_800_000),
        idle_power_mw=100_000,
    )
    assert books(settle(stretch)) == {
        ("MIG-4g", "train", ""): {"used": 2, "idle": 2, "idle mJ": 400_000, "dynamic mJ": 2_100_000},
        ("gpu", "platform", ""): {"unallocated": 2, "idle mJ": 200_000},
        ("gpu", "platform", "mig-remainder"): {"unallocated": 1, "idle mJ": 100_000},
    }
    line = settle(stretch)[LineKey("MIG-4g", A, Basis.RESERVATION)]
    assert line.source is Source.GPM


def test_dynamic_energy_goes_by_busy_time_and_size_of_the_instance() -> None:
    """Busy for the same time, 4g against 2g: two thirds and one third."""
    stretch = gpu(
        instance("4g", 4, part(Holding(A), busy_us=us(7))),
        instance("2g", 2, part(Holding(B), busy_us=us(7))),
        energy_mj=Fraction(900),
    )
    booked = books(settle(stretch))
    assert booked["MIG-4g", "train", ""]["dynamic mJ"] == 600
    assert booked["MIG-2g", "chat", ""]["dynamic mJ"] == 300


def test_an_instance_whose_activity_cannot_be_told_is_unobserved_not_idle_and_a_free_one_is_free() -> None:
    dark = {"coverage": Coverage.NO_UTILISATION, "source": Source.NONE}
    stretch = gpu(instance("4g", 4, part(Holding(A), **dark)), instance("2g", 2, part(**dark)), energy_mj=Fraction(700))
    assert books(settle(stretch)) == {
        ("MIG-4g", "train", "no-utilisation"): {"unobserved": 4, "dynamic mJ": 400},
        ("gpu", "platform", ""): {"unallocated": 2, "dynamic mJ": 200},
        ("gpu", "platform", "mig-remainder"): {"unallocated": 1, "dynamic mJ": 100},
    }


def test_beside_a_measured_instance_the_energy_of_an_unobserved_one_follows_its_time() -> None:
    stretch = gpu(
        instance("4g", 4, part(Holding(A), busy_us=us(3.5))),
        instance("2g", 2, part(Holding(B), coverage=Coverage.NO_UTILISATION)),
        energy_mj=Fraction(400),
    )
    booked = books(settle(stretch))
    assert booked["MIG-4g", "train", ""]["dynamic mJ"] == 200
    assert booked["MIG-2g", "chat", "no-utilisation"]["dynamic mJ"] == 200


def test_without_a_sample_nothing_is_known_of_the_remainder_either() -> None:
    dark = Stretch(7 * SECOND, (Holding(A),), coverage=Coverage.NO_SAMPLE)
    booked = books(settle(gpu(instance("4g", 4, dark), coverage=Coverage.NO_SAMPLE)))
    assert booked == {
        ("MIG-4g", "train", "no-sample"): {"unobserved": 4},
        ("gpu", "platform", "no-sample"): {"unobserved": 3},
    }


def test_a_lost_gpu_is_unavailable_whoever_holds_its_instances() -> None:
    stretch = gpu(instance("4g", 4, part(Holding(A))), available=False, energy_mj=Fraction(7))
    assert books(settle(stretch)) == {("gpu", "platform", ""): {"unavailable": 7, "dynamic mJ": 7}}


def test_inside_an_instance_the_rules_for_shared_devices_run_with_its_own_holders() -> None:
    """A 4g whose two replicas train and chat hold; both run, so each is taken for half of what GPM saw: 1 s each."""
    held = (Holding(A, REPLICA, HALF), Holding(B, REPLICA, HALF))
    stretch = gpu(instance("4g", 4, part(*held, busy_us=us(3.5), clients=frozenset({A, B}))))
    settled = settle(stretch)
    booked = books(settled)
    assert booked["MIG-4g", "train", ""] == booked["MIG-4g", "chat", ""] == {"used": 1, "idle": 1}
    assert settled[LineKey("MIG-4g", A, Basis.RESERVATION)].source is Source.ESTIMATED_SHARE


def test_activity_in_a_free_instance_is_unattributed_and_never_another_instances() -> None:
    stretch = gpu(instance("4g", 4, part(Holding(A))), instance("2g", 2, part(busy_us=us(3.5))))
    assert books(settle(stretch)) == {
        ("MIG-4g", "train", ""): {"idle": 4},
        ("gpu", "platform", "unattributed"): {"unobserved": 1},
        ("gpu", "platform", ""): {"unallocated": 1},
        ("gpu", "platform", "mig-remainder"): {"unallocated": 1},
    }


# MPS: two holders of a half and a quarter.

MPS = (Holding(A, REPLICA, HALF), Holding(B, REPLICA, QUARTER))


def test_mps_by_example() -> None:
    """Busy for 36 s, both run clients: 24 s are train's, 12 s are chat's, by their shares."""
    settled = settle(Stretch(MINUTE, MPS, busy_us=us(36), clients=frozenset({A, B}), source=Source.DEVICE_SAMPLES))
    assert books(settled) == {
        ("replica", "train", ""): {"used": 24, "idle": 6},
        ("replica", "chat", ""): {"used": 12, "idle": 3},
        ("gpu", "platform", ""): {"unallocated": 15},
    }
    assert settled[LineKey(REPLICA, A, Basis.RESERVATION)].source is Source.ESTIMATED_SHARE


def test_under_mps_a_holder_without_a_client_is_idle_and_the_other_may_burst() -> None:
    settled = settle(Stretch(MINUTE, MPS, busy_us=us(36), clients=frozenset({B})))
    assert books(settled) == {
        ("replica", "train", ""): {"idle": 30},
        ("replica", "chat", ""): {"used": 15, "burst": 21},
        ("gpu", "platform", ""): {"unallocated": 15},
    }


def test_under_mps_what_is_known_to_be_an_intruders_is_not_a_holders() -> None:
    """Free time takes 15 of the intruder's 18 s; of the holders' own processes the driver's split says nothing."""
    facts = {HOST: us(18), A: us(1)}
    settled = settle(Stretch(MINUTE, MPS, busy_us=us(36), process_busy_us=facts, clients=frozenset({A})))
    assert books(settled) == {
        ("replica", "train", ""): {"used": 18, "idle": 12},
        ("replica", "chat", ""): {"idle": 15},
        ("gpu", "host", ""): {"used": 15, "intruder": 3},
    }


def test_under_mps_without_a_live_client_the_activity_is_unattributed() -> None:
    settled = settle(Stretch(MINUTE, MPS, busy_us=us(30), clients=frozenset()))
    assert books(settled) == {
        ("replica", "train", ""): {"idle": 15},
        ("replica", "train", "unattributed"): {"unobserved": 15},
        ("replica", "chat", ""): {"idle": 7.5},
        ("replica", "chat", "unattributed"): {"unobserved": 7.5},
        ("gpu", "platform", ""): {"unallocated": 7.5},
        ("gpu", "platform", "unattributed"): {"unobserved": 7.5},
    }


def test_a_whole_device_is_its_holders_under_mps_too() -> None:
    settled = settle(Stretch(MINUTE, (Holding(A),), busy_us=us(30), clients=frozenset(), source=Source.DEVICE_SAMPLES))
    assert books(settled) == {("gpu", "train", ""): {"used": 30, "idle": 30}}
    assert settled[LineKey(WHOLE_GPU, A, Basis.RESERVATION)].source is Source.DEVICE_SAMPLES


# DRA: claims.


def pod(name: str, *containers: str) -> tuple[Owner, tuple[Owner, ...]]:
    return Owner(OwnerKind.POD, "ml", name, "", f"uid-{name}"), tuple(
        Owner(OwnerKind.POD, "ml", name, container, f"uid-{name}") for container in containers
    )


def test_a_claim_by_example() -> None:
    """A pod holds a GPU by a claim that two of its containers list: each gets half of the pod's 40 used, 20 idle."""
    owner, containers = pod("solver", "left", "right")
    stretch = Stretch(
        MINUTE, (Holding(owner, containers=containers),), busy_us=us(40), energy_mj=Fraction(600), idle_power_mw=1
    )
    half = {"used": 20, "idle": 10, "idle mJ": 30, "dynamic mJ": 270}
    assert books(settle(stretch)) == {("gpu", "solver/left", ""): half, ("gpu", "solver/right", ""): half}


def test_a_claim_that_two_pods_share_is_two_replicas() -> None:
    """solver runs 36 s of its 30: 6 are a burst, split over its two containers as everything is; reader is idle."""
    solver, containers = pod("solver", "left", "right")
    reader, one = pod("reader", "only")
    held = (Holding(solver, share=HALF, containers=containers), Holding(reader, share=HALF, containers=one))
    settled = settle(Stretch(MINUTE, held, busy_us=us(36), process_busy_us={solver: us(36)}))
    half = {"used": 15, "burst": 3}
    assert books(settled) == {
        ("gpu", "solver/left", ""): half,
        ("gpu", "solver/right", ""): half,
        ("gpu", "reader/only", ""): {"idle": 30},
    }


def test_a_claim_that_no_pod_uses_is_unallocated_with_its_reason() -> None:
    settled = settle(Stretch(MINUTE, unused_share=Fraction(1), energy_mj=Fraction(60)))
    assert books(settled) == {("gpu", "platform", "claim-unused"): {"unallocated": 60, "dynamic mJ": 60}}


def test_a_claim_on_an_instance_is_the_containers_under_the_instances_name() -> None:
    owner, containers = pod("solver", "left", "right")
    stretch = gpu(instance("4g", 4, part(Holding(owner, containers=containers), busy_us=us(7))))
    booked = books(settle(stretch))
    assert booked["MIG-4g", "solver/left", ""] == booked["MIG-4g", "solver/right", ""] == {"used": 2}


def test_the_holders_at_a_windows_edge_are_those_of_its_lines_with_shares_of_the_device() -> None:
    owner, containers = pod("solver", "left", "right")
    held = Holding(owner, share=HALF, containers=containers)
    assert edge_holders(gpu(instance("4g", 4, part(held, Holding(B, REPLICA, HALF))))) == (
        Holding(containers[0], "MIG-4g", Fraction(1, 7)),
        Holding(containers[1], "MIG-4g", Fraction(1, 7)),
        Holding(B, "MIG-4g", Fraction(2, 7)),
    )


# Memory and quality: memos beside the states.


def memory(settled: Settled, key: LineKey) -> int | None:
    line = settled[key]
    return int(line.memory_byte_us) if line.memory_known else None


def test_a_monitor_is_no_intruder_but_draws_its_energy() -> None:
    """What it computes is not the holder's, and in no state, as the time is another's; nobody is alarmed."""
    held = (Holding(A),)
    busy = {A: us(40), B: us(10)}
    stretch = Stretch(
        MINUTE, held, busy_us=us(50), process_busy_us=busy, energy_mj=Fraction(500), monitors=frozenset({B})
    )
    assert books(settle(stretch)) == {
        ("gpu", "train", ""): {"used": 40, "idle": 20, "dynamic mJ": 400},
        ("gpu", "chat", ""): {"dynamic mJ": 100},
    }


def test_memory_stands_on_the_plain_line_of_its_owner_and_an_intruder_that_only_holds_memory_has_one() -> None:
    stretch = Stretch(MINUTE, (Holding(A),), busy_us=us(1), memory_byte_us={A: 70, HOST: 30, PLATFORM: 5})
    settled = settle(stretch)
    assert memory(settled, LineKey(WHOLE_GPU, A, Basis.RESERVATION)) == 70
    intruder = LineKey(WHOLE_GPU, HOST, Basis.PROCESS)
    assert (memory(settled, intruder), settled[intruder].states) == (30, {})
    assert memory(settled, PLATFORM_KEY) == 5


def test_a_holder_without_a_process_holds_0_bytes_and_without_a_list_nobody_knows() -> None:
    key = LineKey(WHOLE_GPU, A, Basis.RESERVATION)
    assert memory(settle(Stretch(MINUTE, (Holding(A),), memory_byte_us={})), key) == 0
    assert memory(settle(Stretch(MINUTE, (Holding(A),))), key) is None
    assert memory(settle(Stretch(MINUTE, (Holding(A),), memory_byte_us={A: None})), key) is None


def test_memory_that_was_unknown_for_a_while_is_unknown() -> None:
    key = LineKey(WHOLE_GPU, A, Basis.RESERVATION)
    line = settle(Stretch(MINUTE, (Holding(A),), memory_byte_us={A: 10}))[key]
    line.merge(settle(Stretch(MINUTE, (Holding(A),), memory_byte_us={A: None}))[key])
    line.merge(settle(Stretch(MINUTE, (Holding(A),), memory_byte_us={A: 10}))[key])
    assert line.memory_known is False


def test_memory_of_an_instance_is_not_scaled_by_its_share_and_a_claims_is_split() -> None:
    owner, containers = pod("solver", "left", "right")
    held = Holding(owner, containers=containers)
    settled = settle(gpu(instance("4g", 4, part(held, memory_byte_us={owner: 100}))))
    assert [memory(settled, LineKey("MIG-4g", each, Basis.RESERVATION)) for each in containers] == [50, 50]


FIGURES = (us(7), us(3.5), us(1.75), us(0.7), us(0.07))


def test_quality_is_the_sole_holders_in_its_instances_share_of_time() -> None:
    settled = settle(gpu(instance("4g", 4, part(Holding(A), quality=FIGURES))))
    assert settled[LineKey("MIG-4g", A, Basis.RESERVATION)].quality == (us(4), us(2), us(1), us(0.4), us(0.04))


def test_quality_of_a_shared_device_is_nobodys() -> None:
    settled = settle(Stretch(MINUTE, MPS, quality=FIGURES))
    assert {line.quality for line in settled.values()} == {None}
    assert Reason.NONE in {key.reason for key in settled}
