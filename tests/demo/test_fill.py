"""The back-fill as it runs: everything arrives once, the newest day first, and it ends when it is told to."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector_fake import FakeCollector

from gputally.agent.probe.main import wall_us
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import load
from gputally.demo import fill
from gputally.demo.backfill import DAY_US, MINUTE_US
from gputally.demo.fill import BackFill

SCENARIOS = Path(__file__).resolve().parents[2] / "demo" / "scenarios"
END_US = wall_us() // DAY_US * DAY_US + 60 * MINUTE_US  # the last day is an hour long


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    collector = FakeCollector()
    collector.start()
    yield collector
    collector.stop()


def nodes(*names: str) -> dict[str, Scenario]:
    return {name: load(SCENARIOS / f"{name}.json", END_US) for name in names}


def test_every_minute_of_every_node_arrives_once_the_newest_day_first(collector: FakeCollector, tmp_path: Path) -> None:
    start_us = END_US - 90 * MINUTE_US
    back_fill = BackFill(nodes("node-a", "node-c"), "demo", start_us - start_us % DAY_US, END_US, tmp_path)
    two_days = (END_US - start_us + start_us % DAY_US) // MINUTE_US
    assert back_fill.progress == fill.Progress(0, 2 * two_days)
    back_fill.start(collector.address)
    assert back_fill.wait(60), back_fill.progress
    assert back_fill.progress == fill.Progress(2 * two_days, 2 * two_days)
    arrived = [(window.node, window.start_us) for batch in collector.ledger.batches for window in batch.windows]
    assert len(arrived) == len(set(arrived)) == 2 * two_days
    newest = arrived[:120]
    assert {start // DAY_US for _, start in newest} == {END_US // DAY_US}, "today first"
    assert {node for node, _ in newest} == {"node-a", "node-c"}, "of every node"


def test_progress_is_what_the_collector_has(collector: FakeCollector, tmp_path: Path) -> None:
    """While nobody takes windows nothing is done, however many were made."""
    collector.stop_reading()
    back_fill = BackFill(nodes("node-c"), "demo", END_US - 30 * MINUTE_US, END_US, tmp_path)
    back_fill.start(collector.address)
    assert not back_fill.wait(0.5)
    assert back_fill.progress == fill.Progress(0, 30)
    collector.read_on()
    assert back_fill.wait(60)
    assert back_fill.progress == fill.Progress(30, 30)


def test_it_waits_for_a_collector_that_is_behind(
    collector: FakeCollector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spool stays small: no more windows wait than there is room for, and those made between two looks."""
    monkeypatch.setattr(fill, "_ROOM", 50)
    collector.stop_reading()
    back_fill = BackFill(nodes("node-c"), "demo", END_US - DAY_US, END_US, tmp_path)
    back_fill.start(collector.address)
    assert not back_fill.wait(1)
    back_fill.close()
    assert back_fill.wait(0)
    assert back_fill.progress.done == 0
    assert windows_left(tmp_path) <= 50 + 2 * fill._AT_ONCE


def test_it_stops_where_it_is(tmp_path: Path) -> None:
    """Also where no collector ever answers."""
    back_fill = BackFill(nodes("node-a"), "demo", END_US - 20 * DAY_US, END_US, tmp_path)
    back_fill.start("127.0.0.1:1")
    assert not back_fill.wait(0.2)
    back_fill.close()
    assert back_fill.wait(0)
    assert back_fill.progress.error == ""
    assert back_fill.progress.done < back_fill.progress.total


def test_closing_what_never_began_is_harmless(tmp_path: Path) -> None:
    BackFill(nodes("node-c"), "demo", END_US - DAY_US, END_US, tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_month_that_has_just_begun_has_nothing_to_fill(collector: FakeCollector, tmp_path: Path) -> None:
    back_fill = BackFill(nodes("node-c"), "demo", END_US, END_US, tmp_path)
    back_fill.start(collector.address)
    assert back_fill.wait(60)
    assert back_fill.progress == fill.Progress(0, 0)


def test_a_spool_that_takes_no_more_ends_it_and_says_why(
    collector: FakeCollector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing from the ledger is never shown as done."""
    collector.stop_reading()
    monkeypatch.setattr(fill, "_SPOOL_BYTES", 10_000)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # it is a defect, and so it is printed too
    back_fill = BackFill(nodes("node-c"), "demo", END_US - DAY_US, END_US, tmp_path)
    back_fill.start(collector.address)
    assert back_fill.wait(60)
    assert re.fullmatch(r"the back-fill ended: windows were refused: {'full': \d+}", back_fill.progress.error)


def windows_left(folder: Path) -> int:
    spool = fill.Spool(folder / "back-fill", "back-fill", 1 << 30, 62 * DAY_US, wall_us)
    left = spool.pending()[0]
    spool.close()
    return left
