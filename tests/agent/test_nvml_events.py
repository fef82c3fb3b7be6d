"""The real `Nvml` on the test library: Xids, and what the driver asks for after them."""

from dataclasses import replace

import pytest
from tests.nvml.library import Fault, NvmlScenario
from tests.nvml.scenarios import GPU, NOW, ONE, OTHER, SECOND, TIMEOUT, TWO, Play

from gputally.agent.nvml.errors import Code
from gputally.agent.probe.sampler import DeviceUnavailable, DriverEvents, DriverReplaced

pytest_plugins = ["tests.nvml.fixtures"]

XIDS = ((NOW - 1, 48), (NOW + SECOND, 31), (NOW + SECOND, 43), (NOW + 2 * SECOND, 79))
NOISY = NvmlScenario((replace(GPU, xids=XIDS), OTHER))
HEARD = DriverEvents({"GPU-a": (31, 43)})
NOTHING = DriverEvents()


def test_xids_are_told_once_by_device_and_only_those_since_it_was_enumerated(play: Play) -> None:
    driver = play(NOISY)
    assert driver.events() == NOTHING
    driver.at(NOW + SECOND)
    assert driver.events() == HEARD
    assert driver.events() == NOTHING
    driver.at(NOW + 2 * SECOND)
    assert driver.events() == DriverEvents({"GPU-a": (79,)})


def test_an_enumeration_loses_no_event(play: Play) -> None:
    driver = play(NOISY)
    driver.at(NOW + SECOND)
    driver.devices()
    assert driver.events() == HEARD
    assert driver.calls()["nvmlDeviceRegisterEvents"] == 2


def test_to_hear_nothing_costs_one_call_for_all_gpus(play: Play) -> None:
    driver = play(TWO)
    before = sum(driver.calls().values())
    driver.events()
    assert sum(driver.calls().values()) - before == 1


def test_before_the_first_enumeration_nothing_is_heard(start: Play) -> None:
    driver = start(NOISY)
    driver.open()
    driver.at(NOW + SECOND)
    assert driver.events() == NOTHING


def test_a_flood_of_events_is_taken_in_pieces(play: Play) -> None:
    flood = tuple((NOW + SECOND, 13) for _ in range(300))
    driver = play(NvmlScenario((replace(GPU, xids=flood),)))
    driver.at(NOW + SECOND)
    assert [len(driver.events().xids.get("GPU-a", ())) for _ in range(3)] == [256, 44, 0]


@pytest.mark.parametrize("call", ["nvmlDeviceGetSupportedEventTypes", "nvmlDeviceRegisterEvents"])
@pytest.mark.parametrize("code", [Code.NOT_SUPPORTED, Code.UNKNOWN, TIMEOUT])
def test_a_gpu_that_cannot_be_registered_does_not_silence_the_others(play: Play, call: str, code: int) -> None:
    driver = play(replace(NOISY, faults=(Fault(code, call, gpu=1),)))
    driver.at(NOW + SECOND)
    assert driver.events() == HEARD
    assert driver.held()[1] == 1  # a set that the driver called undefined was freed


def test_without_event_sets_the_devices_are_read_all_the_same(play: Play) -> None:
    driver = play(replace(NOISY, faults=(Fault(Code.NOT_SUPPORTED, "nvmlEventSetCreate"),)))
    assert driver.events() == NOTHING
    assert driver.read("GPU-a").busy


def test_a_lost_gpu_spoils_the_set_until_the_next_enumeration(play: Play) -> None:
    driver = play(NOISY)
    driver.play(replace(NOISY, faults=(Fault(Code.GPU_IS_LOST, gpu=1),)))
    assert driver.events() == NOTHING
    assert driver.held()[1] == 0
    driver.devices()
    driver.at(NOW + SECOND)
    assert driver.events() == HEARD


@pytest.mark.parametrize("code", [Code.UNINITIALIZED, Code.DRIVER_NOT_LOADED, Code.LIB_RM_VERSION_MISMATCH])
def test_a_driver_that_was_replaced_says_so_first_when_it_is_asked_for_events(play: Play, code: int) -> None:
    driver = play(ONE)
    driver.play(replace(ONE, faults=(Fault(code),)))
    with pytest.raises(DriverReplaced):
        driver.events()


def test_a_driver_that_was_let_go_tells_nothing_and_is_heard_again_later(play: Play) -> None:
    driver = play(NOISY)
    driver.close()
    assert driver.events() == NOTHING
    driver.open()
    driver.devices()
    driver.at(NOW + SECOND)
    assert driver.events() == HEARD


# ---- recovery actions ----


@pytest.mark.parametrize("action", [1, 2, 4, 6, 7])
def test_a_gpu_whose_driver_asks_for_a_reset_is_unavailable_until_it_no_longer_does(play: Play, action: int) -> None:
    sick = NvmlScenario((replace(GPU, recovery=((NOW + SECOND, action), (NOW + 9 * SECOND, 0))), OTHER))
    driver = play(sick)
    assert driver.read("GPU-a").busy
    driver.at(NOW + SECOND)
    driver.devices()
    for ask in (driver.read, driver.read_processes):
        with pytest.raises(DeviceUnavailable, match="the driver asks for"):
            ask("GPU-a")
    assert driver.read("GPU-b").busy
    driver.at(NOW + 9 * SECOND)
    assert driver.read("GPU-a").busy


def test_a_changed_recovery_action_is_told_at_once(play: Play) -> None:
    driver = play(NvmlScenario((replace(GPU, recovery=((NOW + SECOND, 1),)),)))
    assert not driver.events().changed
    driver.at(NOW + SECOND)
    assert driver.events() == DriverEvents(changed=True)
    driver.devices()
    with pytest.raises(DeviceUnavailable, match="a reset of the GPU"):
        driver.read("GPU-a")


def test_by_older_drivers_it_is_told_as_an_xid(play: Play) -> None:
    driver = play(NvmlScenario((replace(GPU, xids=((NOW + SECOND, 154),)),)))
    driver.at(NOW + SECOND)
    assert driver.events() == DriverEvents({"GPU-a": (154,)}, changed=True)


@pytest.mark.parametrize("action", [0, 3, 5, 99])
def test_other_recovery_actions_leave_a_gpu_usable(play: Play, action: int) -> None:
    driver = play(NvmlScenario((replace(GPU, recovery=((NOW, action),)),)))
    assert driver.read("GPU-a").busy


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.NOT_SUPPORTED, Code.FUNCTION_NOT_FOUND])
def test_a_driver_that_does_not_know_recovery_actions_asks_for_none(play: Play, code: int) -> None:
    driver = play(replace(ONE, faults=(Fault(code, "nvmlDeviceGetFieldValues"),)))
    assert [bool(driver.read("GPU-a").busy) for _ in range(2)] == [True, False]


def test_recovery_is_read_when_devices_are_enumerated_and_not_at_every_tick(play: Play) -> None:
    driver = play(ONE)
    for _ in range(3):
        driver.read("GPU-a")
    assert driver.calls()["nvmlDeviceGetFieldValues"] == 1
