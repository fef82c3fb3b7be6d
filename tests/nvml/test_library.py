"""The test library is what it claims to be: the ABI that pynvml expects, the driver's habits, and exact numbers."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.nvml.library import (
    ALL_ONES,
    Fault,
    MigDevice,
    NvmlScenario,
    ScriptedGpu,
    ScriptedProcess,
    Step,
    WrongTime,
    environment,
)
from tests.nvml.remote import Remote
from tests.nvml.scenarios import GPU, NOW, ONE, SECOND, T0

pytest_plugins = ["tests.nvml.fixtures"]

PROCESSES = (
    ScriptedProcess(1, 10, busy=(Step(T0, 30), Step(NOW, 50)), from_us=T0 + SECOND, kinds="cg"),
    ScriptedProcess(2, None, busy=(Step(NOW, 80),), to_us=NOW + 4 * SECOND),
)
SHARED = NvmlScenario((replace(GPU, busy=None, processes=PROCESSES, energy_restarts_us=(NOW + 8 * SECOND,)),))


# ---- in the child ----


def first_device() -> Any:
    """The first GPU's handle."""
    return pynvml.nvmlDeviceGetHandleByIndex(0)


def start() -> None:
    pynvml.nvmlInit()


def ask(name: str, *arguments: Any) -> Any:
    """What a pynvml call on the first GPU gives, or the number of its error."""
    try:
        return getattr(pynvml, name)(first_device(), *arguments)
    except pynvml.NVMLError as error:
        return ("error", error.value)


def samples(last_us: int) -> Any:
    answer = ask("nvmlDeviceGetSamples", pynvml.NVML_GPU_UTILIZATION_SAMPLES, last_us)
    return answer if answer[0] == "error" else [(s.timeStamp, s.sampleValue.uiVal) for s in answer[1]]


def processes(name: str) -> list[tuple[int, int | None]]:
    return [(p.pid, p.usedGpuMemory) for p in ask(name)]


def process_utilization(last_us: int) -> Any:
    answer = ask("nvmlDeviceGetProcessUtilization", last_us)
    return answer if isinstance(answer, tuple) else [(u.pid, u.timeStamp, u.smUtil) for u in answer]


def memory(version: int | None) -> Any:
    info = pynvml.nvmlDeviceGetMemoryInfo(first_device(), version=version)
    return (info.total, info.used, info.free)


def mig_layout() -> list[tuple[str, str, int, int, int, int]]:
    layout = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(first_device())):
        try:
            mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(first_device(), index)
        except pynvml.NVMLError_NotFound:
            continue
        parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)
        attributes = pynvml.nvmlDeviceGetAttributes_v2(mig)
        layout.append(
            (
                pynvml.nvmlDeviceGetUUID(mig),
                pynvml.nvmlDeviceGetUUID(parent),
                pynvml.nvmlDeviceGetGpuInstanceId(mig),
                pynvml.nvmlDeviceGetComputeInstanceId(mig),
                attributes.computeInstanceSliceCount,
                attributes.memorySizeMB,
            )
        )
    return layout


def instances(name: str, *arguments: Any) -> list[Any]:
    """What a call on each MIG device's handle gives."""
    handles = [pynvml.nvmlDeviceGetMigDeviceHandleByIndex(first_device(), slot) for slot in range(2)]
    return [getattr(pynvml, name)(handle, *arguments) for handle in handles]


def keep_handle(slot: int) -> None:
    kept.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(first_device(), slot))


def uuid_of_kept() -> Any:
    try:
        return pynvml.nvmlDeviceGetUUID(kept[-1])
    except pynvml.NVMLError as error:
        return ("error", error.value)


def slices() -> dict[int, int]:
    found = {}
    for profile in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        with suppress(pynvml.NVMLError_NotSupported):
            info = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(first_device(), profile, version=1)
            found[profile] = info.sliceCount
    return found


def place_of(gpu_instance: int) -> tuple[int, int, int]:
    info = pynvml.nvmlGpuInstanceGetInfo(pynvml.nvmlDeviceGetGpuInstanceById(first_device(), gpu_instance))
    return (info.id, info.profileId, info.placement.start)


def seed(*gpu_instance: int) -> None:
    """Take a GPM sample of the GPU or of a GPU instance."""
    sample = pynvml.nvmlGpmSampleAlloc()
    take = pynvml.nvmlGpmMigSampleGet if gpu_instance else pynvml.nvmlGpmSampleGet
    kept.append(take(first_device(), *gpu_instance, sample))


def figures() -> list[Any]:
    """Of the last two samples: (return code, percent) of graphics and sm."""
    question = pynvml.c_nvmlGpmMetricsGet_t()
    question.version, question.numMetrics = pynvml.NVML_GPM_METRICS_GET_VERSION, 2
    question.sample1, question.sample2 = kept[-2:]
    question.metrics[0].metricId, question.metrics[1].metricId = 1, 2
    pynvml.nvmlGpmMetricsGet(question)
    return [(metric.nvmlReturn, metric.value) for metric in question.metrics[:2]]


def register(types: int) -> None:
    kept.append(pynvml.nvmlEventSetCreate())
    pynvml.nvmlDeviceRegisterEvents(first_device(), types, kept[-1])


def events() -> list[tuple[int, int]]:
    """(type, data) of all that the set tells now."""
    told = []
    with suppress(pynvml.NVMLError_Timeout):
        while True:
            event = pynvml.nvmlEventSetWait_v2(kept[-1], 0)
            told.append((event.eventType, event.eventData))
    return told


def field_value(field: int) -> tuple[int, int]:
    (value,) = pynvml.nvmlDeviceGetFieldValues(first_device(), [field])
    return (value.nvmlReturn, value.value.uiVal)


kept: list[Any] = []


# ---- in the test ----


class Played:
    """pynvml in a child, on a scenario that can be moved."""

    def __init__(self, library_dir: Path, path: Path) -> None:
        self._path = path
        self._library_dir = library_dir
        self._remote: Remote | None = None

    def at(self, scenario: NvmlScenario, now_us: int) -> Callable[..., Any]:
        """Play a scenario at an instant; the result calls functions in the child."""
        replace(scenario, now_us=now_us).write(self._path)
        if self._remote is None:
            self._remote = Remote(environment(self._library_dir, self._path))
            self._remote.call(start)
        return self._remote.call

    def close(self) -> None:
        if self._remote:
            self._remote.close()


@pytest.fixture
def played(built: Callable[[tuple[str, ...]], Path], tmp_path: Path) -> Iterator[Played]:
    played = Played(built(()), tmp_path / "scenario.txt")
    yield played
    played.close()


@pytest.mark.parametrize("seconds", [0, 1, 3, 8, 9, 20])
def test_power_energy_and_memory_are_those_that_the_truth_functions_compute(played: Played, seconds: int) -> None:
    at_us = NOW + seconds * SECOND + 12_345
    call = played.at(SHARED, at_us)
    assert call(ask, "nvmlDeviceGetPowerUsage") == SHARED.power_mw("GPU-a", at_us)
    assert call(ask, "nvmlDeviceGetTotalEnergyConsumption") == SHARED.energy_mj("GPU-a", at_us)
    used = SHARED.memory_used_bytes("GPU-a", at_us)
    assert call(memory, pynvml.nvmlMemory_v2) == (
        GPU.memory_bytes,
        used,
        GPU.memory_bytes - GPU.reserved_bytes - used,
    )
    assert call(memory, None)[1] == used + GPU.reserved_bytes


def test_the_buffer_holds_72_entries_of_what_the_truth_says(played: Played) -> None:
    call = played.at(SHARED, NOW + 5 * SECOND)
    buffer = call(samples, 0)
    assert [end for end, _ in buffer] == [NOW + 5 * SECOND - 125_000 * back for back in reversed(range(72))]
    busy_us = sum(percent * 125_000 for _, percent in buffer) / Fraction(100)
    assert busy_us == SHARED.busy_us("GPU-a", buffer[0][0] - 125_000, NOW + 5 * SECOND)


def test_an_empty_buffer_is_not_found(played: Played) -> None:
    assert played.at(SHARED, NOW)(samples, NOW) == ("error", pynvml.NVML_ERROR_NOT_FOUND)
    assert played.at(SHARED, T0)(samples, 0) == ("error", pynvml.NVML_ERROR_NOT_FOUND)


def test_process_utilisation_averages_over_all_that_is_newer_than_the_cursor(played: Played) -> None:
    call = played.at(SHARED, NOW + SECOND)
    assert call(process_utilization, NOW) == [(1, NOW + SECOND, 50), (2, NOW + SECOND, 80)]
    assert call(process_utilization, NOW - SECOND) == [(1, NOW + SECOND, 40), (2, NOW + SECOND, 40)]
    gone = played.at(SHARED, NOW + 5 * SECOND)(process_utilization, NOW + 3 * SECOND)
    assert gone == [(1, NOW + 5 * SECOND, 50), (2, NOW + 4 * SECOND, 40)]


def test_process_utilisation_fails_as_drivers_do_when_nobody_computed(played: Played) -> None:
    idle = NvmlScenario((replace(GPU, busy=()),))
    assert played.at(idle, NOW)(process_utilization, NOW) == ("error", pynvml.NVML_ERROR_NOT_FOUND)
    assert played.at(idle, NOW)(process_utilization, NOW - SECOND) == ("error", pynvml.NVML_SUCCESS)


def test_lists_say_their_size_first_and_unknown_memory_is_all_ones(played: Played) -> None:
    call = played.at(SHARED, NOW)
    assert call(processes, "nvmlDeviceGetComputeRunningProcesses") == [(1, 10), (2, None)]
    assert call(processes, "nvmlDeviceGetGraphicsRunningProcesses") == [(1, 10)]
    assert call(processes, "nvmlDeviceGetMPSComputeRunningProcesses") == []
    later = played.at(SHARED, NOW + 4 * SECOND)
    assert later(processes, "nvmlDeviceGetComputeRunningProcesses") == [(1, 10)]


def test_memory_v2_insists_on_its_version(played: Played) -> None:
    with pytest.raises(pynvml.NVMLError_ArgumentVersionMismatch):
        played.at(ONE, NOW)(memory, 0x02000030)


def test_mig_devices_are_enumerated_with_their_slices(played: Played) -> None:
    layout = (
        MigDevice("MIG-1", "MIG 3g.40gb", 1, compute_slices=3, memory_mib=40448),
        MigDevice("MIG-2", "MIG 1g.10gb", 7),
    )
    call = played.at(NvmlScenario((replace(GPU, mig=layout),)), NOW)
    assert call(mig_layout) == [("MIG-1", "GPU-a", 1, 0, 3, 40448), ("MIG-2", "GPU-a", 7, 0, 1, 9856)]
    assert call(ask, "nvmlDeviceGetUtilizationRates") == ("error", pynvml.NVML_ERROR_NOT_SUPPORTED)


PAIR = (
    MigDevice("MIG-1", "MIG 3g.40gb", 1, 0, 3, 3, 40448, profile_id=9, placement_start=4),
    MigDevice("MIG-2", "MIG 1g.10gb", 7, to_us=NOW + SECOND),
    MigDevice("MIG-3", "MIG 1g.10gb", 7, from_us=NOW + 2 * SECOND, slot=1),
)
INSIDE = (
    ScriptedProcess(1, 10, (Step(T0, 30), Step(NOW + SECOND, 90)), mig="MIG-1"),
    ScriptedProcess(2, 20, (Step(T0, 60),), from_us=NOW + SECOND // 2, mig="MIG-1"),
    ScriptedProcess(3, 30, (Step(T0, 50),), mig="MIG-2", kinds="cm"),
)
PARTED = NvmlScenario((replace(GPU, busy=None, mig=PAIR, processes=INSIDE),))


def test_memory_and_lists_of_a_mig_device_are_those_of_its_processes(played: Played) -> None:
    call = played.at(PARTED, NOW)
    assert [info.used for info in call(instances, "nvmlDeviceGetMemoryInfo")] == [10, 30]
    lists = call(instances, "nvmlDeviceGetComputeRunningProcesses")
    assert [[(p.pid, p.gpuInstanceId, p.computeInstanceId) for p in each] for each in lists] == [
        [(1, 1, 0)],
        [(3, 7, 0)],
    ]
    assert [len(each) for each in call(instances, "nvmlDeviceGetMPSComputeRunningProcesses")] == [0, 1]


@pytest.mark.parametrize(("whole", "profiles"), [(7, {0: 1, 1: 2, 2: 3, 3: 4, 4: 7}), (4, {0: 1, 1: 2, 3: 4})])
def test_profiles_tell_the_slices_of_the_whole_gpu(played: Played, whole: int, profiles: dict[int, int]) -> None:
    assert played.at(NvmlScenario((replace(GPU, mig=(), slices=whole),)), NOW)(slices) == profiles


def test_a_gpu_instance_tells_its_profile_and_place(played: Played) -> None:
    assert played.at(PARTED, NOW)(place_of, 1) == (1, 9, 4)


def test_a_destroyed_mig_devices_handle_is_invalid_and_then_the_next_ones(played: Played) -> None:
    played.at(PARTED, NOW)(keep_handle, 1)
    told = [played.at(PARTED, NOW + seconds * SECOND)(uuid_of_kept) for seconds in range(3)]
    assert told == ["MIG-2", ("error", pynvml.NVML_ERROR_INVALID_ARGUMENT), "MIG-3"]


def test_graphics_utilisation_is_the_exact_mean_of_the_busy_time(played: Played) -> None:
    for at_us in (NOW, NOW + 2 * SECOND):
        played.at(SHARED, at_us)(seed)
    truth = SHARED.busy_us("GPU-a", NOW, NOW + 2 * SECOND) * 100 / (2 * SECOND)
    assert played.at(SHARED, NOW + 2 * SECOND)(figures) == [(0, float(truth)), (0, float(truth) * 0.8)]


def test_that_of_a_gpu_instance_is_the_sum_of_its_processes_at_most_all_of_it(played: Played) -> None:
    for at_us in (NOW, NOW + 2 * SECOND):
        played.at(PARTED, at_us)(seed, 1)
    truth = PARTED.instance_busy_us("MIG-1", NOW, NOW + 2 * SECOND)
    assert truth == (30 + 90 + 2 * 100) * SECOND // 2 // 100
    assert played.at(PARTED, NOW + 2 * SECOND)(figures)[0] == (0, float(truth * 100 / (2 * SECOND)))


def test_samples_of_two_generations_give_nonsense_and_samples_too_close_give_nothing(played: Played) -> None:
    for at_us in (NOW, NOW + 2 * SECOND):
        played.at(PARTED, at_us)(seed, 7)
    assert played.at(PARTED, NOW + 2 * SECOND)(figures)[0] == (0, -300.0)
    played.at(PARTED, NOW + 2 * SECOND + 50_000)(seed, 7)
    assert played.at(PARTED, NOW + 3 * SECOND)(figures)[0][0] == pynvml.NVML_ERROR_NO_DATA


def test_a_gpu_before_hopper_has_no_gpm(played: Played) -> None:
    call = played.at(NvmlScenario((replace(GPU, gpm=False),)), NOW)
    assert call(ask, "nvmlGpmQueryDeviceSupport").isSupportedDevice == 0
    with pytest.raises(pynvml.NVMLError_NotSupported):
        call(seed)


def test_events_are_told_once_in_order_and_only_those_that_were_asked_for(played: Played) -> None:
    xids = ((NOW, 13), (NOW + SECOND, 31), (NOW + SECOND, 48), (NOW + 3 * SECOND, 79))
    noisy = NvmlScenario((replace(PARTED.gpus[0], xids=xids),))
    xid, change = pynvml.nvmlEventTypeXidCriticalError, pynvml.nvmlEventMigConfigChange
    played.at(noisy, NOW)(register, xid | change)
    assert played.at(noisy, NOW + 2 * SECOND)(events) == [(xid, 31), (xid, 48), (change, 0), (change, 0)]
    assert played.at(noisy, NOW + 3 * SECOND)(events) == [(xid, 79)]
    played.at(noisy, NOW)(register, xid)
    assert played.at(noisy, NOW + 2 * SECOND)(events) == [(xid, 31), (xid, 48)]


def test_the_recovery_action_is_that_of_the_instant_and_other_fields_are_not_supported(played: Played) -> None:
    sick = NvmlScenario((replace(GPU, recovery=((NOW + SECOND, 1), (NOW + 2 * SECOND, 0))),))
    action = pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
    assert [played.at(sick, NOW + s * SECOND)(field_value, action) for s in range(3)] == [(0, 0), (0, 1), (0, 0)]
    assert played.at(sick, NOW)(field_value, 83)[0] == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_faults_hold_in_their_interval_and_as_often_as_they_say(played: Played) -> None:
    faults = (Fault(15, "nvmlDeviceGetPowerUsage", gpu=0, from_us=NOW, to_us=NOW + SECOND, times=1),)
    scenario = replace(ONE, faults=faults)
    assert played.at(scenario, NOW - 1)(ask, "nvmlDeviceGetPowerUsage") == 340_000
    assert played.at(scenario, NOW)(ask, "nvmlDeviceGetPowerUsage") == ("error", 15)
    assert played.at(scenario, NOW + SECOND)(ask, "nvmlDeviceGetPowerUsage") == 340_000


def test_time_stamps_can_be_scripted_wrong(played: Played) -> None:
    wrong = WrongTime("nvmlDeviceGetSamples", ALL_ONES, from_us=NOW)
    assert played.at(replace(ONE, wrong_times=(wrong,)), NOW)(samples, NOW - 1) == [(ALL_ONES, 40)]


def test_on_the_wall_clock_energy_grows_as_the_scenario_says(
    built: Callable[[tuple[str, ...]], Path], tmp_path: Path
) -> None:
    path = tmp_path / "scenario.txt"
    started_us = _wall_us()
    scenario = NvmlScenario((ScriptedGpu("GPU-a", started_us, busy=(Step(started_us, 100),)),))
    scenario.write(path)
    remote = Remote(environment(built(()), path))
    remote.call(start)
    before_us = _wall_us()
    energy = remote.call(ask, "nvmlDeviceGetTotalEnergyConsumption")
    assert scenario.energy_mj("GPU-a", before_us) <= energy <= scenario.energy_mj("GPU-a", _wall_us())
    remote.close()


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6, unique=True), st.data())
def test_truth_adds_up_over_adjacent_intervals(instants: list[int], data: st.DataObject) -> None:
    steps = tuple(Step(T0 + at, data.draw(st.integers(0, 100))) for at in instants)
    scenario = NvmlScenario((replace(GPU, busy=steps),))
    a, b, c = sorted(data.draw(st.tuples(*[st.integers(T0, T0 + 2 * 10**9)] * 3)))
    assert scenario.busy_us("GPU-a", a, c) == scenario.busy_us("GPU-a", a, b) + scenario.busy_us("GPU-a", b, c)
    assert scenario.energy_mj("GPU-a", a) <= scenario.energy_mj("GPU-a", b) <= scenario.energy_mj("GPU-a", c)


def _wall_us() -> int:
    return time.time_ns() // 1000
