"""Which of NVML's codes stops whom."""

import pytest

from gputally.agent.nvml.errors import Code, device_error, driver_error, no_device, uncounted
from gputally.agent.probe.sampler import DeviceSilent, DeviceUnavailable, DriverReplaced, DriverUnavailable


@pytest.mark.parametrize("code", [Code.LIBRARY_NOT_FOUND, Code.DRIVER_NOT_LOADED, Code.NO_PERMISSION, 17, 999])
def test_what_an_operator_can_mend_is_one_line_that_says_how(code: int) -> None:
    error = driver_error(code, "words")
    assert isinstance(error, DriverUnavailable)
    assert any(verb in str(error) for verb in ("install", "run", "give", "look"))


def test_a_mismatch_between_library_and_driver_needs_a_new_process() -> None:
    assert isinstance(driver_error(Code.LIB_RM_VERSION_MISMATCH, "words"), DriverReplaced)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.GPU_IS_LOST, DeviceUnavailable),
        (Code.RESET_REQUIRED, DeviceUnavailable),
        (Code.DRIVER_NOT_LOADED, DriverReplaced),
        (Code.NOT_SUPPORTED, DeviceSilent),
        (999, DeviceSilent),
        (12345, DeviceSilent),
    ],
)
def test_a_device_is_gone_only_where_the_driver_says_so(code: int, kind: type[Exception]) -> None:
    assert type(device_error(code, "words", "call")) is kind


def test_gpus_that_fail_for_several_reasons_are_named_with_all_of_them() -> None:
    line = str(no_device([(Code.NO_PERMISSION, "denied"), (Code.GPU_IS_LOST, "lost"), (Code.GPU_IS_LOST, "lost")]))
    assert line == "none of 3 GPUs can be opened: denied, lost; look at dmesg"


def test_gpus_that_cannot_be_counted_are_said_whatever_keeps_them_from_it() -> None:
    """One that fell off the bus before the agent started has no UUID: nothing else would tell of it."""
    denied, lost = (Code.NO_PERMISSION, "denied"), (Code.GPU_IS_LOST, "GPU is lost")
    may_not = "1 GPUs may not be opened and are not counted: allow /dev/nvidia*"
    cannot = "2 GPUs cannot be opened and are not counted: GPU is lost; look at dmesg"
    assert uncounted([]) == ""
    assert uncounted([denied]) == may_not
    assert uncounted([denied, lost, lost]) == f"{may_not}; {cannot}"
