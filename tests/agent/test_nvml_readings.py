"""The real `Nvml` on the test library: the sample buffer, and the cheap values."""

from dataclasses import replace

import pytest
from tests.nvml.library import ALL_ONES, BUFFER_DEPTH, Fault, NvmlScenario, ScriptedProcess, Step, WrongTime, WrongValue
from tests.nvml.scenarios import GPU, NOW, ONE, PERIOD, SECOND, T0, TIMEOUT, TWO, Play

from gputally.accounting.states import Source
from gputally.agent.nvml.errors import Code
from gputally.agent.probe.sampler import DeviceSilent
from gputally.agent.sample import BusySample

pytest_plugins = ["tests.nvml.fixtures"]
REACH = BUFFER_DEPTH * PERIOD  # what the driver's buffer holds: here nine seconds


def entries(start_us: int, end_us: int, percent: int | None) -> tuple[BusySample, ...]:
    """The buffer's entries in (start, end]."""
    return tuple(BusySample(at, percent) for at in range(start_us + PERIOD, end_us + 1, PERIOD))


# ---- the sample buffer ----


def test_the_first_read_takes_all_that_the_driver_kept_so_that_a_new_probe_leaves_no_hole(
    play: Play,
) -> None:
    assert play(ONE).read("GPU-a").busy == entries(NOW - REACH, NOW, 40)


def test_successive_reads_miss_nothing_and_repeat_nothing(play: Play) -> None:
    changing = NvmlScenario((replace(GPU, busy=(Step(T0, 40), Step(NOW + 3 * SECOND, 90))),))
    driver = play(changing)
    seen = list(driver.read("GPU-a").busy or ())
    for seconds in (1, 2, 5, 12):
        driver.at(NOW + seconds * SECOND)
        seen += driver.read("GPU-a").busy or ()
    known_us = NOW + 3 * SECOND
    assert seen == [*entries(NOW - REACH, known_us, 40), *entries(known_us, NOW + 12 * SECOND, 90)]


def test_a_light_reading_leaves_the_buffer_to_the_next_one(play: Play) -> None:
    """It costs three calls, and says the last utilisation rate once more."""
    driver = play(NvmlScenario((replace(GPU, busy=(Step(T0, 40), Step(NOW + SECOND, 90))),)))
    driver.read("GPU-a")
    driver.at(NOW + 2 * SECOND)
    before = sum(driver.calls().values())
    light = driver.read_lightly("GPU-a")
    assert sum(driver.calls().values()) - before == 3
    assert (light.busy, light.busy_source, light.utilization_percent) == (None, Source.DEVICE_SAMPLES, 40)
    read = driver.read("GPU-a")
    assert (light.power_mw, light.energy_mj) == (read.power_mw, read.energy_mj)
    assert read.busy == (*entries(NOW, NOW + SECOND, 40), *entries(NOW + SECOND, NOW + 2 * SECOND, 90))


def test_where_activity_cannot_wait_a_light_reading_has_it(play: Play) -> None:
    """Before the first reading, without a buffer, and of MIG devices."""
    assert play(ONE).read_lightly("GPU-a").busy == entries(NOW - REACH, NOW, 40)
    driver = play(replace(ONE, faults=(Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetSamples"),)))
    driver.read("GPU-a")
    assert driver.read_lightly("GPU-a").busy_source is Source.DEVICE_RATE


def test_each_device_has_its_own_cursor(play: Play) -> None:
    driver = play(TWO)
    driver.read("GPU-a")
    driver.at(NOW + 4 * SECOND)
    driver.read("GPU-a")
    assert driver.read("GPU-b").busy == entries(NOW + 4 * SECOND - REACH, NOW + 4 * SECOND, 70)


def test_cursors_survive_an_enumeration_and_a_driver_that_was_let_go(play: Play) -> None:
    driver = play(ONE)
    driver.read("GPU-a")
    driver.close()
    driver.at(NOW + 5 * SECOND)
    driver.open()
    driver.devices()
    assert driver.read("GPU-a").busy == entries(NOW, NOW + 5 * SECOND, 40)


def test_nothing_newer_is_an_empty_answer_of_a_device_that_has_a_buffer(play: Play) -> None:
    driver = play(ONE)
    driver.read("GPU-a")
    reading = driver.read("GPU-a")
    assert (reading.busy, reading.busy_source, reading.rejected) == ((), Source.DEVICE_SAMPLES, {})


@pytest.mark.parametrize(("value", "reason"), [(101, "utilization-out-of-range"), (ALL_ONES, "utilization-sentinel")])
def test_an_impossible_value_leaves_its_time_without_a_value(play: Play, value: int, reason: str) -> None:
    end = NOW - 2 * PERIOD
    driver = play(replace(ONE, wrong_values=(WrongValue("nvmlDeviceGetSamples", value, 0, end, end + 1),)))
    reading = driver.read("GPU-a")
    assert reading.busy == (
        *entries(NOW - REACH, end - PERIOD, 40),
        BusySample(end, None),
        *entries(end, NOW, 40),
    )
    assert reading.rejected == {reason: 1}


@pytest.mark.parametrize(
    ("shift_us", "reason"),
    [
        (-60 * SECOND, "utilization-time-stale"),
        (3600 * SECOND, "utilization-time-ahead"),
        (ALL_ONES, "utilization-time-ahead"),
    ],
)
def test_an_entry_with_an_impossible_time_is_dropped_and_does_not_move_the_cursor(
    play: Play, shift_us: int, reason: str
) -> None:
    wrong = WrongTime("nvmlDeviceGetSamples", shift_us, 0, NOW, NOW + 1)
    driver = play(replace(ONE, wrong_times=(wrong,)))
    reading = driver.read("GPU-a")
    assert (reading.busy, reading.rejected) == (entries(NOW - REACH, NOW - PERIOD, 40), {reason: 1})
    driver.play(ONE)
    assert driver.read("GPU-a").busy == entries(NOW - PERIOD, NOW, 40)


def test_a_buffer_without_one_credible_time_is_not_taken_for_idle(play: Play) -> None:
    reading = play(replace(ONE, wrong_times=(WrongTime("nvmlDeviceGetSamples", ALL_ONES),))).read("GPU-a")
    assert (reading.busy, reading.busy_source) == (None, Source.NONE)
    assert reading.rejected == {"utilization-time-ahead": BUFFER_DEPTH}


def test_entries_of_a_read_that_failed_later_on_come_again(play: Play) -> None:
    driver = play(ONE)
    driver.read("GPU-a")
    driver.at(NOW + SECOND)
    driver.play(replace(ONE, faults=(Fault(Code.INVALID_ARGUMENT, "nvmlDeviceGetPowerUsage", times=1),)))
    with pytest.raises(DeviceSilent):
        driver.read("GPU-a")
    assert driver.read("GPU-a").busy == entries(NOW, NOW + SECOND, 40)


def test_a_clock_set_back_starts_a_new_cursor(play: Play) -> None:
    driver = play(ONE)
    driver.read("GPU-a")
    driver.at(NOW - 6 * SECOND)
    assert driver.read("GPU-a").busy == entries(T0, NOW - 6 * SECOND, 40)


def test_a_buffer_that_outgrows_its_array_is_asked_again(play: Play) -> None:
    driver = play(replace(ONE, faults=(Fault(Code.INSUFFICIENT_SIZE, "nvmlDeviceGetSamples", times=2),)))
    assert driver.read("GPU-a").busy == entries(NOW - REACH, NOW, 40)


def test_after_three_attempts_the_device_is_silent_and_the_next_tick_fills_the_gap(play: Play) -> None:
    driver = play(replace(ONE, faults=(Fault(Code.INSUFFICIENT_SIZE, "nvmlDeviceGetSamples", times=3),)))
    with pytest.raises(DeviceSilent):
        driver.read("GPU-a")
    assert driver.read("GPU-a").busy == entries(NOW - REACH, NOW, 40)


@pytest.mark.parametrize("how", ["refused", "symbol"])
def test_without_a_buffer_the_rate_is_the_billing_base_and_the_buffer_is_asked_once(play: Play, how: str) -> None:
    if how == "refused":
        driver = play(replace(ONE, faults=(Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetSamples"),)))
    else:
        driver = play(ONE, without=("nvmlDeviceGetSamples",))
    readings = [driver.read("GPU-a") for _ in range(3)]
    assert {(r.busy, r.busy_source, r.utilization_percent) for r in readings} == {(None, Source.DEVICE_RATE, 40)}
    assert driver.calls().get("nvmlDeviceGetSamples", 0) <= 1


def test_capability_is_learned_per_device_and_forgotten_at_an_enumeration(play: Play) -> None:
    driver = play(replace(TWO, faults=(Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetSamples", gpu=0),)))
    assert (driver.read("GPU-a").busy_source, driver.read("GPU-b").busy_source) == (
        Source.DEVICE_RATE,
        Source.DEVICE_SAMPLES,
    )
    driver.play(TWO)
    assert driver.read("GPU-a").busy_source is Source.DEVICE_RATE
    driver.devices()
    assert driver.read("GPU-a").busy_source is Source.DEVICE_SAMPLES


def test_a_buffer_that_may_not_be_read_is_not_measured(play: Play) -> None:
    reading = play(replace(ONE, faults=(Fault(Code.NO_PERMISSION, "nvmlDeviceGetSamples"),))).read("GPU-a")
    assert (reading.busy, reading.busy_source, reading.utilization_percent) == (None, Source.NONE, 40)


@pytest.mark.parametrize(("value", "reason"), [(250, "out-of-range"), (ALL_ONES, "sentinel")])
def test_an_impossible_rate_is_unknown(play: Play, value: int, reason: str) -> None:
    wrong = WrongValue("nvmlDeviceGetUtilizationRates", value)
    reading = play(replace(ONE, wrong_values=(wrong,)), without=("nvmlDeviceGetSamples",)).read("GPU-a")
    assert (reading.utilization_percent, reading.busy_source) == (None, Source.NONE)
    assert reading.rejected == {f"utilization-rate-{reason}": 1}


def test_a_mig_device_has_no_utilisation_of_its_own(play: Play) -> None:
    reading = play(NvmlScenario((replace(GPU, mig=()),))).read("GPU-a")
    assert (reading.busy, reading.utilization_percent, reading.busy_source) == (None, None, Source.NONE)
    assert reading.energy_mj is not None


# ---- memory, power, energy ----


def test_cheap_values_are_the_scenarios(play: Play) -> None:
    scenario = NvmlScenario((replace(GPU, processes=(ScriptedProcess(7, 5 * 1024**3),)),))
    reading = play(scenario).read("GPU-a")
    assert reading.memory_used_bytes == 5 * 1024**3  # without what the driver reserves
    assert reading.memory_total_bytes == GPU.memory_bytes
    assert reading.power_mw == scenario.power_mw("GPU-a", NOW) == 340_000
    assert reading.energy_mj == scenario.energy_mj("GPU-a", NOW) == 1_000_000 + 3_400_000
    assert reading.energy_supported


@pytest.mark.parametrize("how", ["symbol", "version"])
def test_an_old_driver_without_memory_v2_gives_version_1(play: Play, how: str) -> None:
    if how == "symbol":
        driver = play(ONE, without=("nvmlDeviceGetMemoryInfo_v2",))
    else:
        driver = play(replace(ONE, faults=(Fault(Code.ARGUMENT_VERSION_MISMATCH, "nvmlDeviceGetMemoryInfo_v2"),)))
    assert driver.read("GPU-a").memory_used_bytes == GPU.reserved_bytes


def test_memory_v1_with_its_other_meaning_does_not_stand_in_for_a_passing_failure(play: Play) -> None:
    reading = play(replace(ONE, faults=(Fault(TIMEOUT, "nvmlDeviceGetMemoryInfo_v2"),))).read("GPU-a")
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (None, None)


def test_a_device_without_memory_of_its_own_has_unknown_memory(play: Play) -> None:
    shared = replace(GPU, memory_bytes=0, reserved_bytes=0)
    reading = play(NvmlScenario((shared,))).read("GPU-a")
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (None, None)


def test_sentinels_are_unknown_and_counted(play: Play) -> None:
    calls = ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption")
    reading = play(replace(ONE, wrong_values=tuple(WrongValue(call, ALL_ONES) for call in calls))).read("GPU-a")
    assert (reading.memory_used_bytes, reading.power_mw, reading.energy_mj) == (None, None, None)
    assert reading.rejected == {"memory-sentinel": 1, "power-sentinel": 1, "energy-sentinel": 1}
    assert reading.energy_supported


def test_a_device_without_an_energy_counter_says_so(play: Play) -> None:
    faults = (Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetTotalEnergyConsumption"),)
    reading = play(replace(ONE, faults=faults)).read("GPU-a")
    assert (reading.energy_mj, reading.energy_supported, reading.power_mw) == (None, False, 340_000)


def test_an_energy_reading_that_failed_once_is_still_supported(play: Play) -> None:
    faults = (Fault(TIMEOUT, "nvmlDeviceGetTotalEnergyConsumption"),)
    reading = play(replace(ONE, faults=faults)).read("GPU-a")
    assert (reading.energy_mj, reading.energy_supported) == (None, True)
