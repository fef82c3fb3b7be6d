"""This machine's own GPUs through the real driver, where there are any."""

import threading
from pathlib import Path

import pytest

from gputally.accounting.invariants import violations
from gputally.accounting.states import Source
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.nvml import Nvml
from gputally.agent.probe import monotonic_us, wall_us
from gputally.agent.process import ProcessTable
from gputally.agent.sampler import Cadence, DriverError, Sampler


@pytest.mark.gpu
def test_a_few_seconds_of_real_gpus_are_windows_that_keep_the_rules() -> None:
    driver = Nvml(wall_us)
    try:
        driver.open()
    except DriverError as error:
        pytest.skip(f"needs an NVIDIA GPU and its driver: {error}")
    sampler = Sampler(driver, ProcessTable(Path("/proc")), Cadence(processes_us=1_000_000), monotonic_us, wall_us)
    meter = Meter(MeterSettings("here", "here", window_us=1_000_000), lambda _process, _held: (), kubernetes=False)
    windows = []
    tick = threading.Event()
    for _ in range(12):
        sample = sampler.sample(full=True)
        windows += meter.on_sample(sample)
        tick.wait(0.5)
    windows += meter.cut(sample.monotonic_us)
    driver.close()
    assert windows
    assert [violations(window) for window in windows] == [[]] * len(windows)
    for device in sample.devices:
        assert device.info.uuid.startswith("GPU-")
        assert device.reading is not None
        assert device.reading.memory_total_bytes
        assert device.reading.busy_source is not Source.NONE or device.info.mig_enabled
