"""Random histories of MIG devices that come, go and take over handles, ids and slots: no figure is ever another's."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes import Clock, FakeProcesses
from tests.nvml.driver import NvmlInChild
from tests.nvml.library import Fault, MigDevice, NvmlScenario, ScriptedProcess, Step
from tests.nvml.scenarios import GPU, NOW, SECOND

from gputally.agent.nvml.errors import Code
from gputally.agent.probe.glance import Samples
from gputally.agent.probe.sampler import Cadence, Sampler
from gputally.agent.sample import DeviceSample

pytest_plugins = ["tests.nvml.fixtures"]

TICKS = 14
EXAMPLES = count(1)  # each has a time, and UUIDs, of its own

# A slot's life: (seconds it lives, seconds that it then stays empty, percent busy) again and again.
LIVES = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2), st.integers(0, 100)), min_size=1, max_size=5)
SLOTS = st.lists(LIVES, min_size=1, max_size=4)
NO_EVENTS = Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetSupportedEventTypes")


def scenario_of(slots: list[list[tuple[int, int, int]]], start_us: int, *, events: bool) -> NvmlScenario:
    """Slot n is GPU instance n + 1; every MIG device has one process, which is as busy as it says."""
    devices, processes = [], []
    for slot, lives in enumerate(slots):
        at_us = start_us
        for life, (lived, empty, percent) in enumerate(lives):
            end_us = at_us + lived * SECOND
            uuid = f"MIG-{start_us}-{slot}-{life}"
            devices.append(MigDevice(uuid, "MIG 1g.10gb", slot + 1, slot=slot, from_us=at_us, to_us=end_us))
            busy = (Step(at_us, percent),)
            processes.append(ScriptedProcess(100 * slot + life + 1, 7, busy, at_us, end_us, mig=uuid))
            at_us = end_us + empty * SECOND
    gpu = replace(GPU, busy=None, mig=tuple(devices), processes=tuple(processes))
    return NvmlScenario((gpu,), faults=() if events else (NO_EVENTS,))


@pytest.fixture(scope="module")
def driver(built: Callable[[tuple[str, ...]], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[NvmlInChild]:
    driver = NvmlInChild(built(()), tmp_path_factory.mktemp("histories"), NvmlScenario((GPU,)), NOW)
    yield driver
    driver.remote.close()


def samples_of(driver: NvmlInChild, scenario: NvmlScenario, start_us: int) -> list[DeviceSample]:
    """One a second, half a second after whatever happens."""
    wall, monotonic = Clock(start_us + SECOND // 2), Clock()
    sampler, reader = Sampler(driver, FakeProcesses(), Cadence(), monotonic, wall), Samples()
    driver.play(scenario)
    driver.at(wall.now_us)
    driver.open()
    samples = []
    for _ in range(TICKS):
        driver.at(wall.now_us)
        samples.append(reader.whole(sampler.glance() or sampler.sample()).devices[0])
        wall.now_us += SECOND
        monotonic.now_us += SECOND
    driver.close()
    return samples


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SLOTS, st.booleans())
def test_every_figure_is_of_the_mig_device_that_it_stands_for(
    driver: NvmlInChild, slots: list[list[tuple[int, int, int]]], events: bool
) -> None:
    start_us = NOW + 1000 * SECOND * next(EXAMPLES)
    scenario = scenario_of(slots, start_us, events=events)
    seen_to: dict[str, int] = {}
    for sample in samples_of(driver, scenario, start_us):
        if sample.reading is None:
            assert not events  # where changes are told, none is stumbled upon
            continue
        readings = sample.reading.instances
        assert [one.uuid for one in readings] == [one.uuid for one in sample.info.instances]
        for one in readings:
            if one.gpm is None:
                continue
            assert one.gpm.since_us >= seen_to.get(one.uuid, 0)
            seen_to[one.uuid] = one.gpm.end_us
            span_us = one.gpm.end_us - one.gpm.since_us
            truth_us = scenario.instance_busy_us(one.uuid, one.gpm.since_us, one.gpm.end_us)
            assert one.gpm.graphics == truth_us * 1_000_000 / span_us
    assert driver.held() == (0, 0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SLOTS)
def test_where_changes_are_told_the_list_is_always_the_one_of_that_instant(
    driver: NvmlInChild, slots: list[list[tuple[int, int, int]]]
) -> None:
    start_us = NOW + 1000 * SECOND * next(EXAMPLES)
    scenario = scenario_of(slots, start_us, events=True)
    for tick, sample in enumerate(samples_of(driver, scenario, start_us)):
        at_us = start_us + SECOND // 2 + tick * SECOND
        alive = {mig.uuid for mig in scenario.gpus[0].mig or () if mig.from_us <= at_us < mig.to_us}
        assert {one.uuid for one in sample.info.instances} == alive
        for process in (sample.detail.processes or ()) if sample.detail else ():
            assert process.instance in alive
