"""What the ledger holds of odd GPUs and on bad days: the real `Nvml` on the test library, metered into windows."""

from dataclasses import replace

from tests.nvml.library import NvmlScenario, ScriptedGpu, ScriptedProcess, Step
from tests.nvml.metered import Node
from tests.nvml.odd import (
    driver_upgrade,
    like_a_tegra,
    off_the_bus,
    without_energy_counter,
    without_process_utilization,
)
from tests.nvml.scenarios import NOW, OTHER, SECOND, T0, Play

from gputally.accounting.keys import WHOLE_GPU, Owner
from gputally.accounting.states import Basis, OwnerKind, Reason
from gputally.agent.reservations.holders import Grant

pytest_plugins = ["tests.nvml.fixtures"]

TRAINING = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
WORKER = ScriptedProcess(7, 5 * 1024**3, (Step(T0, 50),))
SCENARIO = NvmlScenario((ScriptedGpu("GPU-a", T0, processes=(WORKER,)), OTHER))


def node_of(start: Play, scenario: NvmlScenario, *, held: bool = True) -> Node:
    """`held`: the first GPU belongs to one pod, whose process is on it; else there is no kubelet."""
    if held:
        return Node(start, scenario, (Grant(TRAINING, ("GPU-a",)),), (), {7: TRAINING})
    return Node(start, scenario)


MINE = (TRAINING, WHOLE_GPU, Reason.NONE)


def test_a_healthy_pair_for_comparison(start: Play) -> None:
    node = node_of(start, SCENARIO)
    node.run(21)
    line = node.stop()[MINE]
    assert (line.used_us, line.idle_us) == (10 * SECOND, 10 * SECOND)
    assert line.memory_byte_s == 20 * 5 * 1024**3


def test_without_process_utilisation_a_held_gpu_is_measured_as_a_whole(start: Play) -> None:
    node = node_of(start, without_process_utilization(SCENARIO))
    node.run(21)
    lines = node.stop()
    assert set(lines) == {MINE}
    assert (lines[MINE].used_us, lines[MINE].idle_us) == (10 * SECOND, 10 * SECOND)


def test_without_process_utilisation_activity_on_a_free_gpu_is_unattributed_not_free(start: Play) -> None:
    node = node_of(start, without_process_utilization(SCENARIO), held=False)
    node.run(21)
    lines = {(key[0].kind, key[2]): line for key, line in node.stop().items()}
    assert lines[OwnerKind.PLATFORM, Reason.UNATTRIBUTED].unobserved_us == 10 * SECOND
    assert lines[OwnerKind.PLATFORM, Reason.NONE].unallocated_us == 10 * SECOND
    assert sum(line.used_us for line in lines.values()) == 0


def test_without_an_energy_counter_the_integral_of_power_stands_in_and_is_marked(start: Play) -> None:
    node = node_of(start, without_energy_counter(SCENARIO))
    node.run(21)
    (window,) = node.close()
    first, second = window.devices
    assert (first.energy_estimated, second.energy_estimated) == (True, False)
    truth_mj = SCENARIO.energy_mj("GPU-a", NOW + 20 * SECOND) - SCENARIO.energy_mj("GPU-a", NOW)
    assert sum(line.energy_mj or 0 for line in first.lines) == truth_mj


def test_a_tegra_has_time_and_neither_memory_nor_energy(start: Play) -> None:
    node = node_of(start, like_a_tegra(SCENARIO))
    node.run(21)
    line = node.stop()[MINE]
    assert (line.used_us, line.idle_us, line.energy_mj) == (10 * SECOND, 10 * SECOND, None)
    reading = node.samples[-1].devices[0].reading
    assert reading is not None
    assert (reading.memory_used_bytes, reading.memory_total_bytes, reading.power_mw) == (None, None, None)


def test_a_gpu_off_the_bus_is_unavailable_at_the_platforms_cost_until_it_returns(start: Play) -> None:
    node = node_of(start, off_the_bus(SCENARIO, NOW + 10 * SECOND, NOW + 30 * SECOND))
    node.run(41)
    lost = [number for number, sample in enumerate(node.samples) if sample.devices[0].unavailable]
    assert lost == list(range(10, 30))
    assert [sample.devices[0].xids for sample in node.samples if sample.devices[0].xids] == [(79,)]
    lines = node.stop()
    unavailable_us = sum(line.unavailable_us for line in lines.values())
    assert 20 * SECOND <= unavailable_us <= 21 * SECOND
    assert lines[MINE].unavailable_us == 0
    assert lines[MINE].capacity_us == 40 * SECOND - unavailable_us
    assert lines[MINE].used_us == lines[MINE].idle_us


def test_a_lost_gpu_is_not_enumerated_at_every_tick_and_noticed_at_once_when_it_is_back(start: Play) -> None:
    """To enumerate wakes GPUs: at once, then after 1, 2, 4 ... seconds."""
    node = node_of(start, off_the_bus(SCENARIO, NOW + 10 * SECOND, NOW + 60 * SECOND))
    counts = []
    for _ in range(62):
        node.run(1)
        counts.append(node.driver.calls()["nvmlDeviceGetCount_v2"])
    enumerated = [number for number in range(1, 62) if counts[number] > counts[number - 1]]
    assert enumerated == [11, 12, 14, 18, 26, 42]
    assert not node.samples[60].devices[0].unavailable


def test_during_a_driver_upgrade_time_is_unobserved_and_energy_is_broken_not_wrong(start: Play) -> None:
    node = node_of(start, driver_upgrade(SCENARIO, NOW + 10 * SECOND, NOW + 40 * SECOND))
    node.run(51)
    assert node.probes > 1
    (window,) = node.close()
    first, second = window.devices
    assert [device.capacity_us for device in (first, second)] == [50 * SECOND] * 2
    lines = {line.key.reason: line for line in first.lines if line.key.owner == TRAINING}
    assert lines[Reason.NO_SAMPLE].key.basis is Basis.RESERVATION
    assert 20 * SECOND <= lines[Reason.NO_SAMPLE].unobserved_us <= 30 * SECOND  # the buffer reaches back 9 s
    assert sum(line.unavailable_us for line in first.lines) == 0
    assert (first.energy_breaks, second.energy_breaks) == (1, 1)


def test_a_gpu_that_asks_for_a_reset_is_unavailable_from_that_tick_to_the_first_after_it(start: Play) -> None:
    sick = replace(SCENARIO.gpus[0], recovery=((NOW + 10 * SECOND, 1), (NOW + 30 * SECOND, 0)))
    node = node_of(start, replace(SCENARIO, gpus=(sick, OTHER)))
    node.run(41)
    lost = [number for number, sample in enumerate(node.samples) if sample.devices[0].unavailable]
    assert lost == list(range(10, 30))
    lines = node.stop()
    assert sum(line.unavailable_us for line in lines.values()) >= 20 * SECOND
    assert lines[MINE].used_us == lines[MINE].idle_us > 0
