"""Postings: always the sum of their lines, hour by hour in the billing time zone, whoever recomputes them and when."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, tzinfo
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select, text, update
from tests.databases import empty
from tests.gap_model import gap_lines
from tests.unkept import faults
from tests.windows import MINUTE_US, START_US, all_received, device, histories, minutes, pod, reserved, window

from gputally.accounting.ledger_hour import hour_start, to_us
from gputally.accounting.line import Line, Window
from gputally.accounting.states import Source
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.schema import AMOUNTS, MEMOS, dirty_hour, line, posting
from gputally.collector.ingest.admission import Verdict
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger import postings
from gputally.collector.ledger.postings import catch_up, dump, pending, settle

NOW_US = START_US + 36_000 * MINUTE_US
HOUR_US = 60 * MINUTE_US
modest = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def commit(engine: Engine, windows: Sequence[Window], zone: tzinfo = UTC) -> None:
    """Have the windows accepted, all of them."""
    outcomes = Committer(engine, zone, None).commit(all_received(windows), NOW_US)
    assert {outcome.verdict for outcome in outcomes} <= {Verdict.ACCEPTED}


def waiting(engine: Engine) -> int:
    """How many pairs of hour and node wait."""
    with reading(engine) as connection:
        return pending(connection)


def dumped(engine: Engine) -> list[tuple[Any, ...]]:
    """The ledger by names."""
    with reading(engine) as connection:
        return dump(connection)


def hours_of(engine: Engine) -> list[tuple[int, int]]:
    """Per hour, the time that its postings say was used, where there is any."""
    with reading(engine) as connection:
        rows = connection.execute(select(posting.c.hour_us, posting.c.used_us).where(posting.c.used_us > 0))
        return sorted((hour_us, used_us) for hour_us, used_us in rows)


def expected(windows: Sequence[Window], zone: tzinfo, booked_until_us: int = 0) -> list[tuple[Any, ...]]:
    """The ledger as the rules say it: lines added up by name, one at a time, and then the gaps between windows."""
    sums: dict[tuple[Any, ...], tuple[Source, list[int | None]]] = {}
    gaps: Counter[tuple[Any, ...]] = Counter()
    for content in windows:
        for part in content.devices:
            for row in part.lines:
                place = (hour_start(content.start_us, zone), content.cluster, content.node, part.uuid, part.model)
                key = (*place, *_names(row, part.profiles.get(row.key.partition, "")))
                source, amounts = sums.get(key, (Source.NONE, [None] * len((*AMOUNTS, *MEMOS))))
                sums[key] = source.least_certain(row.source), _added(amounts, row)
    for gap in gap_lines(windows, zone, booked_until_us):
        place = (gap.hour_us, gap.cluster, gap.node, gap.uuid, gap.model)
        key = (*place, *_names(gap.line, gap.profile))
        source, amounts = sums.get(key, (Source.NONE, [None] * len((*AMOUNTS, *MEMOS))))
        sums[key] = source, _added(amounts, gap.line)
        gaps[key] += gap.line.capacity_us
    rows = [(*key, source.value, *amounts, gaps[key]) for key, (source, amounts) in sums.items()]
    return sorted(rows, key=lambda row: tuple(str(value) for value in row))


def _names(row: Line, profile: str) -> tuple[Any, ...]:
    owner = row.key.owner
    who = (owner.kind.value, owner.namespace, owner.pod, owner.container)
    rest = (owner.pod_uid, owner.first_seen_us, owner.user, owner.unit)
    return (row.key.partition, *who, *rest, profile, row.key.basis.value, row.key.reason.value)


def _added(amounts: list[int | None], row: Line) -> list[int | None]:
    quality = row.quality
    figures = (
        [quality.measured_us, quality.sm_us, quality.occupancy_us, quality.tensor_us, quality.dram_us]
        if quality
        else 5 * [None]
    )
    more = [*(getattr(row, name) for name in AMOUNTS), row.memory_byte_s, *figures]
    return [b if a is None else a if b is None else a + b for a, b in zip(amounts, more, strict=True)]


@modest
@given(histories(), st.sampled_from(["UTC", "Asia/Kolkata", "Europe/Berlin"]))
def test_postings_are_the_sums_of_their_lines(engine: Engine, windows: list[Window], name: str) -> None:
    """I7, against a ledger that is added up one line after another; unknown energy stays unknown."""
    zone = ZoneInfo(name)
    empty(engine)
    commit(engine, windows, zone)
    settle(engine, zone)
    assert waiting(engine) == 0
    assert dumped(engine) == expected(windows, zone)


@modest
@given(histories(), st.integers(0, 12))
def test_late_lines_are_added_by_recomputing(engine: Engine, windows: list[Window], cut: int) -> None:
    """Settling between two groups changes nothing in the end (I4), and settling again changes nothing at all."""
    empty(engine)
    for group in (windows[:cut], windows[cut:]):
        if group:
            commit(engine, group)
        settle(engine, UTC)
    assert settle(engine, UTC) == 0
    assert dumped(engine) == expected(windows, UTC)


def test_only_hours_with_new_lines_are_recomputed(engine: Engine) -> None:
    """The pairs are counted: one per hour and node."""
    commit(engine, minutes(61) + minutes(1, node="b"))
    assert waiting(engine) == 3
    assert settle(engine, UTC) == 3
    commit(engine, minutes(1, first_us=START_US + 70 * MINUTE_US))
    assert settle(engine, UTC) == 1
    assert hours_of(engine) == [
        (START_US, 45_000_000),
        (START_US, 60 * 45_000_000),
        (START_US + HOUR_US, 2 * 45_000_000),
    ]


def test_a_limit_leaves_the_older_hours_for_later(engine: Engine) -> None:
    """The newest hour is what people look at while a month is filled in."""
    commit(engine, [window(start_us=START_US + at * HOUR_US) for at in range(5)])
    assert settle(engine, UTC, limit=2) == 2
    assert [hour for hour, _ in hours_of(engine)] == [START_US + 3 * HOUR_US, START_US + 4 * HOUR_US]
    assert waiting(engine) == 3
    assert settle(engine, UTC, limit=0) == 0


def test_more_pairs_than_one_transaction_takes(engine: Engine) -> None:
    """A back-filled month is settled in one call."""
    windows = [window(start_us=START_US + at * HOUR_US, node=node) for at in range(75) for node in "ab"]
    commit(engine, windows)
    assert settle(engine, UTC) == 150
    assert dumped(engine) == expected(windows, UTC)


def test_each_pair_is_done_once_although_lines_keep_arriving(engine: Engine) -> None:
    """Otherwise a busy collector's settlement would never end."""
    commit(engine, minutes(1))
    arriving = iter(minutes(5, first_us=START_US + MINUTE_US))
    committing = False

    def more_arrives(_connection: object) -> None:
        nonlocal committing
        if not committing:  # it opens a connection itself
            committing = True
            commit(engine, [next(arriving)])
            committing = False

    event.listen(engine, "engine_connect", more_arrives)
    assert settle(engine, UTC) == 1
    event.remove(engine, "engine_connect", more_arrives)
    assert waiting(engine) == 1


def test_the_source_is_the_least_certain_of_what_was_measured(engine: Engine) -> None:
    """In the order of the rules; `none` only where nothing of it was measured."""
    for at, first in enumerate(Source):
        for offset, second in enumerate(Source):
            pair = [_line(source, at, offset) for source in (first, second)]
            start_us = START_US + (at * len(Source) + offset) * HOUR_US
            parts = [device(row) for row in pair]
            commit(engine, [window(part, start_us=start_us + n * MINUTE_US) for n, part in enumerate(parts)])
    settle(engine, UTC)
    with reading(engine) as connection:
        measured = select(posting.c.source).where(posting.c.gap_us.is_(None)).order_by(posting.c.hour_us)
        found = connection.execute(measured).scalars().all()
    assert found == [first.least_certain(second).value for first in Source for second in Source]


def _line(source: Source, at: int, offset: int) -> Line:
    return Line(reserved(pod(name=f"p{at}-{offset}"), 0, 0).key, source, used_us=1)


def test_disjoint_hours_are_posted_apart(engine: Engine) -> None:
    """I5 rests on it: a window is in one hour, and the hours' sums are the whole."""
    windows = minutes(180)
    commit(engine, windows)
    settle(engine, UTC)
    assert hours_of(engine) == [(START_US + at * HOUR_US, 60 * 45_000_000) for at in range(3)]


def test_hours_of_kolkata_begin_at_half_past(engine: Engine) -> None:
    """The billing day of the zone is made of whole ledger hours."""
    zone = ZoneInfo("Asia/Kolkata")
    commit(engine, minutes(60), zone)
    settle(engine, zone)
    half = HOUR_US // 2
    assert hours_of(engine) == [(START_US - half, 30 * 45_000_000), (START_US + half, 30 * 45_000_000)]


def test_the_night_when_lord_howe_puts_its_clocks_back(engine: Engine) -> None:
    """Half an hour is repeated: the pieces are 60, 30 and 60 minutes long, and nothing is lost between them."""
    zone = ZoneInfo("Australia/Lord_Howe")
    first_us = to_us(datetime(2026, 4, 4, 14, tzinfo=UTC))
    commit(engine, minutes(150, first_us=first_us), zone)
    settle(engine, zone)
    assert [used // 45_000_000 for _, used in hours_of(engine)] == [60, 30, 60]


def test_two_ledgers_with_other_ids_have_the_same_dump(engine: Engine) -> None:
    """Names, not ids: the order in which things were first seen leaves no trace."""
    windows = minutes(2) + minutes(2, node="b")
    commit(engine, windows)
    settle(engine, UTC)
    first = dumped(engine)
    empty(engine)
    commit(engine, windows[::-1])
    settle(engine, UTC)
    assert dumped(engine) == first != []


def test_two_replicas_share_the_work(database_url: str) -> None:
    """Each pair is recomputed by one of them, and none is left."""
    engine = open_database(database_url)
    windows = [window(start_us=START_US + at * HOUR_US, node=node) for at in range(40) for node in "abc"]
    commit(engine, windows)
    together = threading.Barrier(2)
    done: list[int] = []

    def replica() -> None:
        mine = open_database(database_url)
        together.wait(60)
        done.append(settle(mine, UTC))
        mine.dispose()

    _run_together(replica, replica)
    assert len(done) == 2
    assert sum(done) == 120
    assert dumped(engine) == expected(windows, UTC)
    with reading(engine) as connection:
        assert faults(connection) == []
    engine.dispose()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_a_mark_is_not_taken_away_from_lines_that_are_being_committed(database_url: str, engine: Engine) -> None:
    """The mark stands already when the writer comes; settling must not see the mark without the lines."""
    commit(engine, minutes(1))
    writer = open_database(database_url)
    late = minutes(1, first_us=START_US + MINUTE_US)
    with _paused_before(writer, 'INSERT INTO "namespace_total"', lambda: commit(writer, late)):
        assert settle(engine, UTC) == 1
        assert waiting(engine) == 1
    assert settle(engine, UTC) == 1
    assert dumped(engine) == expected([*minutes(1), *late], UTC)
    writer.dispose()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("statement", "waits"), [("INSERT INTO posting_day", False), ("DELETE FROM dirty_hour", True)])
def test_lines_that_arrive_while_their_hour_is_recomputed_mark_it_again(
    database_url: str, engine: Engine, statement: str, waits: bool
) -> None:
    """While lines are summed the writer changes the mark, and it stays; once it is being taken away the writer waits,
    and sets it anew."""
    commit(engine, minutes(1))
    late = minutes(1, first_us=START_US + MINUTE_US)
    settler = open_database(database_url)
    writing_late = threading.Thread(target=commit, args=(engine, late))
    settle(settler, UTC)
    commit(engine, minutes(1, first_us=START_US + 2 * MINUTE_US))
    with _paused_before(settler, statement, lambda: settle(settler, UTC)):
        writing_late.start()
        if waits:
            _wait_until_somebody_waits(database_url)
        else:
            writing_late.join(60)
        assert writing_late.is_alive() == waits
    writing_late.join(60)
    assert settle(engine, UTC) == 1
    assert dumped(engine) == expected([*minutes(1), *late, *minutes(1, first_us=START_US + 2 * MINUTE_US)], UTC)
    settler.dispose()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_mark_of_the_version_before_is_not_taken_away_from_its_lines(database_url: str, engine: Engine) -> None:
    """Its replicas go on until the last has ended: they write the mark, and do not count."""
    commit(engine, minutes(1))
    settler = open_database(database_url)
    with _paused_before(settler, "INSERT INTO posting_day", lambda: settle(settler, UTC)), writing(engine) as late:
        late.execute(update(dirty_hour).values(hour_us=dirty_hour.c.hour_us))
    assert waiting(engine) == 1
    settler.dispose()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite has one writer at a time
@pytest.mark.parametrize("fails", [False, True])
def test_a_reader_waits_for_hours_that_another_replica_is_recomputing(
    database_url: str, engine: Engine, fails: bool
) -> None:
    """What was committed is in the answer: an hour that is taken is waited for, and done here if the other failed."""
    commit(engine, minutes(3))
    other = open_database(database_url)
    reader = threading.Thread(target=catch_up, args=(engine, UTC))

    def settle_or_fail() -> None:
        with suppress(_Killed):
            settle(other, UTC)

    def kill(_c: object, _cursor: object, sql: str, *_rest: object) -> None:
        if fails and sql.startswith("DELETE FROM dirty_hour"):
            raise _Killed

    event.listen(other, "after_cursor_execute", kill)
    with _paused_before(other, "DELETE FROM dirty_hour", settle_or_fail):
        reader.start()
        _wait_until_somebody_waits(database_url)
        assert reader.is_alive()
    reader.join(60)
    assert dumped(engine) == expected(minutes(3), UTC)
    assert waiting(engine) == 0
    other.dispose()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_reader_does_not_wait_for_ever(database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that froze holds its hours; the answer then says that they are pending."""
    monkeypatch.setattr(postings, "_WAIT_S", 0.1)
    commit(engine, minutes(3))
    other = open_database(database_url)
    with _paused_before(other, "DELETE FROM dirty_hour", lambda: settle(other, UTC)):
        catch_up(engine, UTC)
        assert waiting(engine) == 1
    other.dispose()


class _Killed(Exception):
    """A replica that ends in the middle of its work."""


def _wait_until_somebody_waits(database_url: str) -> None:
    """Until a session of this database waits for a lock of another."""
    watcher = open_database(database_url)
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    until_s, found = monotonic() + 60, 0
    while not found and monotonic() < until_s:
        with reading(watcher) as connection:
            found = connection.execute(query).scalar_one()
    watcher.dispose()
    assert found


@contextmanager
def _paused_before(engine: Engine, statement: str, act: Callable[[], object]) -> Iterator[None]:
    """Run `act` in a thread up to a statement of this engine; the block runs while it stands there."""
    reached, go_on = threading.Event(), threading.Event()

    def pause(_c: object, _cursor: object, sql: str, *_rest: object) -> None:
        if sql.startswith(statement):
            reached.set()
            assert go_on.wait(90)

    event.listen(engine, "before_cursor_execute", pause)
    thread = threading.Thread(target=act)
    thread.start()
    try:
        assert reached.wait(60)
        yield
    finally:
        go_on.set()
        thread.join(60)
        event.remove(engine, "before_cursor_execute", pause)


def _run_together(*tasks: Callable[[], None]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_settling_keeps_the_lines(engine: Engine) -> None:
    """They are what everything is recomputed from."""
    commit(engine, minutes(3))
    settle(engine, UTC)
    with reading(engine) as connection:
        assert len(connection.execute(select(line)).all()) == 3
        assert connection.execute(select(dirty_hour)).all() == []
