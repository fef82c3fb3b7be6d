"""The real `Nvml`, on the real pynvml, on a real library: opening, enumerating, failing, and what it costs."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.nvml import driver as child
from tests.nvml.driver import NvmlInChild
from tests.nvml.library import BUFFER_DEPTH, Fault, Hang, NvmlScenario
from tests.nvml.scenarios import GPU, NOW, ONE, OTHER, PERIOD, SECOND, TIMEOUT, TWO, Play

from gputally.accounting.states import Source
from gputally.agent.nvml.errors import Code
from gputally.agent.probe.sampler import DeviceSilent, DeviceUnavailable, DriverError, DriverReplaced, DriverUnavailable
from gputally.agent.sample import BusySample

pytest_plugins = ["tests.nvml.fixtures"]


def entries(start_us: int, end_us: int, percent: int | None) -> tuple[BusySample, ...]:
    """The buffer's entries in (start, end]."""
    return tuple(BusySample(at, percent) for at in range(start_us + PERIOD, end_us + 1, PERIOD))


# ---- opening ----


def test_no_library_says_what_to_install(start: Play, tmp_path: Path) -> None:
    driver = NvmlInChild(tmp_path / "empty", tmp_path, ONE, NOW)
    with pytest.raises(DriverUnavailable, match=r"^libnvidia-ml\.so\.1 not found: install .*$"):
        driver.open()
    driver.remote.close()


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (Code.DRIVER_NOT_LOADED, "modprobe nvidia"),
        (Code.NO_PERMISSION, "run as root"),
        (Code.OPERATING_SYSTEM, "/dev/nvidiactl"),
        (999, "look at dmesg"),
    ],
)
@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount_v2"])
def test_a_driver_that_does_not_start_says_in_one_line_what_to_do(start: Play, code: int, line: str, call: str) -> None:
    driver = start(replace(ONE, faults=(Fault(code, call),)))
    with pytest.raises(DriverUnavailable, match=line) as raised:
        driver.open()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount_v2"])
def test_a_replaced_driver_needs_a_new_process(start: Play, call: str) -> None:
    driver = start(replace(ONE, faults=(Fault(Code.LIB_RM_VERSION_MISMATCH, call),)))
    with pytest.raises(DriverReplaced, match="a new one is started"):
        driver.open()


def test_a_driver_without_gpus_is_refused(start: Play) -> None:
    driver = start(NvmlScenario(()))
    with pytest.raises(DriverUnavailable, match="no GPU"):
        driver.open()


def test_opening_succeeds_once_the_reason_for_refusal_is_gone(start: Play) -> None:
    driver = start(NvmlScenario(()))
    with pytest.raises(DriverUnavailable):
        driver.open()
    driver.play(ONE)
    driver.open()
    assert [info.uuid for info in driver.devices()] == ["GPU-a"]


def test_opening_and_closing_twice_is_harmless_and_closing_lets_go(play: Play) -> None:
    driver = play(ONE)
    driver.open()
    driver.close()
    driver.close()
    with pytest.raises(DriverReplaced):  # the library was really shut down: one open, one close
        driver.read("GPU-a")
    driver.open()
    assert driver.read("GPU-a").utilization_percent == 40


# ---- enumerating ----


def test_devices_are_described_with_normalised_bus_ids(play: Play) -> None:
    far = replace(OTHER, minor=None, pci_bus_id="00010000:3B:00.0", mig=())
    first, second = play(NvmlScenario((GPU, far))).devices()
    assert (first.uuid, first.index, first.model) == ("GPU-a", 0, "NVIDIA H100 80GB HBM3")
    assert (first.minor, first.pci_bus_id, first.mig_enabled) == (0, "0000:3b:00.0", False)
    assert (second.index, second.minor, second.pci_bus_id, second.mig_enabled) == (1, None, "00010000:3b:00.0", True)


def test_what_the_driver_does_not_know_of_a_device_is_left_unknown(play: Play) -> None:
    faults = (Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetPciInfo_v3"), Fault(Code.FUNCTION_NOT_FOUND, "nvmlDeviceGetName"))
    (info,) = play(replace(ONE, faults=faults)).devices()
    assert (info.pci_bus_id, info.model) == ("", "")


def test_a_device_that_may_not_be_opened_does_not_hide_the_others(play: Play) -> None:
    denied = Fault(Code.NO_PERMISSION, "nvmlDeviceGetHandleByIndex_v2", gpu=0)
    assert [info.uuid for info in play(replace(TWO, faults=(denied,))).devices()] == ["GPU-b"]


@pytest.mark.parametrize(
    ("code", "line"), [(Code.NO_PERMISSION, "no permission to open any GPU"), (Code.GPU_IS_LOST, "GPU is lost")]
)
def test_no_device_at_all_is_said_with_its_reason(start: Play, code: int, line: str) -> None:
    driver = start(replace(TWO, faults=(Fault(code, "nvmlDeviceGetHandleByIndex_v2"),)))
    driver.open()
    with pytest.raises(DriverUnavailable, match=line):
        driver.devices()


def test_a_device_that_gets_lost_stays_in_the_list_as_it_was(play: Play) -> None:
    driver = play(TWO)
    before = driver.devices()
    driver.play(replace(TWO, faults=(Fault(Code.GPU_IS_LOST, gpu=1),)))
    assert driver.devices() == before


def test_a_device_that_vanishes_from_the_bus_stays_in_the_list_and_is_unavailable(play: Play) -> None:
    driver = play(TWO)
    driver.play(ONE)
    assert [info.uuid for info in driver.devices()] == ["GPU-a", "GPU-b"]
    with pytest.raises(DeviceUnavailable):
        driver.read("GPU-b")


def test_a_passing_failure_does_not_forget_what_was_known_of_a_device(play: Play) -> None:
    driver = play(NvmlScenario((replace(GPU, mig=()),)))
    before = driver.devices()
    calls = ("nvmlDeviceGetName", "nvmlDeviceGetMinorNumber", "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetMigMode")
    driver.play(NvmlScenario((replace(GPU, mig=()),), faults=tuple(Fault(TIMEOUT, call) for call in calls)))
    assert driver.devices() == before


@pytest.mark.parametrize("call", ["nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2"])
@pytest.mark.parametrize("code", [Code.LIB_RM_VERSION_MISMATCH, Code.DRIVER_NOT_LOADED])
def test_a_driver_upgraded_while_enumerating_needs_a_new_process(play: Play, code: int, call: str) -> None:
    driver = play(ONE)
    driver.play(replace(ONE, faults=(Fault(code, call),)))
    with pytest.raises(DriverReplaced):
        driver.devices()


# ---- devices that fail ----


@pytest.mark.parametrize("code", [Code.GPU_IS_LOST, Code.RESET_REQUIRED, Code.GPU_NOT_FOUND, Code.INSUFFICIENT_POWER])
def test_a_lost_device_is_unavailable_the_other_goes_on_and_it_comes_back(play: Play, code: int) -> None:
    driver = play(TWO)
    driver.play(replace(TWO, faults=(Fault(code, gpu=0),)))
    for ask in (driver.read, driver.read_processes):
        with pytest.raises(DeviceUnavailable):
            ask("GPU-a")
        ask("GPU-b")
    driver.play(TWO)
    assert driver.read("GPU-a").busy == entries(NOW - BUFFER_DEPTH * PERIOD, NOW, 40)


@pytest.mark.parametrize("code", [10, 11, 19, 20, 21, 23, 27, 999])
def test_a_passing_refusal_is_silence_and_nothing_is_forgotten(play: Play, code: int) -> None:
    driver = play(ONE)
    driver.play(replace(ONE, faults=(Fault(code),)))
    with pytest.raises(DeviceSilent, match="nvmlDeviceGetSamples"):
        driver.read("GPU-a")
    driver.play(ONE)
    assert driver.read("GPU-a").busy_source is Source.DEVICE_SAMPLES


@pytest.mark.parametrize("code", [Code.UNINITIALIZED, Code.LIB_RM_VERSION_MISMATCH, Code.DRIVER_NOT_LOADED])
def test_a_driver_that_goes_away_needs_a_new_process(play: Play, code: int) -> None:
    driver = play(ONE)
    driver.play(replace(ONE, faults=(Fault(code),)))
    for ask in (driver.read, driver.read_processes):
        with pytest.raises(DriverReplaced):
            ask("GPU-a")


def test_a_handle_that_went_stale_is_taken_anew_at_the_next_tick(play: Play) -> None:
    driver = play(ONE)
    driver.read("GPU-a")
    driver.play(replace(ONE, faults=(Fault(Code.INVALID_ARGUMENT, "nvmlDeviceGetSamples", times=1),)))
    with pytest.raises(DeviceSilent):
        driver.read("GPU-a")
    assert driver.read("GPU-a").busy_source is Source.DEVICE_SAMPLES
    assert driver.calls()["nvmlDeviceGetHandleByUUID"] == 1


def test_a_call_that_never_likes_its_arguments_does_not_silence_the_device(play: Play) -> None:
    driver = play(replace(ONE, faults=(Fault(Code.INVALID_ARGUMENT, "nvmlDeviceGetPowerUsage"),)))
    assert [driver.read("GPU-a").power_mw for _ in range(3)] == [None, None, None]


def test_a_device_that_may_not_be_reopened_is_silent(play: Play) -> None:
    driver = play(ONE)
    calls = ("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByUUID")
    driver.play(replace(ONE, faults=tuple(Fault(Code.NO_PERMISSION, call) for call in calls)))
    driver.devices()
    with pytest.raises(DeviceSilent):
        driver.read("GPU-a")


def test_a_hung_call_stops_the_caller_until_the_driver_answers(play: Play) -> None:
    driver = play(ONE)
    driver.play(replace(ONE, hangs=(Hang("nvmlDeviceGetPowerUsage"),)))
    driver.remote.begin(child.read, "GPU-a")
    with pytest.raises(TimeoutError):
        driver.remote.end(within_s=0.2)
    driver.play(ONE)
    assert driver.remote.end(within_s=10).power_mw == 340_000


# ---- cost ----


def test_a_tick_costs_five_driver_calls_and_every_five_seconds_seven_and_a_process_reading_eight(play: Play) -> None:
    driver = play(ONE)
    for seconds in (-5, 0):  # GPM's two samples are allocated once
        driver.at(NOW + seconds * SECOND)
        driver.read("GPU-a")
    made = []
    for seconds, ask in ((1, driver.read), (4, driver.read), (5, driver.read), (5, driver.read_processes)):
        driver.at(NOW + seconds * SECOND)
        before = sum(driver.calls().values())
        ask("GPU-a")
        made.append(sum(driver.calls().values()) - before)
    assert made == [5, 5, 7, 8]


def test_every_error_of_the_driver_is_one_of_ours(play: Play) -> None:
    """Whatever code comes back, from whatever call: a reading, or an error of the sampler's tree."""
    driver = play(ONE)
    refused = 0
    for code in range(1, 31):
        driver.play(replace(ONE, faults=(Fault(code),)))
        for ask in (driver.devices, lambda: driver.read("GPU-a"), lambda: driver.read_processes("GPU-a")):
            try:
                ask()
            except DriverError:
                refused += 1
    assert refused > 30
