"""A scrape never waits for the month's query, and the query runs no more often than it has to."""

import logging
import threading
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from tests.windows import START_US, all_received, minutes

from gputally.collector.budgets import Budget, Scope, Unit
from gputally.collector.burn import Burn
from gputally.collector.database.deadline import TooSlow
from gputally.collector.exposition.books import Books
from gputally.collector.exposition.itself import Work
from gputally.collector.exposition.page import make_registry
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ingest.stream import IngestStats
from gputally.collector.ingest.writer import WriterStats
from gputally.collector.ledger.postings import settle
from gputally.collector.month import Month, read_month
from gputally.collector.month_watch import OLDEST_US, MonthWatch
from gputally.collector.rates.cost import SCALE

UTC = ZoneInfo("UTC")
DEADLINE_S = 60
BUDGET = Budget(Scope.TEAM, "engines", None, Unit.GPU_HOURS, 10**9, (2026, 7), None, 3)
SPENT = Month(0, 1, burns=(Burn(BUDGET, SCALE, SCALE // 2, None, 0, 0),))

FILE = b"version: 1\nbudgets: [{namespace: search, from: 2026-07, gpu_hours: 1}]\n"


class Question:
    """The month's query: what it finds, how often it was asked, and an error to raise."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.answered = threading.Event()

    def __call__(self) -> Month:
        self.asked += 1
        self.answered.set()
        if self.error:
            raise self.error
        return SPENT


class Clock:
    """Monotonic time that moves when told."""

    now_us = 0

    def __call__(self) -> int:
        return self.now_us


def test_a_scrape_takes_what_is_there() -> None:
    question = Question()
    watch = MonthWatch(question, Clock())
    assert watch.month() is None
    assert question.asked == 0
    watch.turn()
    assert [watch.month(), watch.month()] == [SPENT] * 2
    assert question.asked == 1


def test_what_is_too_old_is_not_shown() -> None:
    """A budget of an hour ago would say that all is well."""
    clock = Clock()
    watch = MonthWatch(Question(), clock)
    watch.turn()
    clock.now_us += OLDEST_US
    assert watch.month() == SPENT
    clock.now_us += 1
    assert watch.month() is None


@pytest.mark.parametrize("error", [OperationalError("SELECT", {}, Exception("gone\nand more")), TooSlow("too slow")])
def test_a_failure_leaves_what_was_known_and_says_so(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    question = Question()
    watch = MonthWatch(question, Clock())
    watch.turn()
    question.error = error
    with caplog.at_level(logging.WARNING):
        watch.turn()
    assert watch.month() == SPENT
    assert len(caplog.messages) == 1
    assert "\n" not in caplog.messages[0]


def test_nobody_scrapes_nothing_is_asked() -> None:
    """The thread sleeps until a scrape, and between two questions however many scrapes there are."""
    question = Question()
    watch = MonthWatch(question, Clock(), every_s=600)
    watch.start()
    assert question.asked == 0
    watch.month()
    assert question.answered.wait(DEADLINE_S)
    watch.month()
    watch.close(DEADLINE_S)
    assert question.asked == 1
    assert not any(thread.name == "month" for thread in threading.enumerate())


def test_closing_what_never_started_is_harmless() -> None:
    question = Question()
    MonthWatch(question, Clock()).close(DEADLINE_S)
    assert question.asked == 0


def test_this_months_budgets_are_on_the_page_once_they_are_known(engine: Engine) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(minutes(3)), now_us=START_US)
    settle(engine, UTC)
    apply_file(engine, Kind.BUDGETS, FILE, "ann", START_US)
    watch = MonthWatch(lambda: read_month(engine, UTC, START_US + 1), Clock())
    work = Work(IngestStats(), WriterStats(), settled=0)
    registry = make_registry(lambda: Books((), 0), lambda: work, watch.month)
    labels = {"scope": "namespace", "name": "search", "cluster": "", "unit": "gpu_hours"}
    assert registry.get_sample_value("gputally_budget_spent_ratio", labels) is None
    watch.turn()
    assert registry.get_sample_value("gputally_budget_spent_ratio", labels) == pytest.approx(3 / 60)
