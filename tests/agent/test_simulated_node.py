"""A simulated node through the real sampler and meter: what is billed is what the scenario says, to the microsecond."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests import scenario_truth

from gputally.accounting.invariants import violations
from gputally.accounting.line import Line, Window
from gputally.accounting.states import Basis
from gputally.agent.attribution.identity import Identity
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.probe.sampler import Cadence, Sampler
from gputally.agent.reservations.grants import GrantBook
from gputally.agent.reservations.holders import place
from gputally.agent.simulated.cluster import SimulatedKubelet, SimulatedPods
from gputally.agent.simulated.gpus import SimulatedGpus, SimulatedProcesses
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import load

MINUTE_US = 60_000_000
TUESDAY_US = 1_741_046_400_000_000  # 2025-03-04; the shipped scenarios change on whole minutes
FROM_US = TUESDAY_US + 17 * 60 * MINUTE_US
END_US = TUESDAY_US + 20 * 60 * MINUTE_US
SHIPPED = sorted((Path(__file__).parents[2] / "demo/scenarios").glob("*.json"))


@dataclass
class Clock:
    now_us: int = FROM_US

    def __call__(self) -> int:
        return self.now_us


def evening(scenario: Scenario) -> Iterator[Window]:
    """The windows of three hours of a Tuesday, sampled and asked for reservations once a minute."""
    clock = Clock()
    gpus, processes = SimulatedGpus(scenario, clock, MINUTE_US), SimulatedProcesses(scenario, clock)
    kubelet, pods = SimulatedKubelet(scenario, clock, clock), SimulatedPods(scenario, clock, clock)
    book = GrantBook(pods.of_name, clock)
    settings = MeterSettings("c", "n", sample_interval_us=MINUTE_US, process_interval_us=MINUTE_US)
    meter = Meter(settings, Identity(pods, kubernetes=True).owners, kubernetes=True)
    sampler = Sampler(gpus, processes, Cadence(MINUTE_US, MINUTE_US), clock, clock)
    gpus.open()
    for now_us in range(FROM_US, END_US + 1, MINUTE_US):
        clock.now_us = now_us
        answer = kubelet.poll()
        ids = [device_id for _, device_id in answer.allocatable or ()]
        meter.on_reservations(now_us, partial(place, grants=book.read(answer).grants, allocatable=ids))
        yield from meter.on_sample(sampler.sample())
    yield from meter.cut(END_US)


def lines(windows: list[Window], uuid: str) -> list[Line]:
    return [line for window in windows for device in window.devices if device.uuid == uuid for line in device.lines]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_an_evening_of_a_shipped_node_is_billed_as_its_scenario_says(path: Path) -> None:
    scenario = load(path, TUESDAY_US)
    windows = list(evening(scenario))
    assert [text for window in windows for text in violations(window)] == []
    for gpu in scenario.gpus:
        found = lines(windows, gpu.info.uuid)
        assert sum(line.energy_mj or 0 for line in found) == gpu.energy_mj(END_US) - gpu.energy_mj(FROM_US)
        assert sum(line.capacity_us for line in found) == END_US - FROM_US
        assert sum(line.unobserved_us + line.unavailable_us for line in found) == 0
    everything = [line for gpu in scenario.gpus for line in lines(windows, gpu.info.uuid)]
    reserved = sum(line.capacity_us for line in everything if line.key.basis is Basis.RESERVATION)
    used = sum(line.used_us for line in everything)
    rounding = len(everything) if any(gpu.instances for gpu in scenario.gpus) else 0  # shares of sevenths
    assert abs(used - scenario_truth.used_us(scenario, FROM_US, END_US).total()) <= rounding
    assert abs(reserved - scenario_truth.held_us(scenario, FROM_US, END_US).total()) <= rounding
