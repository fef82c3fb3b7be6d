"""Whose memory is on a device: holders, intruders, monitors, ghosts; what cannot be told is not made up."""

from fractions import Fraction

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.states import OwnerKind
from gputally.agent.held import NOBODY, UNKNOWN, Held, HeldInstance
from gputally.agent.resident import Resident, resident
from gputally.agent.sample import ContainerRef, GpuProcess, Process, ProcessKind, ProcessReading

GIB = 1 << 30
TRAIN, EVAL, THIEF = (Owner(OwnerKind.POD, "team", name, "main", f"uid-{name}") for name in ("train", "eval", "thief"))
HELD = Held((Holding(TRAIN),))
REF = ContainerRef("uid", "id", "burstable", "containerd", "pod")


def process(pid: int, memory: int | None = GIB, *, exists: bool = True, **more: object) -> GpuProcess:
    return GpuProcess(pid, ProcessKind.COMPUTE, memory, Process(pid, 1, REF) if exists else None, **more)  # type: ignore[arg-type]


def found(held: Held, owners: dict[int, tuple[Owner, ...]], *processes: GpuProcess) -> Resident:
    return resident(ProcessReading(processes), held, lambda process, _: owners.get(process.pid, ()))


def test_memory_adds_up_by_owner_and_a_holder_without_a_process_holds_nothing() -> None:
    held = Held((Holding(TRAIN, "replica", Fraction(1, 2)), Holding(EVAL, "replica", Fraction(1, 2))))
    both = found(held, {1: (TRAIN,), 2: (TRAIN,)}, process(1), process(2))
    assert both == Resident({TRAIN: 2 * GIB, EVAL: 0}, 0)


def test_who_is_there_without_a_reservation_while_others_have_one_is_an_intruder() -> None:
    assert found(HELD, {1: (TRAIN,), 2: (THIEF,)}, process(1), process(2, 3 * GIB)) == Resident(
        {TRAIN: GIB, THIEF: 3 * GIB}, 3 * GIB
    )


def test_on_a_device_that_nobody_holds_nobody_is_an_intruder() -> None:
    assert found(NOBODY, {1: (THIEF,)}, process(1)) == Resident({THIEF: GIB}, 0)


def test_a_monitor_is_no_intruder() -> None:
    held = Held((Holding(TRAIN),), monitors=frozenset({THIEF}))
    assert found(held, {1: (THIEF,)}, process(1)).intruder_bytes == 0


def test_in_a_mig_instance_who_holds_another_one_is_an_intruder() -> None:
    parts = tuple(HeldInstance(f"MIG-{o.pod}", "1g", Fraction(1, 7), Held((Holding(o),))) for o in (TRAIN, EVAL))
    one = found(Held(instances=parts), {1: (TRAIN,)}, process(1, instance="MIG-train"))
    assert one == Resident({TRAIN: GIB, EVAL: 0}, 0)
    two = found(Held(instances=parts), {1: (TRAIN,)}, process(1, instance="MIG-eval"))
    assert two.intruder_bytes == GIB


def test_ghosts_and_the_mps_server_are_nobodys() -> None:
    """Ghosts have a figure of their own; the server's memory is overhead."""
    assert found(HELD, {}, process(1, exists=False), process(2, server=True)) == Resident({TRAIN: 0}, 0)


def test_a_holders_process_that_is_called_like_the_mps_server_is_the_holders() -> None:
    assert found(HELD, {1: (TRAIN,)}, process(1, server=True)) == Resident({TRAIN: GIB}, 0)


def test_what_the_driver_does_not_say_is_unknown_and_not_zero() -> None:
    assert found(HELD, {1: (TRAIN,), 2: (TRAIN,)}, process(1), process(2, None)).by_owner == {TRAIN: None}
    assert found(HELD, {1: (THIEF,)}, process(1, None)).intruder_bytes is None
    assert resident(ProcessReading(), HELD, lambda *_: ()) == Resident()


def test_while_a_process_cannot_be_named_nothing_is_said_of_those_that_seem_to_hold_nothing() -> None:
    """It may be theirs, or an intruder's. On what one owner wholly holds it is taken for that owner's."""
    shared = Held((Holding(TRAIN, "replica", Fraction(1, 2)), Holding(EVAL, "replica", Fraction(1, 2))))
    assert found(shared, {1: (TRAIN,)}, process(1), process(2)) == Resident({TRAIN: GIB}, None)
    assert found(HELD, {}, process(1)) == Resident({TRAIN: GIB}, 0)
    assert found(UNKNOWN, {1: (TRAIN,)}, process(1)) == Resident({TRAIN: GIB}, None)


def test_a_process_of_several_owners_is_theirs_in_equal_parts() -> None:
    held = Held((Holding(TRAIN, "replica", Fraction(1, 2)), Holding(EVAL, "replica", Fraction(1, 2))))
    assert found(held, {1: (TRAIN, EVAL)}, process(1, 3)) == Resident({TRAIN: 1, EVAL: 1}, 0)


def test_a_claims_memory_stands_under_the_container_that_holds_it() -> None:
    """The pod holds a claim as one; its container is known all the same."""
    pod = Owner(OwnerKind.POD, "team", "train", "", "uid-train")
    held = Held((Holding(pod, containers=(TRAIN,)),))
    assert found(held, {1: (TRAIN,)}, process(1)) == Resident({TRAIN: GIB}, 0)
