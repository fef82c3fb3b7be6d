"""The physics of a scenario: energy is the integral of power, and nothing depends on what was asked before."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.sample import DeviceInfo
from gputally.agent.simulated.pattern import DAY_US, FOREVER_US, WEEK_US, Pattern, constant, weekly
from gputally.agent.simulated.scenario import (
    Container,
    Fault,
    FaultKind,
    Gpu,
    InContainer,
    OnHost,
    Pod,
    Scenario,
    Workload,
    container_id,
)

HOUR_US = 3_600_000_000
MONDAY_US = 1_735_516_800_000_000  # 2024-12-30
UUID = "GPU-00000000-0000-0000-0000-000000000001"
NIGHTS = weekly([(0, 1), (6 * HOUR_US, 0), (22 * HOUR_US, 1), (DAY_US + 6 * HOUR_US, 0)])  # 22-06 from Sunday, Monday


def gpu(*loads: Workload, **other: object) -> Gpu:
    return Gpu(DeviceInfo(UUID, 0, "NVIDIA Test"), 70_001, 699_999, 80 << 30, loads, **other)


def load(busy: Pattern, pid: int = 2001) -> Workload:
    return Workload(pid, OnHost("user-1000", "session-1.scope"), busy, constant(1), 1 << 30, "python")


@st.composite
def gpus(draw: st.DrawFn) -> Gpu:
    """A GPU with up to three workloads that together never ask for more than it has."""
    count = draw(st.integers(0, 3))
    steps = st.dictionaries(st.integers(0, WEEK_US - 1), st.integers(0, 33), min_size=1, max_size=5)
    bounds = st.sampled_from([(0, FOREVER_US), (MONDAY_US + 7, MONDAY_US + DAY_US + 1)])
    return gpu(*(load(weekly(draw(steps).items(), *draw(bounds)), 2001 + i) for i in range(count)))


INSTANTS = st.lists(st.integers(MONDAY_US - WEEK_US, MONDAY_US + 2 * WEEK_US), min_size=2, max_size=12)


@given(gpus(), INSTANTS)
def test_the_energy_counter_never_falls_and_moves_by_the_integral_of_power(it: Gpu, instants: list[int]) -> None:
    for start, end in pairwise(sorted(instants)):
        moved = it.energy_mj(end) - it.energy_mj(start)
        marks = sorted({start, end, *_changes(it, start, end)})
        power_us = sum(  # 1/100 nJ, exact: each piece has one power
            (it.idle_mw * 100 + (it.max_mw - it.idle_mw) * it.busy_percent(a)) * (b - a) for a, b in pairwise(marks)
        )
        assert moved >= 0
        assert abs(moved * 10**8 - power_us) < 10**8  # each of two readings was rounded down by less than 1 mJ


def _changes(it: Gpu, start: int, end: int) -> set[int]:
    bounds = {us for one in it.workloads for us in (one.busy.from_us, one.busy.until_us) if start < us < end}
    return bounds.union(*(one.busy.changes(start, end) for one in it.workloads))


@given(gpus(), INSTANTS, st.randoms())
def test_the_order_of_questions_changes_no_answer(it: Gpu, instants: list[int], random: object) -> None:
    asked = {us: (it.energy_mj(us), it.busy_percent(us), it.power_mw(us)) for us in instants}
    shuffled = list(asked)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {us: (it.energy_mj(us), it.busy_percent(us), it.power_mw(us)) for us in shuffled} == asked


def test_power_goes_from_idle_to_maximum_with_the_busy_share() -> None:
    assert gpu().power_mw(MONDAY_US) == 70_001
    assert gpu(load(constant(50))).power_mw(MONDAY_US) == 70_001 + 314_999
    assert gpu(load(constant(100))).power_mw(MONDAY_US) == 699_999


def test_an_hour_at_full_power_is_the_watt_hours_of_the_name_plate() -> None:
    it = gpu(load(constant(100)))
    assert it.energy_mj(MONDAY_US + HOUR_US) - it.energy_mj(MONDAY_US) == 699_999 * 3600


def test_memory_is_held_while_the_process_is_there_busy_or_not() -> None:
    it = gpu(load(constant(0)), Workload(2002, OnHost("u"), constant(0), constant(1, 0, MONDAY_US), 3 << 30))
    assert it.memory_used_bytes(MONDAY_US - 1) == 4 << 30
    assert it.memory_used_bytes(MONDAY_US) == 1 << 30


def test_a_fault_lasts_as_long_as_it_says() -> None:
    it = gpu(faults=(Fault(FaultKind.LOST, constant(1, MONDAY_US, MONDAY_US + 5)),))
    assert [it.fault(MONDAY_US + us) for us in (-1, 0, 4, 5)] == [None, FaultKind.LOST, FaultKind.LOST, None]


def nightly() -> Pod:
    return Pod("research", "eval", (Container("eval", (UUID,)),), NIGHTS)


def test_a_pod_that_comes_back_is_a_new_pod_each_time() -> None:
    first = nightly().run(MONDAY_US + 23 * HOUR_US)
    same = nightly().run(MONDAY_US + 29 * HOUR_US)
    following = nightly().run(MONDAY_US + WEEK_US + 23 * HOUR_US)
    assert first is not None
    assert following is not None
    assert first == same
    assert first.start_us == MONDAY_US + 22 * HOUR_US
    assert first.name == f"eval-{first.start_us // 60_000_000}"
    assert (first.uid, first.name) != (following.uid, following.name)
    assert nightly().run(MONDAY_US + 7 * HOUR_US) is None


def test_a_pod_that_stays_keeps_its_name_and_uid() -> None:
    pod = Pod("ns", "web", (), constant(1), uid="11111111-2222-3333-4444-555555555555")
    runs = {pod.run(MONDAY_US + us) for us in (0, WEEK_US)}
    assert [(run.name, run.uid) for run in runs if run] == [("web", "11111111-2222-3333-4444-555555555555")]


def test_a_process_in_a_container_says_so_and_restarts_with_its_pod() -> None:
    pod = nightly()
    work = Workload(2001, InContainer(pod, "eval"), NIGHTS, NIGHTS, 0, "python")
    one, other = (work.process(MONDAY_US + us) for us in (23 * HOUR_US, WEEK_US + 23 * HOUR_US))
    run = pod.run(MONDAY_US + 23 * HOUR_US)
    assert one is not None
    assert other is not None
    assert run is not None
    assert one.container is not None
    assert (one.container.pod_uid, one.container.kind) == (run.uid, "pod")
    assert one.container.container_id == container_id(run.uid, "eval")
    assert one.start_ticks != other.start_ticks
    assert work.process(MONDAY_US + 7 * HOUR_US) is None


def test_a_process_on_the_host_has_user_and_unit_and_no_container() -> None:
    process = load(constant(5)).process(MONDAY_US)
    assert process is not None
    assert (process.container, process.user, process.unit) == (None, "user-1000", "session-1.scope")


@pytest.mark.parametrize(("hour", "holders"), [(23, ["eval"]), (7, [])])
def test_a_container_holds_its_gpus_while_its_pod_exists(hour: int, holders: list[str]) -> None:
    scenario = Scenario((gpu(),), (nightly(),))
    found = scenario.containers(MONDAY_US + hour * HOUR_US)
    assert [each.container for each in found] == holders
    assert all(each.gpus == (UUID,) for each in found)
