"""The writer's thread: groups, answers after the commit, patience while the database is away, a last flush."""

import threading
from collections.abc import Sequence
from datetime import UTC

import pytest
from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.exc import OperationalError
from tests.windows import MINUTE_US, START_US, all_received, minutes, received, window

from gputally.collector.database import schema
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.ingest import writer
from gputally.collector.ingest.admission import ACCEPTED, DUPLICATE, Outcome, Received, Refusal, RefusalReason, Verdict
from gputally.collector.ingest.commit import Committer
from gputally.collector.ingest.writer import Writer

NOW_US = START_US + 3600 * MINUTE_US
DEADLINE_S = 60.0


class FakeDatabase:
    """Accepts every message once, as the real one does; it can be away, and it can be held in the middle."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.away = 0  # how many commits fail from now on
        self.defect: Exception | None = None
        self.failed = threading.Event()
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self._messages: set[bytes] = set()

    def commit(self, group: Sequence[Received], now_us: int) -> list[Outcome]:
        """Accept what is new."""
        self.begun.set()
        assert self.go_on.wait(DEADLINE_S)
        if self.defect:
            raise self.defect
        if self.away:
            self.away -= 1
            self.failed.set()
            raise OperationalError("COMMIT", {}, Exception("the server is away\nand more"))
        self.groups.append(len(group))
        return [self._outcome(each) for each in group]

    def _outcome(self, each: Received) -> Outcome:
        if each.refusal:
            return Outcome(Verdict.REFUSED, each.refusal)
        new = each.message not in self._messages
        self._messages.add(each.message)
        return ACCEPTED if new else DUPLICATE


class Answers:
    """Collects outcomes, and lets a test wait for them."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._change = threading.Condition()

    def __call__(self, outcome: Outcome) -> None:
        with self._change:
            self.outcomes.append(outcome)
            self._change.notify_all()

    def wait_for(self, count: int) -> list[Outcome]:
        """The outcomes, once there are so many."""
        with self._change:
            assert self._change.wait_for(lambda: len(self.outcomes) >= count, DEADLINE_S)
            return list(self.outcomes)


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once: what is tested is that they come, not how long they take."""
    monkeypatch.setattr(writer, "_FIRST_RETRY_S", 0.001)


def make(database: FakeDatabase, queue_size: int = 1000) -> Writer:
    """A writer that is not started yet."""
    return Writer(database, lambda: NOW_US, queue_size)


def test_windows_that_wait_are_committed_in_one_group_and_answered_in_order() -> None:
    """One transaction for many windows; the group is bounded."""
    database, answers = FakeDatabase(), Answers()
    under_test = make(database)
    group = all_received(minutes(300))
    for each in [*group, group[0]]:
        assert under_test.submit(each, answers)
    under_test.start()
    assert answers.wait_for(301) == [ACCEPTED] * 300 + [DUPLICATE]
    assert database.groups == [256, 45]
    assert under_test.close(DEADLINE_S)


def test_windows_that_come_one_by_one_are_committed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit costs as much as ten windows: the first is committed at once, those that follow soon wait for others,
    until they are a group, or nobody will come any more."""
    monkeypatch.setattr(writer, "_QUIET_S", DEADLINE_S)
    database, answers = FakeDatabase(), Answers()
    under_test = Writer(database, lambda: NOW_US, 1000, gather_s=10 * DEADLINE_S)
    under_test.start()
    first, *rest = all_received(minutes(260))
    assert under_test.submit(first, answers)
    assert answers.wait_for(1) == [ACCEPTED]
    for each in rest:
        assert under_test.submit(each, answers)
    assert answers.wait_for(257) == [ACCEPTED] * 257
    assert under_test.close(DEADLINE_S)
    assert database.groups == [1, 256, 3]


def test_a_group_does_not_wait_for_windows_that_do_not_come() -> None:
    """Few agents, and the last windows of a back-fill, are answered at once."""
    database, answers = FakeDatabase(), Answers()
    under_test = Writer(database, lambda: NOW_US, 1000, gather_s=10 * DEADLINE_S)
    under_test.start()
    for at, each in enumerate(all_received(minutes(3)), start=1):
        assert under_test.submit(each, answers)
        assert answers.wait_for(at) == [ACCEPTED] * at
    assert under_test.close(DEADLINE_S)


def test_nobody_waits_for_more_windows_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a short queue would be full, and the agents held up, until the time is over."""
    monkeypatch.setattr(writer, "_QUIET_S", DEADLINE_S)
    database, answers = FakeDatabase(), Answers()
    under_test = Writer(database, lambda: NOW_US, 2, gather_s=10 * DEADLINE_S)
    under_test.start()
    first, *rest = all_received(minutes(3))
    assert under_test.submit(first, answers)
    answers.wait_for(1)
    for each in rest:
        assert under_test.submit(each, answers)
    assert answers.wait_for(3) == [ACCEPTED] * 3
    assert under_test.close(DEADLINE_S)


def test_nothing_is_answered_before_it_is_committed() -> None:
    """The agent deletes what is acknowledged."""
    database, answers = FakeDatabase(), Answers()
    database.go_on.clear()
    under_test = make(database)
    under_test.start()
    assert under_test.submit(received(window()), answers)
    assert database.begun.wait(DEADLINE_S)
    assert answers.outcomes == []
    database.go_on.set()
    assert answers.wait_for(1) == [ACCEPTED]
    assert under_test.close(DEADLINE_S)


def test_a_full_queue_says_so_and_counts() -> None:
    """Bounded: the edge stops reading, the agents keep their windows."""
    under_test, answers = make(FakeDatabase(), queue_size=2), Answers()
    first, second, third = all_received(minutes(3))
    assert under_test.finds_room()
    assert under_test.submit(first, answers)
    assert under_test.submit(second, answers)
    assert under_test.stats().full == 0
    assert not under_test.submit(third, answers)
    assert under_test.stats().full == 1
    assert not under_test.finds_room()
    assert under_test.stats().full == 2
    assert under_test.stats().queued == 2


def test_a_database_that_is_away_is_waited_for_and_nothing_is_lost() -> None:
    """Its state can be read meanwhile, and is good again afterwards."""
    database, answers = FakeDatabase(), Answers()
    database.away = 3
    under_test = make(database)
    for each in all_received(minutes(5)):
        assert under_test.submit(each, answers)
    under_test.start()
    assert answers.wait_for(5) == [ACCEPTED] * 5
    assert database.groups == [5]
    assert under_test.stats().failures == 3
    assert under_test.healthy
    assert under_test.last_error == ""
    assert under_test.close(DEADLINE_S)


def test_a_writer_without_its_database_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness says why, in one line."""
    monkeypatch.setattr(writer, "_FIRST_RETRY_S", DEADLINE_S)
    database, answers = FakeDatabase(), Answers()
    database.away = 2
    under_test = make(database)
    assert not under_test.healthy
    under_test.start()
    assert under_test.submit(received(window()), answers)
    assert database.failed.wait(DEADLINE_S)
    assert not under_test.close(DEADLINE_S)
    assert not under_test.healthy
    assert "the server is away" in under_test.last_error
    assert "\n" not in under_test.last_error
    assert answers.outcomes == []
    assert under_test.stats().queued == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_ended_by_a_defect_is_told_from_one_that_was_closed() -> None:
    """Only a restart brings it back, and nobody would ask for one where it merely waits."""
    database, answers = FakeDatabase(), Answers()
    under_test = make(database)
    assert not under_test.has_ended
    under_test.start()
    database.defect = ZeroDivisionError("a defect of ours")
    assert under_test.submit(received(window()), answers)
    under_test._thread.join(DEADLINE_S)
    assert under_test.has_ended
    closed = make(FakeDatabase())
    closed.start()
    assert closed.close(DEADLINE_S)
    assert not closed.has_ended


def test_closing_commits_what_waits_and_takes_no_more() -> None:
    """A collector that is told to stop acknowledges what it took, where it can."""
    database, answers = FakeDatabase(), Answers()
    under_test = make(database)
    for each in all_received(minutes(300)):
        assert under_test.submit(each, answers)
    under_test.start()
    assert under_test.close(DEADLINE_S)
    assert len(answers.outcomes) == 300
    assert not under_test.submit(received(window(node="late")), answers)


def test_closing_a_writer_that_never_started_ends() -> None:
    """Another part of the collector may have failed before."""
    assert make(FakeDatabase()).close(DEADLINE_S)


def test_it_counts_what_became_of_windows() -> None:
    """Refusals by reason; lines only of accepted windows; the error of refused ones in microseconds."""
    database, answers = FakeDatabase(), Answers()
    under_test = make(database)
    broken = received(window(start_us=START_US + MINUTE_US), refusal=Refusal(RefusalReason.CONFLICT, "another"))
    first = received(window())
    for each in (first, first, broken):
        assert under_test.submit(each, answers)
    under_test.start()
    answers.wait_for(3)
    assert under_test.close(DEADLINE_S)
    stats = under_test.stats()
    assert (stats.accepted, stats.duplicates, stats.refused, stats.lines) == (1, 1, {"conflict": 1}, 1)
    assert (stats.commits, stats.conservation_error_us, stats.full, stats.queued) == (1, 0, 0, 0)
    assert stats.commit_seconds > 0


def test_a_collector_that_dies_between_commit_and_answer_bills_nothing_twice(engine: Engine) -> None:
    """I4: the agent never heard of the commit and sends again, to a new collector."""
    group = all_received(minutes(20))
    Committer(engine, UTC, None).commit(group[:15], NOW_US)  # and dies here
    answers = Answers()
    under_test = Writer(Committer(engine, UTC, None), lambda: NOW_US, 100)
    under_test.start()
    for each in group:
        assert under_test.submit(each, answers)
    assert answers.wait_for(20) == [DUPLICATE] * 15 + [ACCEPTED] * 5
    assert under_test.close(DEADLINE_S)
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(schema.line)).scalar_one() == 20
        used = connection.execute(select(schema.namespace_total.c.used_us)).scalar_one()
    assert used == 20 * 45_000_000


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("statement", ['INSERT INTO "owner"', "SELECT nextval", 'INSERT INTO "namespace_total"'])
def test_a_connection_that_is_cut_in_a_transaction_costs_nothing(
    engine: Engine, database_url: str, statement: str
) -> None:
    """Before the COPY, so that it meets a dead connection, and at the end: the group is tried again, whole."""
    answers, cut = Answers(), threading.Event()
    other = open_database(database_url)

    def cut_once(connection: Connection, _cursor: object, sql: str, *_rest: object) -> None:
        if sql.startswith(statement) and not cut.is_set():
            cut.set()
            process = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
            with writing(other) as killer:
                killer.execute(select(func.pg_terminate_backend(process, 10_000)))

    event.listen(engine, "after_cursor_execute", cut_once)
    under_test = Writer(Committer(engine, UTC, None), lambda: NOW_US, 100)
    for each in all_received(minutes(20)):
        assert under_test.submit(each, answers)
    under_test.start()
    assert answers.wait_for(20) == [ACCEPTED] * 20
    assert under_test.close(DEADLINE_S)
    assert cut.is_set()
    assert under_test.stats().failures == 1
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(schema.line)).scalar_one() == 20
        used = connection.execute(select(schema.namespace_total.c.used_us)).scalar_one()
    assert used == 20 * 45_000_000
    other.dispose()
