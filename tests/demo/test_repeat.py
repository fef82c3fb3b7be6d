"""Days that come back are told as they were lived: the copy of a day is the day, to the last figure."""

from pathlib import Path

import pytest

from gputally.accounting.line import Window
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import load, parse
from gputally.demo.backfill import DAY_US, MINUTE_US, live_through
from gputally.demo.repeat import Back, Days, period_us

SCENARIOS = Path(__file__).resolve().parents[2] / "demo" / "scenarios"
WEEK_US = 7 * DAY_US
MONDAY_US = 1_793_577_600_000_000  # 2026-11-02T00:00:00Z
GPU = '{"uuid": "GPU-00000000-0000-4000-8000-000000000001", "model": "T", "idle_watts": 70, "max_watts": 700, '
ONE = '{"gpus": [' + GPU + '"memory_gib": 80}], "workloads": [{"host": {"user": "u"}, "gpus": [0], %s}]}'


def one(workload: str) -> Scenario:
    return parse(ONE % workload, MONDAY_US)


def lived(scenario: Scenario, start_us: int, end_us: int) -> list[Window]:
    return [window for windows in live_through(scenario, "c", "n", start_us, end_us) for window in windows]


@pytest.mark.parametrize(("node", "period"), [("node-a", WEEK_US), ("node-b", DAY_US), ("node-c", WEEK_US)])
def test_a_day_moved_back_is_that_day_lived_through(node: str, period: int) -> None:
    """A Wednesday from 17:45 to 19:00: a notebook goes, a batch comes, others stay."""
    scenario = load(SCENARIOS / f"{node}.json", MONDAY_US)
    assert period_us(scenario) == period
    start_us, end_us = MONDAY_US + (48 + 17) * 60 * MINUTE_US + 45 * MINUTE_US, MONDAY_US + (48 + 19) * 60 * MINUTE_US
    back = Back(scenario, period, start_us - period)
    moved = [back.window(window) for window in lived(scenario, start_us, end_us)]
    assert moved == lived(scenario, start_us - period, end_us - period)


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
    ("workload", "period"),
    [
        ('"busy_percent": 40', DAY_US),
        ('"busy_percent": {"08:00": 40, "18:00": 3}', DAY_US),
        ('"busy_percent": {"mon-fri 08:00": 40, "mon-fri 18:00": 3}', WEEK_US),
        ('"busy_percent": 40, "when": {"hours": ["22:00-06:00"]}', DAY_US),
        ('"busy_percent": 40, "when": {"hours": ["sun"]}', WEEK_US),
        ('"busy_percent": 40, "when": {"until": "2026-11-03T00:00:00Z"}', None),
    ],
)
def test_what_comes_back_after_a_day_after_a_week_and_never(workload: str, period: int | None) -> None:
    assert period_us(one(workload)) == period
