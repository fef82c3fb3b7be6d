"""The real `Nvml` on the test library: partitioned GPUs, their MIG devices, and what becomes of re-created ones."""

from dataclasses import replace

import pytest
from tests.nvml.library import Fault, MigDevice, NvmlScenario, ScriptedGpu, ScriptedProcess, Step, WrongValue
from tests.nvml.scenarios import GPU, NOW, OTHER, SECOND, T0, TIMEOUT, Play

from gputally.accounting.states import Source
from gputally.agent.nvml.errors import Code
from gputally.agent.probe.sampler import DeviceSilent, DeviceUnavailable
from gputally.agent.sample import GpmReading, GpuProcess, MigInstance, ProcessKind

pytest_plugins = ["tests.nvml.fixtures"]

BIG = MigDevice("MIG-big", "NVIDIA H100 80GB HBM3 MIG 3g.40gb", 2, 0, 3, 3, 40448, profile_id=9, placement_start=4)
SMALL = MigDevice("MIG-small", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 7, slot=3)
TRAINING = ScriptedProcess(11, 5 * 1024**3, (Step(T0, 60), Step(NOW + SECOND, 90)), mig="MIG-big")
SERVING = ScriptedProcess(12, 1024**3, (Step(T0, 8),), mig="MIG-small")
PARTED = replace(GPU, busy=None, mig=(BIG, SMALL), processes=(TRAINING, SERVING))
SCENARIO = NvmlScenario((PARTED,))


def with_mig(*devices: MigDevice, gpu: ScriptedGpu = PARTED) -> NvmlScenario:
    return NvmlScenario((replace(gpu, mig=devices),))


# ---- enumerating ----


def test_mig_devices_are_listed_over_gaps_with_their_slices_profile_and_place(play: Play) -> None:
    (info,) = play(SCENARIO).devices()
    assert (info.mig_enabled, info.slices) == (True, 7)
    assert info.instances == (
        MigInstance("MIG-big", 2, 0, 3, "3g.40gb", 9, 4),
        MigInstance("MIG-small", 7, 0, 1, "1g.10gb", 19, 0),
    )


def test_a_gpu_that_is_not_partitioned_has_neither_instances_nor_slices(play: Play) -> None:
    (info,) = play(NvmlScenario((GPU,))).devices()
    assert (info.mig_enabled, info.slices, info.instances) == (False, None, ())


def test_the_slices_of_the_whole_gpu_are_read_from_the_device_not_from_its_name(play: Play) -> None:
    a30 = replace(PARTED, name="NVIDIA H100 in name only", slices=4)
    (info,) = play(with_mig(SMALL, gpu=a30)).devices()
    assert info.slices == 4


def test_slices_that_could_not_be_read_to_the_end_are_unknown_not_smaller(start: Play) -> None:
    """The profile that the driver failed to tell might have been the largest."""
    driver = start(replace(SCENARIO, faults=(Fault(TIMEOUT, "nvmlDeviceGetGpuInstanceProfileInfo", times=1),)))
    driver.open()
    assert [driver.devices()[0].slices for _ in range(2)] == [None, 7]


def test_an_index_without_a_mig_device_is_a_gap_by_either_name(start: Play) -> None:
    fault = Fault(Code.INVALID_ARGUMENT, "nvmlDeviceGetMigDeviceHandleByIndex", times=1)
    driver = start(replace(SCENARIO, faults=(fault,)))
    driver.open()
    assert [each.uuid for each in driver.devices()[0].instances] == ["MIG-small"]


@pytest.mark.parametrize(
    ("mig", "memory_gib", "profile"),
    [
        (replace(BIG, name="MIG 1c.3g.40gb", compute_slices=1), 80, "1c.3g.40gb"),
        (replace(SMALL, name="MIG 1g.10gb+me"), 80, "1g.10gb+me"),
        (replace(SMALL, name="unnamed", memory_mib=9856), 80, "1g.10gb"),
        (replace(BIG, name="unnamed", compute_slices=1), 80, "1c.3g.40gb"),
        (replace(SMALL, name="unnamed", memory_mib=4864), 40, "1g.5gb"),
        (replace(SMALL, name="unnamed", memory_mib=5952), 24, "1g.6gb"),
    ],
)
def test_the_profile_is_that_of_the_name_and_else_made_of_slices_and_memory(
    play: Play, mig: MigDevice, memory_gib: int, profile: str
) -> None:
    (info,) = play(with_mig(mig, gpu=replace(PARTED, memory_bytes=memory_gib * 1024**3))).devices()
    assert [each.profile for each in info.instances] == [profile]


def test_uuids_of_old_drivers_are_kept_as_they_are(play: Play) -> None:
    (info,) = play(with_mig(replace(SMALL, uuid="MIG-GPU-a/7/0"))).devices()
    assert [each.uuid for each in info.instances] == ["MIG-GPU-a/7/0"]


def test_what_an_unprivileged_agent_may_not_see_of_an_instance_is_unknown(play: Play) -> None:
    calls = ("nvmlDeviceGetGpuInstanceById", "nvmlDeviceGetAttributes_v2")
    (info,) = play(replace(SCENARIO, faults=tuple(Fault(Code.NO_PERMISSION, call) for call in calls))).devices()
    assert info.instances[0] == MigInstance("MIG-big", 2, 0, None, "3g.40gb", None, None)


@pytest.mark.parametrize("code", [TIMEOUT, Code.NO_PERMISSION, Code.UNKNOWN])
def test_partitions_that_cannot_be_listed_are_silence_never_none(play: Play, code: int) -> None:
    """Else all of the GPU would be free."""
    driver = play(SCENARIO)
    before = driver.devices()
    driver.play(replace(SCENARIO, faults=(Fault(code, "nvmlDeviceGetMigDeviceHandleByIndex"),)))
    assert driver.devices() == before
    for ask in (driver.read, driver.read_processes):
        with pytest.raises(DeviceSilent):
            ask("GPU-a")
    driver.play(SCENARIO)
    driver.devices()
    assert len(driver.read("GPU-a").instances) == 2


# ---- reading ----


def test_a_partitioned_gpu_is_not_asked_for_what_it_cannot_tell(play: Play) -> None:
    driver = play(SCENARIO)
    reading = driver.read("GPU-a")
    assert (reading.busy, reading.busy_source, reading.utilization_percent) == (None, Source.NONE, None)
    assert reading.energy_mj == SCENARIO.energy_mj("GPU-a", NOW)
    assert driver.read_processes("GPU-a").busy is None
    calls = driver.calls()
    asked = {"nvmlDeviceGetSamples", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetProcessUtilization"} & set(calls)
    assert asked == set()


def test_memory_and_processes_are_those_of_each_mig_device(play: Play) -> None:
    driver = play(SCENARIO)
    big, small = driver.read("GPU-a").instances
    assert (big.uuid, big.memory_used_bytes, big.memory_total_bytes) == ("MIG-big", 5 * 1024**3, 40448 * 1024**2)
    assert (small.uuid, small.memory_used_bytes) == ("MIG-small", 1024**3)
    assert driver.read_processes("GPU-a").processes == (
        GpuProcess(11, ProcessKind.COMPUTE, 5 * 1024**3, instance="MIG-big"),
        GpuProcess(12, ProcessKind.COMPUTE, 1024**3, instance="MIG-small"),
    )


def test_a_list_of_one_mig_device_that_cannot_be_read_leaves_all_of_the_gpu_unknown(play: Play) -> None:
    driver = play(replace(SCENARIO, faults=(Fault(19, "nvmlDeviceGetComputeRunningProcesses", times=1),)))
    assert driver.read_processes("GPU-a").processes is None


def test_graphics_utilisation_of_an_instance_follows_the_processes_in_it(play: Play) -> None:
    driver = play(SCENARIO)
    assert [(each.gpm, each.gpm_supported) for each in driver.read("GPU-a").instances] == [(None, True)] * 2
    driver.at(NOW + 2 * SECOND)
    big, small = driver.read("GPU-a").instances
    assert big.gpm == GpmReading(NOW, NOW + 2 * SECOND, 750_000, 600_000, 375_000, 300_000, 225_000)
    assert small.gpm is not None
    assert small.gpm.graphics == 80_000
    busy_us = SCENARIO.instance_busy_us("MIG-big", NOW, NOW + 2 * SECOND)
    assert busy_us * 1_000_000 / (2 * SECOND) == big.gpm.graphics


def test_before_hopper_a_mig_device_has_memory_and_processes_and_no_utilisation(play: Play) -> None:
    driver = play(NvmlScenario((replace(PARTED, gpm=False),)))
    driver.at(NOW + SECOND)
    assert [(each.gpm, each.gpm_supported) for each in driver.read("GPU-a").instances] == [(None, False)] * 2
    assert driver.held()[0] == 0


def test_compute_instances_that_share_a_gpu_instance_cannot_be_measured_apart(play: Play) -> None:
    """GPM is of the GPU instance: its value belongs to neither alone, and copied to both it would count twice."""
    left = replace(BIG, uuid="MIG-left", name="MIG 1c.3g.40gb", compute_slices=1)
    right = replace(left, uuid="MIG-right", compute_instance=1, slot=1)
    driver = play(with_mig(left, right, replace(SMALL, slot=5)))
    driver.read("GPU-a")
    driver.at(NOW + SECOND)
    instances = driver.read("GPU-a").instances
    assert [(each.gpm is None, each.gpm_supported) for each in instances] == [
        (True, False),
        (True, False),
        (False, True),
    ]


def test_asked_again_too_soon_counters_are_left_for_the_next_time(play: Play) -> None:
    driver = play(SCENARIO)
    driver.read("GPU-a")
    driver.at(NOW + SECOND // 10)
    assert driver.read("GPU-a").instances[0].gpm is None
    driver.at(NOW + SECOND)
    gpm = driver.read("GPU-a").instances[0].gpm
    assert gpm is not None
    assert (gpm.since_us, gpm.end_us) == (NOW, NOW + SECOND)


def test_a_tick_costs_three_calls_per_gpu_and_three_per_mig_device(play: Play) -> None:
    driver = play(SCENARIO)
    for seconds in range(3):  # GPM's samples are allocated at the first two
        driver.at(NOW + seconds * SECOND)
        before = sum(driver.calls().values())
        driver.read("GPU-a")
    made = sum(driver.calls().values()) - before
    assert made == 3 + 3 * 2


@pytest.mark.parametrize("value", [101, 2**40])
def test_impossible_counters_are_refused_as_a_whole(play: Play, value: int) -> None:
    driver = play(SCENARIO)
    driver.read("GPU-a")
    driver.at(NOW + SECOND)
    driver.play(replace(SCENARIO, wrong_values=(WrongValue("nvmlGpmMetricsGet", value),)))
    reading = driver.read("GPU-a")
    assert [each.gpm for each in reading.instances] == [None, None]
    assert reading.rejected["gpm-graphics-out-of-range"] == 2


@pytest.mark.parametrize("code", [TIMEOUT, Code.NO_PERMISSION, Code.NOT_SUPPORTED, Code.UNKNOWN])
def test_counters_that_cannot_be_read_leave_the_rest_of_the_reading(play: Play, code: int) -> None:
    driver = play(replace(SCENARIO, faults=(Fault(code, "nvmlGpmMigSampleGet"),)))
    driver.at(NOW + SECOND)
    big, _ = driver.read("GPU-a").instances
    assert (big.gpm, big.memory_used_bytes) == (None, 5 * 1024**3)
    assert big.gpm_supported == (code not in (Code.NOT_SUPPORTED, Code.NO_PERMISSION))  # else one waits for it


def test_time_in_which_counters_could_not_be_read_is_part_of_the_next_average(play: Play) -> None:
    driver = play(SCENARIO)
    driver.read("GPU-a")
    driver.at(NOW + SECOND)
    driver.play(replace(SCENARIO, faults=(Fault(TIMEOUT, "nvmlGpmMigSampleGet"),)))
    driver.read("GPU-a")
    driver.at(NOW + 2 * SECOND)
    driver.play(SCENARIO)
    gpm = driver.read("GPU-a").instances[0].gpm
    assert gpm is not None
    assert (gpm.since_us, gpm.end_us, gpm.graphics) == (NOW, NOW + 2 * SECOND, 750_000)


@pytest.mark.parametrize("call", ["*", "nvmlDeviceGetMemoryInfo_v2", "nvmlGpmMigSampleGet"])
def test_counters_of_a_gpu_that_was_lost_are_not_compared_with_those_before(play: Play, call: str) -> None:
    driver = play(SCENARIO)
    driver.read("GPU-a")
    driver.at(NOW + SECOND)
    driver.play(replace(SCENARIO, faults=(Fault(Code.GPU_IS_LOST, call),)))
    with pytest.raises(DeviceUnavailable):
        driver.read("GPU-a")
    driver.play(SCENARIO)
    assert [each.gpm for each in driver.read("GPU-a").instances] == [None, None]


def test_a_clock_set_back_starts_a_new_interval(play: Play) -> None:
    driver = play(SCENARIO)
    driver.read("GPU-a")
    driver.at(NOW - 5 * SECOND)
    assert driver.read("GPU-a").instances[0].gpm is None
    driver.at(NOW - 4 * SECOND)
    gpm = driver.read("GPU-a").instances[0].gpm
    assert gpm is not None
    assert gpm.since_us == NOW - 5 * SECOND


def test_an_enumeration_in_between_does_not_interrupt_the_counters(play: Play) -> None:
    driver = play(SCENARIO)
    driver.read("GPU-a")
    driver.devices()
    driver.at(NOW + SECOND)
    gpm = driver.read("GPU-a").instances[0].gpm
    assert gpm is not None
    assert gpm.since_us == NOW


# ---- re-partitioning while running ----

AGAIN = replace(SMALL, uuid="MIG-again", from_us=NOW + 2 * SECOND)
REBORN = with_mig(BIG, replace(SMALL, to_us=NOW + 2 * SECOND), AGAIN)  # same ids, same slot, same handle


def test_a_change_of_partitions_is_told_and_the_new_ones_are_listed(play: Play) -> None:
    driver = play(REBORN)
    assert not driver.events().changed
    driver.at(NOW + 2 * SECOND)
    assert driver.events().changed
    assert [each.uuid for each in driver.devices()[0].instances] == ["MIG-big", "MIG-again"]
    assert not driver.events().changed


def test_counters_are_never_compared_with_those_of_an_instance_before(play: Play) -> None:
    driver = play(REBORN)
    driver.read("GPU-a")
    driver.at(NOW + 2 * SECOND)
    driver.devices()
    big, again = driver.read("GPU-a").instances
    assert big.gpm is not None
    assert (again.uuid, again.gpm) == ("MIG-again", None)
    assert driver.held()[0] == 3  # two, and the first of the new one: those of the destroyed one are freed


def test_without_events_a_reused_handle_is_noticed_when_processes_are_read(play: Play) -> None:
    driver = play(replace(REBORN, faults=(Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetSupportedEventTypes"),)))
    driver.read("GPU-a")
    driver.at(NOW + 2 * SECOND)
    assert not driver.events().changed
    reading = driver.read("GPU-a")
    assert reading.instances[1].gpm is None  # impossible counters: those of another generation
    assert reading.rejected
    with pytest.raises(DeviceSilent, match="have changed"):
        driver.read_processes("GPU-a")
    assert driver.devices()[0].instances[1].uuid == "MIG-again"


def test_a_destroyed_mig_device_makes_its_gpu_silent_until_it_is_listed_anew(play: Play) -> None:
    driver = play(with_mig(BIG, replace(SMALL, to_us=NOW + SECOND)))
    driver.read("GPU-a")
    driver.at(NOW + SECOND)
    with pytest.raises(DeviceSilent):
        driver.read("GPU-a")
    driver.devices()
    assert [each.uuid for each in driver.read("GPU-a").instances] == ["MIG-big"]


def test_the_last_instance_may_go_and_the_gpu_be_used_as_a_whole_again(play: Play) -> None:
    driver = play(SCENARIO)
    driver.play(with_mig())
    driver.devices()
    assert driver.read("GPU-a").instances == ()
    assert driver.read_processes("GPU-a").processes == ()
    assert driver.held()[0] == 0
    driver.play(NvmlScenario((GPU,)))
    (info,) = driver.devices()
    assert (info.mig_enabled, info.instances) == (False, ())
    assert driver.read("GPU-a").busy_source is Source.DEVICE_SAMPLES


def test_a_gpu_that_is_partitioned_and_whole_again_is_not_compared_with_its_former_self(play: Play) -> None:
    driver = play(NvmlScenario((GPU,)))
    for seconds, scenario in enumerate((NvmlScenario((GPU,)), SCENARIO, NvmlScenario((GPU,)))):
        driver.at(NOW + 10 * seconds * SECOND)
        driver.play(scenario)
        driver.devices()
        assert driver.read("GPU-a").gpm is None


def test_a_lost_gpu_is_unavailable_with_all_its_instances_and_the_other_goes_on(play: Play) -> None:
    both = NvmlScenario((PARTED, OTHER))
    driver = play(both)
    driver.play(replace(both, faults=(Fault(Code.GPU_IS_LOST, gpu=0),)))
    with pytest.raises(DeviceUnavailable):
        driver.read("GPU-a")
    assert driver.read("GPU-b").busy


def test_a_partitioned_gpu_that_does_not_answer_is_silent(play: Play) -> None:
    driver = play(SCENARIO)
    driver.play(replace(SCENARIO, faults=(Fault(TIMEOUT, gpu=0),)))
    with pytest.raises(DeviceSilent):
        driver.read("GPU-a")


def test_the_driver_is_let_go_with_nothing_held(play: Play) -> None:
    driver = play(SCENARIO)
    for seconds in range(4):
        driver.at(NOW + seconds * SECOND)
        driver.read("GPU-a")
    assert driver.held() == (4, 1)
    driver.close()
    assert driver.held() == (0, 0)
