"""This machine's own GPUs through the real driver, where there are any."""

import threading
from pathlib import Path

import pytest

from gputally.accounting.invariants import violations
from gputally.accounting.states import Source
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.nvml.driver import Nvml
from gputally.agent.probe.main import monotonic_us, wall_us
from gputally.agent.probe.process import ProcessTable
from gputally.agent.probe.sampler import Cadence, DriverError, Sampler
from gputally.agent.sample import Reading


@pytest.mark.gpu
def test_a_few_seconds_of_real_gpus_are_windows_that_keep_the_rules() -> None:
    driver = Nvml(wall_us)
    try:
        driver.open()
    except DriverError as error:
        pytest.skip(f"needs an NVIDIA GPU and its driver: {error}")
    sampler = Sampler(driver, ProcessTable(Path("/proc"), str), Cadence(processes_us=1_000_000), monotonic_us, wall_us)
    meter = Meter(MeterSettings("here", "here", window_us=1_000_000), lambda _process, _held: (), kubernetes=False)
    windows, samples = [], []
    tick = threading.Event()
    for _ in range(12):
        sample = sampler.sample(full=True)
        samples.append(sample)
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
        assert device.detail
        assert device.detail.vitals.temperature_c is None or 0 < device.detail.vitals.temperature_c < 120
        assert device.reading.busy_source is not Source.NONE or device.info.mig_enabled
        parts = [instance.uuid for instance in device.info.instances]
        assert [instance.uuid for instance in device.reading.instances] == parts
        assert all(uuid.startswith("MIG-") for uuid in parts)
        assert not parts or device.info.slices
    _check_figures([reading for sample in samples for device in sample.devices if (reading := device.reading)])


def _check_figures(readings: list[Reading]) -> None:
    """GPM's, where the GPU has it."""
    of_parts = [one.gpm for reading in readings for one in reading.instances]
    for gpm in filter(None, [*(reading.gpm for reading in readings), *of_parts]):
        assert gpm.since_us < gpm.end_us
        assert gpm.graphics is None or 0 <= gpm.graphics <= 1_000_000
