"""What the ledger holds of partitioned and shared GPUs: the real `Nvml` on the test library, metered into windows."""

from dataclasses import replace

from tests.nvml.library import MigDevice, NvmlScenario, ScriptedGpu, ScriptedProcess, Step
from tests.nvml.metered import SOMEBODY, Node
from tests.nvml.scenarios import GPU, NOW, SECOND, T0, Play

from gputally.accounting.keys import PLATFORM, REPLICA, WHOLE_GPU, Owner
from gputally.accounting.states import OwnerKind, Reason, Source
from gputally.agent.reservations.holders import Grant

pytest_plugins = ["tests.nvml.fixtures"]

A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
BIG = MigDevice("MIG-00000000-0000-4000-8000-000000000001", "H100 MIG 3g.40gb", 2, 0, 3, 3, 40448, placement_start=4)
SMALL = MigDevice("MIG-00000000-0000-4000-8000-000000000002", "H100 MIG 1g.10gb", 7)
OWNERS = {11: A, 12: B}
GRANTS = (Grant(A, (BIG.uuid,)), Grant(B, (SMALL.uuid,)))
SEVENTH = SECOND / 7


def parted(*processes: ScriptedProcess, mig: tuple[MigDevice, ...] = (BIG, SMALL), gpm: bool = True) -> NvmlScenario:
    return NvmlScenario((replace(GPU, busy=None, mig=mig, processes=processes, gpm=gpm),))


TRAINS = ScriptedProcess(11, 5 * 1024**3, (Step(T0, 50),), mig=BIG.uuid)
SERVES = ScriptedProcess(12, 1024**3, (Step(T0, 20),), mig=SMALL.uuid)


def test_each_mig_device_is_its_holders_by_slices_and_the_rest_is_the_remainder(start: Play) -> None:
    node = Node(start, parted(TRAINS, SERVES), GRANTS, (), OWNERS)
    node.run(22)
    lines = node.stop()
    mine, theirs = lines[A, BIG.uuid, Reason.NONE], lines[B, SMALL.uuid, Reason.NONE]
    assert abs(mine.capacity_us - 21 * 3 * SEVENTH) < 1
    assert abs(theirs.capacity_us - 21 * 1 * SEVENTH) < 1
    assert abs(lines[PLATFORM, WHOLE_GPU, Reason.MIG_REMAINDER].unallocated_us - 21 * 3 * SEVENTH) <= 1
    assert abs(mine.used_us - mine.capacity_us * 0.5) < SECOND
    assert abs(theirs.used_us - theirs.capacity_us * 0.2) < SECOND
    assert (mine.source, theirs.source) == (Source.GPM, Source.GPM)
    assert mine.memory_byte_s == 21 * 5 * 1024**3


def test_before_hopper_a_mig_devices_time_is_unobserved_not_idle(start: Play) -> None:
    node = Node(start, parted(TRAINS, SERVES, gpm=False), GRANTS, (), OWNERS)
    node.run(22)
    lines = node.stop()
    mine = lines[A, BIG.uuid, Reason.NO_UTILISATION]
    assert mine.unobserved_us == mine.capacity_us > 8 * SECOND
    assert lines[A, BIG.uuid, Reason.NONE].capacity_us == 0  # its memory stands there


def test_a_mig_device_that_is_re_created_while_running_is_another_partition(start: Play) -> None:
    again = replace(SMALL, uuid="MIG-00000000-0000-4000-8000-000000000003", from_us=NOW + 12 * SECOND)
    scenario = parted(
        TRAINS,
        replace(SERVES, to_us=NOW + 11 * SECOND),
        ScriptedProcess(13, 1024**3, (Step(T0, 100),), NOW + 12 * SECOND, mig=again.uuid),
        mig=(BIG, replace(SMALL, to_us=NOW + 11 * SECOND), replace(again, slot=1)),
    )
    node = Node(start, scenario, GRANTS, (), {**OWNERS, 13: A})
    node.run(12)
    node.hold(Grant(A, (BIG.uuid, again.uuid)))
    node.run(21)
    lines = [line for window in node.close() for line in window.devices[0].lines]
    used = {
        uuid: sum(line.used_us for line in lines if line.key.partition == uuid) for uuid in (SMALL.uuid, again.uuid)
    }
    assert abs(used[SMALL.uuid] - 0.2 * 11 * SEVENTH) < SEVENTH
    assert abs(used[again.uuid] - 1.0 * 20 * SEVENTH) < 2 * SEVENTH
    total = sum(line.capacity_us for line in lines)
    assert total == 32 * SECOND


def test_activity_of_a_stranger_in_a_free_mig_device_is_unattributed(start: Play) -> None:
    """Nobody can say which process of a MIG device was busy."""
    node = Node(start, parted(TRAINS, replace(SERVES, pid=99)), GRANTS[:1], (), OWNERS)
    node.run(22)
    lines = node.stop()
    unattributed_us = sum(line.unobserved_us for key, line in lines.items() if key[2] is Reason.UNATTRIBUTED)
    assert abs(unattributed_us - 0.2 * 21 * SEVENTH) < SEVENTH
    assert lines[SOMEBODY, SMALL.uuid, Reason.NONE].memory_byte_s == 21 * 1024**3


def test_mps_clients_share_by_estimate_and_the_server_is_no_client(start: Play) -> None:
    server = ScriptedProcess(1, 512 * 1024**2, (), kinds="c")
    clients = tuple(ScriptedProcess(pid, 1024**3, (Step(T0, 40),), kinds="cm") for pid in (11, 12))
    gpu = ScriptedGpu("GPU-a", T0, processes=(server, *clients))
    grants = tuple(Grant(owner, (f"GPU-a::{n}",)) for n, owner in enumerate((A, B)))
    offered = tuple(f"GPU-a::{n}" for n in range(4))
    node = Node(start, NvmlScenario((gpu,)), grants, offered, OWNERS, commands={1: "nvidia-cuda-mps"})
    node.run(22)
    sample = node.samples[0].devices[0].detail
    assert sample is not None
    assert {each.pid: each.server for each in sample.processes or ()} == {1: True, 11: False, 12: False}
    lines = node.stop()
    assert {lines[owner, REPLICA, Reason.NONE].source for owner in (A, B)} == {Source.ESTIMATED_SHARE}
    used = [lines[owner, REPLICA, Reason.NONE].used_us for owner in (A, B)]
    assert used[0] == used[1]
