"""Simulated GPUs: the driver's manners (buffers, cursors, faults) over the scenario's physics."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.states import Source
from gputally.agent.probe.sampler import DeviceSilent, DeviceUnavailable, Driver, DriverError, Processes
from gputally.agent.sample import DeviceInfo, ProcessBusy, ProcessKind, Vitals
from gputally.agent.simulated.gpus import BUFFER_DEPTH, BUFFER_PERIOD_US, SimulatedGpus, SimulatedProcesses
from gputally.agent.simulated.pattern import Pattern, constant, weekly
from gputally.agent.simulated.scenario import Fault, FaultKind, Gpu, OnHost, Scenario, Workload

SECOND_US = 1_000_000
MONDAY_US = 1_735_516_800_000_000  # 2024-12-30
PERIOD_US = 200_000  # divides a second, so that scenarios can change on the buffer's grid
UUID = "GPU-00000000-0000-4000-8000-000000000001"


@dataclass
class Clock:
    now_us: int = MONDAY_US

    def __call__(self) -> int:
        return self.now_us


def load(busy: Pattern, present: Pattern | None = None, pid: int = 2001) -> Workload:
    return Workload(pid, OnHost("user-1000"), busy, present or constant(1), 1 << 30)


def node(*loads: Workload, **flags: object) -> Scenario:
    gpu = Gpu(DeviceInfo(UUID, 0, "NVIDIA Test"), 70_000, 700_000, 80 << 30, loads, **flags)
    return Scenario((gpu,), workloads=loads)


def driver(scenario: Scenario, clock: Clock, depth: int = BUFFER_DEPTH) -> SimulatedGpus:
    it = SimulatedGpus(scenario, clock, PERIOD_US, depth)
    it.open()
    return it


def steps_on_the_grid() -> st.SearchStrategy[dict[int, int]]:
    seconds = st.integers(0, 60).map(lambda s: s * SECOND_US)
    return st.dictionaries(seconds, st.integers(0, 100), min_size=1, max_size=6)


def test_they_are_the_driver_and_the_processes_that_the_sampler_asks_for() -> None:
    gpus: Driver = SimulatedGpus(node(), Clock())
    processes: Processes = SimulatedProcesses(node(), Clock())
    assert [info.uuid for info in gpus.devices()] == [UUID]
    assert processes.resolve(1) is None


@given(steps_on_the_grid(), st.lists(st.integers(1, 14_000_000), min_size=1, max_size=8))
def test_the_buffer_adds_up_to_the_busy_time_whatever_the_ticks_are(steps: dict[int, int], ticks: list[int]) -> None:
    clock = Clock()
    scenario = node(load(weekly(steps.items())))
    it = driver(scenario, clock)
    it.read(UUID)
    entries = []
    for tick in ticks:
        clock.now_us += tick
        entries += it.read(UUID).busy or ()
    end_us = clock.now_us // PERIOD_US * PERIOD_US
    seen = sum((entry.percent or 0) * PERIOD_US for entry in entries)
    assert [entry.end_us for entry in entries] == list(range(MONDAY_US + PERIOD_US, end_us + 1, PERIOD_US))
    assert seen == scenario.gpus[0].busy_integral(MONDAY_US, end_us)


@given(steps_on_the_grid(), st.integers(0, 10**7))
def test_a_mean_off_the_grid_is_wrong_by_half_a_percent_at_most(steps: dict[int, int], shift_us: int) -> None:
    clock = Clock()
    scenario = node(load(weekly((us + shift_us, percent) for us, percent in steps.items())))
    it = driver(scenario, clock)
    clock.now_us += 10 * SECOND_US
    for entry in it.read(UUID).busy or ():
        exact = scenario.gpus[0].busy_integral(entry.end_us - PERIOD_US, entry.end_us)
        assert entry.percent is not None
        assert abs(entry.percent * PERIOD_US - exact) <= PERIOD_US // 2


@given(steps_on_the_grid(), st.lists(st.integers(0, 60), min_size=1, max_size=8, unique=True))
def test_energy_and_power_are_the_same_in_any_order_of_reading(steps: dict[int, int], seconds: list[int]) -> None:
    def read_all(order: list[int]) -> dict[int, tuple[int | None, int | None]]:
        clock = Clock()
        it = driver(node(load(weekly(steps.items()))), clock)
        found = {}
        for second in order:
            clock.now_us = MONDAY_US + second * SECOND_US
            reading = it.read(UUID)
            found[second] = (reading.energy_mj, reading.power_mw)
        return found

    assert read_all(seconds) == read_all(seconds[::-1])


def test_a_buffer_forgets_what_is_older_than_its_depth() -> None:
    clock = Clock()
    it = driver(node(), clock, depth=3)
    clock.now_us += 100 * SECOND_US
    entries = it.read(UUID).busy or ()
    assert [clock.now_us - entry.end_us for entry in entries] == [2 * PERIOD_US, PERIOD_US, 0]


def test_nothing_newer_than_the_cursor_is_an_empty_answer_and_not_an_unknown_one() -> None:
    clock = Clock()
    it = driver(node(), clock)
    it.read(UUID)
    assert it.read(UUID).busy == ()


def test_a_clock_that_was_set_back_finds_the_whole_buffer_again() -> None:
    clock = Clock()
    it = driver(node(load(constant(50))), clock, depth=3)
    it.read(UUID)
    it.read_processes(UUID)
    clock.now_us -= 3600 * SECOND_US
    assert len(it.read(UUID).busy or ()) == 3
    assert it.read_processes(UUID).busy is None
    clock.now_us += SECOND_US
    assert it.read_processes(UUID).busy == (ProcessBusy(2001, 50),)


def test_each_gpu_has_a_cursor_of_its_own() -> None:
    clock = Clock()
    first = node().gpus[0]
    second = replace(first, info=replace(first.info, uuid="GPU-2", index=1))
    it = driver(Scenario((first, second)), clock)
    it.read(UUID)
    assert len(it.read("GPU-2").busy or ()) == BUFFER_DEPTH


def test_a_minute_a_sample_gives_one_entry_a_sample() -> None:
    clock = Clock()
    it = SimulatedGpus(node(load(constant(40))), clock, 60 * SECOND_US)
    it.open()
    it.read(UUID)
    clock.now_us += 60 * SECOND_US
    assert [(e.end_us, e.percent) for e in it.read(UUID).busy or ()] == [(clock.now_us, 40)]


def test_the_default_buffer_reaches_back_about_ten_seconds() -> None:
    assert 10 * SECOND_US < BUFFER_PERIOD_US * BUFFER_DEPTH < 13 * SECOND_US


def test_without_a_buffer_the_rate_of_the_last_period_is_the_source() -> None:
    reading = driver(node(load(constant(30)), sample_buffer=False), Clock()).read(UUID)
    assert (reading.busy, reading.busy_source, reading.utilization_percent) == (None, Source.DEVICE_RATE, 30)


def test_without_an_energy_counter_there_is_power_and_no_energy() -> None:
    reading = driver(node(energy_counter=False), Clock()).read(UUID)
    assert (reading.energy_mj, reading.energy_supported, reading.power_mw) == (None, False, 70_000)


def test_a_process_is_listed_while_it_is_there_and_its_busy_time_still_told_once_after() -> None:
    clock = Clock()
    here = constant(1, 0, MONDAY_US + 4 * SECOND_US)
    it = driver(node(load(here.scaled(80), here)), clock)
    assert [(p.pid, p.kind, p.memory_bytes) for p in it.read_processes(UUID).processes or ()] == [
        (2001, ProcessKind.COMPUTE, 1 << 30)
    ]
    clock.now_us += 8 * SECOND_US
    after = it.read_processes(UUID)
    assert (after.processes, after.busy) == ((), (ProcessBusy(2001, 40),))
    clock.now_us += SECOND_US
    assert it.read_processes(UUID).busy == ()


@given(st.lists(st.integers(0, 25), min_size=1, max_size=4), st.integers(1, 10**7))
def test_the_processes_are_as_busy_as_the_device(percents: list[int], wait_us: int) -> None:
    clock = Clock()
    it = driver(node(*(load(constant(percent), pid=2001 + i) for i, percent in enumerate(percents))), clock)
    clock.now_us += wait_us
    busy = it.read_processes(UUID).busy
    assert busy is not None
    assert sum(entry.percent for entry in busy) == sum(percents) == it.read(UUID).utilization_percent
    assert all(entry.percent for entry in busy)


def test_no_time_since_the_last_question_is_unknown_and_not_idle() -> None:
    assert driver(node(load(constant(30))), Clock()).read_processes(UUID).busy is None


def test_a_driver_that_cannot_tell_per_process_says_so() -> None:
    clock = Clock()
    it = driver(node(load(constant(30)), process_utilization=False), clock)
    clock.now_us += SECOND_US
    detail = it.read_processes(UUID)
    assert detail.busy is None
    assert len(detail.processes or ()) == 1


@pytest.mark.parametrize(("kind", "error"), [(FaultKind.LOST, DeviceUnavailable), (FaultKind.SILENT, DeviceSilent)])
def test_a_fault_stops_every_reading_and_nothing_is_lost_when_it_ends_in_time(
    kind: FaultKind, error: type[DriverError]
) -> None:
    clock = Clock()
    fault = Fault(kind, constant(1, MONDAY_US + SECOND_US, MONDAY_US + 3 * SECOND_US))
    it = driver(node(load(constant(30)), faults=(fault,)), clock)
    it.read(UUID)
    clock.now_us += 2 * SECOND_US
    with pytest.raises(error, match=UUID):
        it.read(UUID)
    with pytest.raises(error, match=UUID):
        it.read_processes(UUID)
    assert [info.uuid for info in it.devices()] == [UUID]
    clock.now_us += 2 * SECOND_US
    assert len(it.read(UUID).busy or ()) == 4 * SECOND_US // PERIOD_US


def test_a_process_table_knows_who_runs_now() -> None:
    clock = Clock()
    table = SimulatedProcesses(node(load(constant(0), constant(1, 0, MONDAY_US + 1))), clock)
    found = table.resolve(2001)
    assert found is not None
    assert found.user == "user-1000"
    clock.now_us += 1
    assert table.resolve(2001) is None


def test_a_gpu_at_work_is_warm_and_fast_and_one_at_rest_says_why_it_is_slow() -> None:
    clock = Clock()
    at_work = driver(node(load(constant(50))), clock).read_processes(UUID).vitals
    at_rest = driver(node(), clock).read_processes(UUID).vitals
    assert at_work == Vitals(50, 1980, 2619, 0)
    assert at_rest == Vitals(30, 345, 2619, 1)
