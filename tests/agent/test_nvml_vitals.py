"""The real `Nvml` on the test library: temperature, clocks and their reasons, and how long the calls took."""

from dataclasses import replace

import pytest
from tests.nvml.library import ALL_ONES, Fault, MigDevice, NvmlScenario, WrongValue
from tests.nvml.scenarios import GPU, ONE, TIMEOUT, Play

from gputally.agent.nvml.errors import Code
from gputally.agent.sample import CALL_BOUNDS_US, Vitals

pytest_plugins = ["tests.nvml.fixtures"]

WARM = Vitals(46, 1980, 2619, 0)  # 40 percent busy
NEWER = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons")


def test_a_busy_gpu_is_warm_and_fast_and_an_idle_one_says_why_it_is_slow(play: Play) -> None:
    assert play(ONE).read_processes("GPU-a").vitals == WARM
    assert play(NvmlScenario((replace(GPU, busy=()),))).read_processes("GPU-a").vitals == Vitals(30, 345, 2619, 1)


def test_an_older_driver_is_asked_by_the_older_names(play: Play) -> None:
    driver = play(ONE, without=NEWER)
    assert [driver.read_processes("GPU-a").vitals for _ in range(2)] == [WARM, WARM]


def test_what_a_gpu_does_not_tell_is_absent_and_asked_once(play: Play) -> None:
    """Absent is not 0: a board without sensor, a virtual GPU without clocks."""
    calls = (*NEWER, "nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetClockInfo")
    driver = play(replace(ONE, faults=tuple(Fault(Code.NOT_SUPPORTED, call) for call in calls)))
    assert [driver.read_processes("GPU-a").vitals for _ in range(2)] == [Vitals(), Vitals()]
    assert [driver.calls()[call] for call in calls] == [1, 1, 1, 1, 2]  # two clocks


def test_a_passing_refusal_costs_that_value_and_nothing_else(play: Play) -> None:
    driver = play(replace(ONE, faults=(Fault(TIMEOUT, "nvmlDeviceGetTemperatureV", times=1),)))
    found = [driver.read_processes("GPU-a") for _ in range(2)]
    assert [each.vitals for each in found] == [replace(WARM, temperature_c=None), WARM]
    assert found[0].processes is not None


@pytest.mark.parametrize(
    ("call", "value", "field", "reason"),
    [
        ("nvmlDeviceGetTemperatureV", 200, "temperature_c", "temperature-out-of-range"),
        ("nvmlDeviceGetTemperatureV", ALL_ONES, None, ""),  # -1 degree is cold, but possible
        ("nvmlDeviceGetCurrentClocksEventReasons", ALL_ONES, "clocks_event_reasons", "clocks-event-reasons-sentinel"),
    ],
)
def test_what_cannot_be_true_is_refused_and_counted(
    play: Play, call: str, value: int, field: str | None, reason: str
) -> None:
    found = play(replace(ONE, wrong_values=(WrongValue(call, value),))).read_processes("GPU-a")
    if field is None:
        assert (found.vitals.temperature_c, found.rejected) == (-1, {})
    else:
        assert (getattr(found.vitals, field), found.rejected) == (None, {reason: 1})


def test_a_reason_that_nobody_knows_yet_is_kept(play: Play) -> None:
    call = "nvmlDeviceGetCurrentClocksEventReasons"
    found = play(replace(ONE, wrong_values=(WrongValue(call, 1 << 40),))).read_processes("GPU-a")
    assert found.vitals.clocks_event_reasons == 1 << 40


def test_a_partitioned_gpu_has_its_vitals(play: Play) -> None:
    mig = MigDevice("MIG-1", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 7)
    found = play(NvmlScenario((replace(GPU, mig=(mig,)),))).read_processes("GPU-a")
    assert found.vitals == WARM


def test_the_driver_says_how_long_each_call_took_once(play: Play) -> None:
    driver = play(ONE)
    driver.call_times()
    driver.read("GPU-a")
    driver.read("GPU-a")
    times = {each.call: each for each in driver.call_times()}
    assert {len(each.counts) for each in times.values()} == {len(CALL_BOUNDS_US) + 1}
    assert sum(times["nvmlDeviceGetPowerUsage"].counts) == 2
    assert 0 <= times["nvmlDeviceGetPowerUsage"].total_us < 10**7
    assert driver.call_times() == ()
