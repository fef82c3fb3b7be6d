"""Days that come back are told as they were lived: the copy of a day is the day, to the last figure."""

from pathlib import Path

import pytest

from gputally.accounting.line import Window
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import load, parse
from gputally.demo.backfill import DAY_US, MINUTE_US, live_through
from gputally.demo.repeat import Back, Days, shape_of

SCENARIOS = Path(__file__).resolve().parents[2] / "demo" / "scenarios"
MONDAY_US = 1_793_577_600_000_000  # 2026-11-02T00:00:00Z
GPU = '{"uuid": "GPU-00000000-0000-4000-8000-000000000001", "model": "T", "idle_watts": 70, "max_watts": 700, '
ONE = '{"gpus": [' + GPU + '"memory_gib": 80}], "workloads": [{"host": {"user": "u"}, "gpus": [0], %s}]}'


def one(workload: str) -> Scenario:
    return parse(ONE % workload, MONDAY_US)


def lived(scenario: Scenario, start_us: int, end_us: int) -> list[Window]:
    return [window for windows in live_through(scenario, "c", "n", start_us, end_us) for window in windows]


@pytest.mark.parametrize(
    ("node", "from_hour", "earlier", "later"),
    [
        ("node-a", 5, 1, 3),  # a workflow ends, a replica comes
        ("node-b", 12, 0, 5),
        ("node-c", 17, 2, 4),  # a notebook goes, a batch comes
        ("node-d", 9, 2, 9),  # the first attempt fails, the second begins
        ("node-e", 19, 0, 5),  # a Ray worker comes
    ],
)
def test_a_day_moved_back_is_that_day_lived_through(node: str, from_hour: int, earlier: int, later: int) -> None:
    """An hour and a quarter of two days of one shape, counted from a Monday."""
    scenario = load(SCENARIOS / f"{node}.json", MONDAY_US)
    then_us, later_us = (MONDAY_US + day * DAY_US for day in (earlier, later))
    assert shape_of(scenario, then_us) == shape_of(scenario, later_us)
    start_us = later_us + from_hour * 60 * MINUTE_US + 45 * MINUTE_US
    end_us, by_us = start_us + 75 * MINUTE_US, later_us - then_us
    back = Back(scenario, by_us, start_us - by_us)
    moved = [back.window(window) for window in lived(scenario, start_us, end_us)]
    assert moved == lived(scenario, start_us - by_us, end_us - by_us)


@pytest.mark.parametrize(
    ("node", "shapes"), [("node-a", 4), ("node-b", 1), ("node-c", 4), ("node-d", 3), ("node-e", 2)]
)
def test_a_week_of_the_demo_has_few_shapes_of_days(node: str, shapes: int) -> None:
    """Each is lived through once, so this is what the month costs."""
    scenario = load(SCENARIOS / f"{node}.json", MONDAY_US)
    assert len({shape_of(scenario, MONDAY_US + day * DAY_US) for day in range(7, 14)}) == shapes


def test_a_whole_day_is_lived_through_once_and_then_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a day, such as today, is not kept."""
    life = Days(one('"busy_percent": {"every": "12h", "steps": {"0h": 40, "6h": 0}}'), "c", "n")
    today = [window for some in life.windows(MONDAY_US + DAY_US, MONDAY_US + DAY_US + 5 * MINUTE_US) for window in some]
    newest = [window for some in life.windows(MONDAY_US, MONDAY_US + DAY_US) for window in some]
    assert (len(today), len(newest)) == (5, 1440)
    monkeypatch.setattr("gputally.demo.repeat.live_through", None)
    before = [window for some in life.windows(MONDAY_US - DAY_US, MONDAY_US) for window in some]
    assert [window.start_us + DAY_US for window in before] == [window.start_us for window in newest]
    assert [window.devices[0].lines for window in before] == [window.devices[0].lines for window in newest]
    assert before[-1].devices[0].energy_end_mj == newest[0].devices[0].energy_start_mj


@pytest.mark.parametrize(
    ("workload", "alike"),
    [
        ('"busy_percent": 40', {1, 2, 3, 4, 5, 6, 7}),
        ('"busy_percent": {"08:00": 40, "18:00": 3}', {1, 2, 3, 4, 5, 6, 7}),
        ('"busy_percent": {"mon-fri 08:00": 40, "mon-fri 18:00": 3}', {1, 2, 3, 4, 7}),
        ('"busy_percent": 40, "when": {"hours": ["22:00-06:00"]}', {1, 2, 3, 4, 5, 6, 7}),
        ('"busy_percent": 40, "when": {"hours": ["sun"]}', {7}),  # what was just before midnight counts
        ('"busy_percent": 40, "when": {"until": "2026-11-03T12:00:00Z"}', set()),
        ('"busy_percent": 40, "when": {"from": "2026-11-05T12:00:00Z"}', {1, 2}),
    ],
)
def test_days_on_which_the_same_happens_at_the_same_times_have_one_shape(workload: str, alike: set[int]) -> None:
    """Days after a Monday, the 2nd of November, that are like it."""
    scenario = one(workload)
    monday = shape_of(scenario, MONDAY_US)
    assert {day for day in range(1, 8) if shape_of(scenario, MONDAY_US + day * DAY_US) == monday} == alike
