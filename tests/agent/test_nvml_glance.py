"""The real `Nvml` on the test library: a glance tells what readings would have told, or nothing at all."""

import ctypes
from dataclasses import replace
from typing import Any

import pytest
from tests.nvml.driver import NvmlInChild
from tests.nvml.library import ALL_ONES, Fault, MigDevice, NvmlScenario, Step, WrongTime, WrongValue
from tests.nvml.scenarios import GPU, NOW, OTHER, SECOND, T0, TWO, Play

from gputally.agent.nvml import glance as nvml_glance
from gputally.agent.nvml.device import Device
from gputally.agent.nvml.errors import Code
from gputally.agent.nvml.latency import Latency
from gputally.agent.probe.glance import Answer, Glance, Samples
from gputally.agent.sample import DeviceInfo, DeviceSample, Reading, Sample

pytest_plugins = ["tests.nvml.fixtures"]
UUIDS = ("GPU-a", "GPU-b")
CALLS = (
    "nvmlDeviceGetSamples",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTotalEnergyConsumption",
)
STEPS = (Step(T0, 40), Step(NOW + SECOND, 0), Step(NOW + 3 * SECOND, 90))
CHANGING = NvmlScenario((replace(GPU, busy=STEPS), OTHER))
SECONDS = (1, 2, 5, 12)  # after the last of them the buffer no longer reaches back to the time before


def glance(driver: NvmlInChild, *, light: bool = False) -> tuple[Answer, ...] | None:
    return driver.glance(UUIDS, driver.now_us, light=light)


def read(driver: NvmlInChild) -> list[Reading]:
    return [driver.read(uuid) for uuid in UUIDS]


def ready(play: Play, scenario: NvmlScenario = CHANGING) -> NvmlInChild:
    """A driver whose devices were read a second ago."""
    driver = play(scenario)
    read(driver)
    driver.at(NOW + SECOND)
    return driver


@pytest.mark.parametrize("value", [None, 101], ids=["all is well", "an entry that cannot be true"])
def test_a_glance_is_worth_a_reading_of_each_device(play: Play, value: int | None) -> None:
    wrong = () if value is None else (WrongValue("nvmlDeviceGetSamples", value, 0, NOW + SECOND, NOW + 2 * SECOND),)
    scenario = NvmlScenario(tuple(replace(gpu, gpm=False) for gpu in CHANGING.gpus), wrong_values=wrong)
    slow, told = play(scenario), []
    read(slow)
    for seconds in SECONDS:
        slow.at(NOW + seconds * SECOND)
        told.append(read(slow))
    quick, samples = play(scenario), Samples()
    quick.at(NOW)
    infos = quick.devices()
    first = read(quick)
    samples.whole(Sample(0, NOW, tuple(DeviceSample(*pair) for pair in zip(infos, first, strict=True))))
    for seconds, readings in zip(SECONDS, told, strict=True):
        quick.at(NOW + seconds * SECOND)
        answers = glance(quick)
        assert answers is not None
        sample = samples.whole(Glance(seconds, quick.now_us, 1, answers))
        assert [device.reading for device in sample.devices] == readings


@pytest.mark.parametrize(("light", "calls"), [(False, 5), (True, 3)])
def test_a_glance_costs_five_calls_a_device_and_a_light_one_three(play: Play, calls: int, *, light: bool) -> None:
    driver = ready(play)
    before = sum(driver.calls().values())
    assert glance(driver, light=light) is not None
    assert sum(driver.calls().values()) - before == 2 * calls


def test_a_light_glance_leaves_the_buffer_to_the_next_one(play: Play) -> None:
    driver = ready(play)
    light = glance(driver, light=True)
    assert light is not None
    assert [(answer[2], answer[3]) for answer in light] == [(None, 40), (None, 70)]
    whole = glance(driver)
    assert whole is not None
    assert [len(answer[2] or b"") // 16 for answer in whole] == [8, 8]


def test_each_call_of_a_glance_is_timed(play: Play) -> None:
    driver = ready(play)
    driver.call_times()
    glance(driver)
    assert {(times.call, sum(times.counts)) for times in driver.call_times()} == {(call, 2) for call in CALLS}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_on_the_last_device_ends_the_glance_and_loses_no_entry(play: Play, call: str) -> None:
    """Also not of the devices before it, which had been asked already."""
    driver = ready(play)
    driver.play(replace(CHANGING, faults=(Fault(Code.UNKNOWN, call, 1, times=1),)))
    assert glance(driver) is None
    assert glance(driver) is None  # until it was read again
    assert [len(reading.busy or ()) for reading in read(driver)] == [8, 8]
    driver.play(CHANGING)
    driver.at(NOW + 2 * SECOND)
    assert glance(driver) is not None


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("nvmlDeviceGetUtilizationRates", 101),
        ("nvmlDeviceGetMemoryInfo_v2", ALL_ONES),
        ("nvmlDeviceGetPowerUsage", ALL_ONES),
        ("nvmlDeviceGetTotalEnergyConsumption", ALL_ONES),
    ],
)
def test_a_value_that_cannot_be_true_ends_the_glance(play: Play, call: str, value: int) -> None:
    driver = ready(play)
    driver.play(replace(CHANGING, wrong_values=(WrongValue(call, value, 1),)))
    assert glance(driver) is None


def test_an_entry_ahead_of_the_clock_ends_the_glance(play: Play) -> None:
    driver = ready(play)
    driver.play(replace(CHANGING, wrong_times=(WrongTime("nvmlDeviceGetSamples", 10 * SECOND, 1),)))
    assert glance(driver) is None


@pytest.mark.parametrize("seconds", [3, 8])
def test_a_clock_that_was_set_back_ends_the_glance(play: Play, seconds: int) -> None:
    """The cursor is then ahead of all that the driver writes. GPM, which would be due then, is not what ends it."""
    driver = ready(play, NvmlScenario(tuple(replace(gpu, gpm=False) for gpu in CHANGING.gpus)))
    driver.at(NOW - seconds * SECOND)
    assert glance(driver) is None
    assert all(reading.busy for reading in read(driver))


def test_what_was_not_read_since_it_was_enumerated_is_not_glanced_at(play: Play) -> None:
    driver = ready(play)
    driver.devices()
    assert glance(driver) is None
    read(driver)
    assert glance(driver) is not None


@pytest.mark.parametrize(
    "scenario",
    [
        replace(TWO, faults=(Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetSamples", 0),)),
        replace(TWO, faults=(Fault(Code.NO_PERMISSION, "nvmlDeviceGetPowerUsage", 0),)),
        replace(TWO, faults=(Fault(Code.FUNCTION_NOT_FOUND, "nvmlDeviceGetMemoryInfo_v2", 0),)),
        NvmlScenario((replace(GPU, mig=(MigDevice("MIG-1", "1g.10gb", 7),)), OTHER)),
    ],
    ids=["no buffer", "no permission", "a driver before R510", "partitioned"],
)
def test_a_device_that_tells_less_or_more_is_read_each_time(play: Play, scenario: NvmlScenario) -> None:
    driver = ready(play, scenario)
    before = sum(driver.calls().values())
    assert glance(driver) is None
    assert sum(driver.calls().values()) == before


def test_gpm_is_due_every_five_seconds_and_is_no_matter_for_a_glance(play: Play) -> None:
    driver = ready(play)
    assert glance(driver) is not None
    driver.at(NOW + 5 * SECOND)
    assert glance(driver) is None
    assert driver.read("GPU-a").gpm is not None


def test_a_buffer_of_no_entries_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver may say so by a count, too."""

    def samples(*places: Any) -> int:
        ctypes.cast(places[4], ctypes.POINTER(ctypes.c_uint))[0] = 0
        return 0

    def memory(_: Any, place: Any) -> int:
        ctypes.cast(place, ctypes.POINTER(ctypes.c_ulonglong))[1] = 1 << 30  # in all
        return 0

    functions = {"nvmlDeviceGetSamples": samples, "nvmlDeviceGetMemoryInfo_v2": memory}
    monkeypatch.setattr(nvml_glance, "symbol", lambda name: functions.get(name, lambda *_: 0))
    device = Device(raw=1, info=DeviceInfo("GPU-a", 0, ""), busy_read_to=NOW, is_plain=True)
    answers = nvml_glance.Glances(Latency(), lambda _: True).take([device], NOW + SECOND, light=False)
    assert answers is not None
    assert (answers[0][2], device.busy_read_to) == (b"", NOW)
