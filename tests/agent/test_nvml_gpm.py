"""The real `Nvml` on the test library: GPM's figures of whole GPUs, beside the billing base and never in its way."""

from dataclasses import replace

import pytest
from tests.nvml.library import Fault, NvmlScenario, Step, WrongValue
from tests.nvml.scenarios import GPU, NOW, ONE, SECOND, T0, TIMEOUT, TWO, Play

from gputally.accounting.states import Source
from gputally.agent.nvml.errors import Code
from gputally.agent.sample import GpmReading

pytest_plugins = ["tests.nvml.fixtures"]

FIGURES = (400_000, 320_000, 200_000, 160_000, 120_000)  # of 40 percent busy: graphics, sm, occupancy, tensor, dram


def test_quality_is_the_average_since_the_sample_before_and_the_buffer_stays_the_base(play: Play) -> None:
    driver = play(ONE)
    assert driver.read("GPU-a").gpm is None
    driver.at(NOW + 5 * SECOND)
    reading = driver.read("GPU-a")
    assert reading.gpm == GpmReading(NOW, NOW + 5 * SECOND, *FIGURES)
    assert reading.busy_source is Source.DEVICE_SAMPLES


def test_successive_averages_leave_no_time_out_and_count_none_twice(play: Play) -> None:
    steps = (Step(T0, 40), Step(NOW + 3 * SECOND, 90))
    scenario = NvmlScenario((replace(GPU, busy=steps),))
    driver = play(scenario)
    readings = []
    for seconds in range(21):
        driver.at(NOW + seconds * SECOND)
        if (gpm := driver.read("GPU-a").gpm) is not None:
            readings.append(gpm)
    assert [(gpm.since_us - NOW, gpm.end_us - NOW) for gpm in readings] == [
        (start * SECOND, (start + 5) * SECOND) for start in (0, 5, 10, 15)
    ]
    busy = sum((gpm.graphics or 0) * (gpm.end_us - gpm.since_us) for gpm in readings)
    assert busy == scenario.busy_us("GPU-a", NOW, NOW + 20 * SECOND) * 1_000_000


def test_each_gpu_has_its_own_two_samples_which_are_freed_at_the_end(play: Play) -> None:
    driver = play(TWO)
    for seconds in (0, 5, 10):
        driver.at(NOW + seconds * SECOND)
        first, second = (driver.read(uuid).gpm for uuid in ("GPU-a", "GPU-b"))
    assert first is not None
    assert second is not None
    assert (first.graphics, second.graphics) == (400_000, 700_000)
    assert driver.calls()["nvmlGpmSampleAlloc"] == driver.held()[0] == 4
    driver.close()
    assert driver.held()[0] == 0


@pytest.mark.parametrize("how", ["old", "symbol", "refused"])
def test_a_gpu_without_gpm_is_asked_once_and_lacks_nothing_else(play: Play, how: str) -> None:
    scenario = {
        "old": NvmlScenario((replace(GPU, gpm=False),)),
        "refused": replace(ONE, faults=(Fault(Code.NOT_SUPPORTED, "nvmlGpmSampleGet"),)),
    }.get(how, ONE)
    driver = play(scenario, ("nvmlGpmQueryDeviceSupport",) if how == "symbol" else ())
    for seconds in (0, 5, 10):
        driver.at(NOW + seconds * SECOND)
        reading = driver.read("GPU-a")
        assert (reading.gpm, reading.busy_source) == (None, Source.DEVICE_SAMPLES)
    assert driver.calls().get("nvmlGpmSampleGet", 0) == (how == "refused")


@pytest.mark.parametrize("call", ["nvmlGpmSampleAlloc", "nvmlGpmSampleGet", "nvmlGpmMetricsGet"])
def test_a_passing_failure_of_gpm_costs_its_figures_only(play: Play, call: str) -> None:
    driver = play(ONE)
    driver.read("GPU-a")
    driver.at(NOW + 5 * SECOND)
    driver.play(replace(ONE, faults=(Fault(TIMEOUT, call),)))
    reading = driver.read("GPU-a")
    assert reading.gpm is None
    assert reading.busy
    driver.play(ONE)
    for seconds in (10, 15):
        driver.at(NOW + seconds * SECOND)
        gpm = driver.read("GPU-a").gpm
    assert gpm == GpmReading(NOW + 10 * SECOND, NOW + 15 * SECOND, *FIGURES)


def test_an_impossible_figure_is_refused_and_counted(play: Play) -> None:
    driver = play(ONE)
    driver.read("GPU-a")
    driver.at(NOW + 5 * SECOND)
    driver.play(replace(ONE, wrong_values=(WrongValue("nvmlGpmMetricsGet", 101),)))
    reading = driver.read("GPU-a")
    assert reading.gpm is None
    assert reading.rejected["gpm-graphics-out-of-range"] == 1


def test_counters_of_a_gpu_that_came_back_are_not_compared_with_those_before(play: Play) -> None:
    driver = play(ONE)
    driver.read("GPU-a")
    driver.at(NOW + 5 * SECOND)
    driver.play(NvmlScenario((replace(GPU, uuid="GPU-z"),)))
    driver.devices()
    driver.play(ONE)
    assert driver.read("GPU-a").gpm is None
