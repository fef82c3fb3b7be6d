"""The back-fill's windows: they tile the past without gap or overlap, and tell the scenario's truth."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import scenario_truth

from gputally.accounting.invariants import violations
from gputally.accounting.keys import Owner
from gputally.accounting.line import Line, Window
from gputally.accounting.states import OwnerKind
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import load
from gputally.demo.backfill import DAY_US, MINUTE_US, days, live_through

SCENARIOS = Path(__file__).resolve().parents[2] / "demo" / "scenarios"
NODES = ("node-a", "node-b", "node-c", "node-d", "node-e")
MIDNIGHT_US = 1_751_932_800_000_000  # Tuesday, 2025-07-08T00:00:00Z
EVENING = (MIDNIGHT_US + 17 * 60 * MINUTE_US, MIDNIGHT_US + 20 * 60 * MINUTE_US)
ROUNDING_US = 180  # of one owner in those three hours: a microsecond a window, where shares are sevenths


def scenario(node: str) -> Scenario:
    return load(SCENARIOS / f"{node}.json", MIDNIGHT_US)


def lived(of: Scenario, start_us: int, end_us: int) -> list[Window]:
    return [window for windows in live_through(of, "demo", "node", start_us, end_us) for window in windows]


@cache
def evening(node: str) -> list[Window]:
    return lived(scenario(node), *EVENING)


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
    windows = evening(node)
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
def test_used_and_held_time_are_the_scenarios_truth(node: str) -> None:
    """Scenarios change on whole minutes here, so each owner's time is exactly what the file and the rules say."""
    used: Counter[tuple[str, str, str]] = Counter()
    held: Counter[tuple[str, str, str]] = Counter()
    for line in lines(evening(node)):
        owner = line.key.owner
        if owner.kind is OwnerKind.POD:
            held[_name(owner)] += line.used_us + line.idle_us
        if owner.kind is not OwnerKind.PLATFORM:
            used[_name(owner)] += line.used_us
    for found, truth in (
        (used, scenario_truth.used_us(scenario(node), *EVENING)),
        (held, scenario_truth.held_us(scenario(node), *EVENING)),
    ):
        assert {*+found} == {*+truth}
        assert all(abs(found[name] - truth[name]) <= ROUNDING_US for name in truth)


@pytest.mark.parametrize("node", ["node-a", "node-c"])
def test_energy_is_the_counters_difference(node: str) -> None:
    """To the millijoule, over the whole span, for every GPU."""
    for gpu in scenario(node).gpus:
        found = [device for window in evening(node) for device in window.devices if device.uuid == gpu.info.uuid]
        booked = sum(line.energy_mj or 0 for device in found for line in device.lines)
        assert booked == gpu.energy_mj(EVENING[1]) - gpu.energy_mj(EVENING[0])


def _name(owner: Owner) -> tuple[str, str, str]:
    """As the file names it: a pod that comes back has the minute of its start in its name."""
    if owner.kind is not OwnerKind.POD:
        return ("", "", owner.user)
    return (owner.namespace, re.sub(r"-\d{8}$", "", owner.pod), owner.container)
