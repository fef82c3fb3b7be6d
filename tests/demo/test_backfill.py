"""The back-fill's windows: they tile the past without gap or overlap, and tell the scenario's truth."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.invariants import violations
from gputally.accounting.keys import Owner
from gputally.accounting.line import Line, Window
from gputally.accounting.states import OwnerKind
from gputally.agent.simulated.scenario import InContainer, Scenario, Workload
from gputally.agent.simulated.scenario_file import load
from gputally.demo.backfill import DAY_US, MINUTE_US, days, live_through

SCENARIOS = Path(__file__).resolve().parents[2] / "demo" / "scenarios"
NODES = ("node-a", "node-b", "node-c")
MIDNIGHT_US = 1_751_932_800_000_000  # Tuesday, 2025-07-08T00:00:00Z
EVENING = (MIDNIGHT_US + 17 * 60 * MINUTE_US, MIDNIGHT_US + 23 * 60 * MINUTE_US)


def scenario(node: str) -> Scenario:
    return load(SCENARIOS / f"{node}.json", MIDNIGHT_US)


def lived(of: Scenario, start_us: int, end_us: int) -> list[Window]:
    return [window for windows in live_through(of, "demo", "node", start_us, end_us) for window in windows]


def lines(windows: list[Window]) -> Iterator[Line]:
    return (line for window in windows for device in window.devices for line in device.lines)


@given(st.integers(0, 10**15), st.integers(0, 40 * DAY_US))
def test_days_cut_a_span_into_pieces_the_newest_first(start_us: int, length_us: int) -> None:
    """Read backwards the days follow each other from start to end; none is longer than a day, none empty."""
    cut = days(start_us, start_us + length_us)
    edges = [start for start, _ in reversed(cut)] + [end for _, end in cut[:1]]
    assert edges == sorted(set(edges))
    assert all(end - start <= DAY_US for start, end in cut)
    assert [end for _, end in cut[1:]] == [start for start, _ in cut[:-1]]
    assert (edges[0], edges[-1]) == (start_us, start_us + length_us) if length_us else not cut


@pytest.mark.parametrize("node", NODES)
def test_windows_tile_the_span(node: str) -> None:
    """Each minute is one window, in order, with the capacity of every GPU, and each keeps the invariants."""
    node_scenario = scenario(node)
    windows = lived(node_scenario, *EVENING)
    assert [window.start_us for window in windows] == list(range(*EVENING, MINUTE_US))
    assert all(window.end_us == window.start_us + MINUTE_US for window in windows)
    uuids = {gpu.info.uuid for gpu in node_scenario.gpus}
    for window in windows:
        assert {device.uuid for device in window.devices} == uuids
        assert list(violations(window)) == []


def test_the_days_of_a_span_meet() -> None:
    """Days are lived through one by one; the newest first, their windows still tile the whole span."""
    span = (MIDNIGHT_US - 2 * 60 * MINUTE_US, MIDNIGHT_US + DAY_US - 22 * 60 * MINUTE_US)
    cut = [(MIDNIGHT_US, span[1]), (span[0], MIDNIGHT_US)]
    windows = [window for start_us, end_us in cut for window in lived(scenario("node-a"), start_us, end_us)]
    assert sorted(window.start_us for window in windows) == list(range(*span, MINUTE_US))


@pytest.mark.parametrize("node", NODES)
def test_used_time_is_the_scenarios_truth(node: str) -> None:
    """Scenarios change on whole minutes here, so every owner's used time is exactly its workloads' busy time."""
    node_scenario = scenario(node)
    used: Counter[tuple[str, str]] = Counter()
    for line in lines(lived(node_scenario, *EVENING)):
        if line.key.owner.kind is not OwnerKind.PLATFORM:
            used[_name(line.key.owner)] += line.used_us
    truth: Counter[tuple[str, str]] = Counter()
    for gpu in node_scenario.gpus:
        for workload in gpu.workloads:
            truth[_place(workload)] += workload.busy.integral(*EVENING) // 100
    assert +used == +truth


@pytest.mark.parametrize("node", NODES)
def test_held_time_is_the_scenarios_truth(node: str) -> None:
    """What a pod held is used or idle, all of it, from the minute it came to the minute it went."""
    node_scenario = scenario(node)
    held: Counter[str] = Counter()
    for line in lines(lived(node_scenario, *EVENING)):
        if line.key.owner.kind is OwnerKind.POD:
            held[line.key.owner.namespace] += line.used_us + line.idle_us
    truth: Counter[str] = Counter()
    for pod in node_scenario.pods:
        gpus = sum(len(container.gpus) for container in pod.containers)
        truth[pod.namespace] += gpus * pod.present.integral(*EVENING)
    assert +held == +truth


def test_energy_is_the_counters_difference() -> None:
    """To the millijoule, over the whole span, for every GPU."""
    node_scenario = scenario("node-b")
    windows = lived(node_scenario, *EVENING)
    for gpu in node_scenario.gpus:
        booked = sum(
            line.energy_mj or 0
            for window in windows
            for device in window.devices
            if device.uuid == gpu.info.uuid
            for line in device.lines
        )
        assert booked == gpu.energy_mj(EVENING[1]) - gpu.energy_mj(EVENING[0])


def _name(owner: Owner) -> tuple[str, str]:
    return (owner.namespace, owner.container) if owner.kind is OwnerKind.POD else ("", owner.user)


def _place(workload: Workload) -> tuple[str, str]:
    place = workload.place
    return (place.pod.namespace, place.container) if isinstance(place, InContainer) else ("", place.user)
