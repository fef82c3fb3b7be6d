"""Sums of months: any answer is the same with them and without them, and none stays when one of its days is opened."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from threading import Event
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, func, select, text, update
from sqlalchemy.exc import OperationalError
from tests.collector.test_days import MOMENTS  # the clocks change within the first month
from tests.databases import empty
from tests.histories import Labelled
from tests.windows import START_US, all_received, histories, window

from gputally.accounting.ledger_hour import HOUR_US, hour_start, to_us
from gputally.accounting.line import Window
from gputally.collector.allocation.allocation import allocate
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, QueryError, Scope, Spread
from gputally.collector.allocation.steps import Step
from gputally.collector.database.engine import is_sqlite, open_database, reading, writing
from gputally.collector.database.schema_day import namespace_day, posting_day, summed_day
from gputally.collector.database.schema_month import SUMS, namespace_month, summed_month
from gputally.collector.days.calendar import Month, month_of
from gputally.collector.days.locks import lock_months
from gputally.collector.days.months import drop_months, next_to_sum, sum_month
from gputally.collector.days.seal import next_to_seal
from gputally.collector.days.upkeep import Days
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.content_hash import ledger_hash
from gputally.collector.ledger.postings import settle
from gputally.collector.ledger.retention import Policy, Retention
from gputally.collector.statement.month import parse_month
from gputally.collector.statement.read import read_statement

UTC = ZoneInfo("UTC")
DAY_US = 24 * HOUR_US
JULY, AUGUST, SEPTEMBER = (to_us(datetime(2026, month, 1, tzinfo=UTC)) for month in (7, 8, 9))
CARD = """\
version: 1
currency: EUR
models: {h100: [NVIDIA H100 80GB HBM3]}
prices:
  - {match: {model: h100}, valid_from: 2026-01-01, per_gpu_hour: 3.30}
  - {match: {model: h100}, valid_from: "%s", per_gpu_hour: 2.70}
%s
energy:
  - {valid_from: 2026-01-01, per_kwh: 0.31, pue: 1.3}
"""
BY_TEAM = "  - {match: {model: h100, team: finders}, valid_from: 2026-01-01, per_gpu_hour: 1.10}"
ANY = st.sampled_from
questions = st.fixed_dictionaries(
    {
        "by": st.lists(ANY([By.NAMESPACE, By.TEAM, By.MODEL, By.CLUSTER, By.STATE, By.POD]), max_size=2).map(tuple),
        "step": ANY([None, None, Step.MONTH, Step.DAY]),
        "where": ANY(["", "", 'namespace:"search"', 'team:"finders"', 'kind:"pod"']).map(parse_filter),
        "spread": ANY([Spread.NONE, Spread.NONE, Spread.PROPORTIONAL]),
        "scope": ANY([Scope(), Scope(), Scope(frozenset({"search"})), Scope(None, frozenset({"east"}))]),
    }
)


def book(engine: Engine, windows: Sequence[Window], zone: ZoneInfo = UTC) -> None:
    now_us = max(window.end_us for window in windows) + HOUR_US
    Committer(engine, zone, max_age_us=None).commit(all_received(windows), now_us=now_us)
    settle(engine, zone)


def keep_up(engine: Engine, zone: ZoneInfo, now_us: int) -> None:
    """Turns until all is done."""
    days, done = Days(engine, zone, lambda: now_us), False
    while not done:
        days.turn()
        with reading(engine) as connection:
            done = next_to_seal(connection, now_us) is None and next_to_sum(connection, zone, now_us) is None


def summed(engine: Engine) -> list[int]:
    """Where the months begin that are summed."""
    with reading(engine) as connection:
        return list(connection.scalars(select(summed_month.c.month_us).order_by("month_us")))


def forget(engine: Engine) -> None:
    """As if no month had ever been summed."""
    with writing(engine) as connection:
        for table in (summed_month, namespace_month):
            connection.execute(delete(table))


def asked(engine: Engine, zone: ZoneInfo, query: Query) -> object:
    try:
        found = allocate(engine, zone, query)
    except QueryError as error:
        return str(error)
    return found.rows, found.amounts, found.money, found.everything, found.currency, found.ground


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    windows=histories(most=8),
    late=histories(most=1),
    days=st.lists(ANY([0, 1, 9, 10, 28, 31, 32, 40]), min_size=1, max_size=5),
    zone=ANY(sorted(MOMENTS)),
    change=ANY([0, 5, 24 * 9 + 1, 24 * 31, 24 * 80]),
    by_team=st.booleans(),
    cut=st.tuples(ANY([0, 0, 3, 30]), ANY([31, 62, 70])),
    several=st.lists(questions, min_size=2, max_size=2),
)
def test_every_answer_is_the_same_with_months_and_without(
    engine: Engine,
    windows: list[Window],
    late: list[Window],
    days: list[int],
    zone: str,
    change: int,
    by_team: bool,
    cut: tuple[int, int],
    several: list[dict[str, object]],
) -> None:
    """To the hash: with prices and teams that change in a month or beside it, before and after a day is opened."""
    empty(engine)
    billing, start_us = ZoneInfo(zone), MOMENTS[zone]
    moved = [on_day(one, days[at % len(days)], start_us) for at, one in enumerate(windows)]
    book(engine, moved, billing)
    change_us = hour_start(start_us + change * HOUR_US, billing)
    at = datetime.fromtimestamp(change_us / 1e6, UTC).isoformat()
    apply_file(engine, Kind.RATES, (CARD % (at, BY_TEAM if by_team else "")).encode(), "ann@laptop", 1)
    cluster = Labelled(engine, zone=billing)
    cluster.namespace(start_us - DAY_US, "search", team="finders")
    cluster.namespace(change_us, "search", team="engines")
    cluster.namespace(change_us + 2 * HOUR_US, "vision", team="finders")
    keep_up(engine, billing, start_us + 100 * DAY_US)
    assert {month_of(one.start_us, billing).start_us for one in moved} <= set(summed(engine))
    first_us = month_of(start_us, billing).start_us
    edges = [hour_start(first_us + day * DAY_US, billing) for day in cut]
    periods = [Period(*edges), Period(*month_of(moved[0].start_us, billing))]
    queries = [Query(period, billing, **one) for period in periods for one in several]  # type: ignore[arg-type]
    for _ in range(2):
        with_months = [asked(engine, billing, query) for query in queries]
        before = summed(engine)
        forget(engine)
        assert [asked(engine, billing, query) for query in queries] == with_months
        keep_up(engine, billing, start_us + 100 * DAY_US)
        assert set(before) <= set(summed(engine))
        book(engine, [on_day(one, days[0], start_us + HOUR_US) for one in late], billing)


def on_day(one: Window, day: int, start_us: int) -> Window:
    """The window on another day, of a node of that day: for one that is silent for weeks each hour would be booked."""
    by_us = day * DAY_US + start_us - START_US
    return replace(one, node=f"{one.node}-{start_us}-{day}", start_us=one.start_us + by_us, end_us=one.end_us + by_us)


@pytest.fixture
def ledger(engine: Engine) -> Engine:
    """Two months that are over, each with two days; the first began before its first window."""
    times = (JULY + 9 * DAY_US, JULY + 11 * DAY_US, AUGUST, SEPTEMBER - HOUR_US)
    book(engine, [window(node=f"node-{at}", start_us=us) for at, us in enumerate(times)])
    return engine


def test_a_month_that_is_over_is_read_from_its_own_sums(ledger: Engine) -> None:
    keep_up(ledger, UTC, SEPTEMBER)
    query = Query(Period(JULY, SEPTEMBER), UTC, (By.NAMESPACE,), Step.MONTH)
    found = asked(ledger, UTC, query)
    month = parse_month("2026-08", UTC)
    statement = read_statement(ledger, UTC, month).statement
    with writing(ledger) as connection:
        connection.execute(delete(namespace_day))
    assert asked(ledger, UTC, query) == found
    assert read_statement(ledger, UTC, month).statement == statement


def test_a_month_is_made_however_large_the_hashes_of_its_days_are(ledger: Engine) -> None:
    """Of a fleet of short pods in one namespace there are more rows in a month than a column holds hashes of."""
    keep_up(ledger, UTC, AUGUST)
    forget(ledger)
    with writing(ledger) as connection:
        connection.execute(update(namespace_day).values(hash=2**63 - 1 - namespace_day.c.day_us))
        hashes = connection.scalars(select(namespace_day.c.hash)).all()
    keep_up(ledger, UTC, AUGUST)
    assert (summed(ledger), len(hashes)) == ([JULY], 2)
    found = allocate(ledger, UTC, Query(Period(JULY, AUGUST), UTC))
    assert found.ground.ledger_hash == ledger_hash(hashes) != ledger_hash(hashes[1:])


def test_months_are_summed_one_in_a_turn_the_newest_first_and_none_that_runs(ledger: Engine) -> None:
    keep_up(ledger, UTC, SEPTEMBER - 1)
    assert summed(ledger) == [JULY]
    keep_up(ledger, UTC, SEPTEMBER)
    assert summed(ledger) == [JULY, AUGUST]
    forget(ledger)
    days = Days(ledger, UTC, lambda: SEPTEMBER)
    for expected in ([AUGUST], [JULY, AUGUST], [JULY, AUGUST]):
        days.turn()
        assert summed(ledger) == expected


@pytest.mark.parametrize("late_us", [JULY + 9 * DAY_US + HOUR_US, JULY + 20 * DAY_US])
def test_what_comes_late_takes_its_month_away_until_the_day_is_sealed_again(ledger: Engine, late_us: int) -> None:
    """On a day that is sealed, and on one that had nothing."""
    keep_up(ledger, UTC, SEPTEMBER)
    Committer(ledger, UTC, max_age_us=None).commit(all_received([window(node="b", start_us=late_us)]), SEPTEMBER)
    assert summed(ledger) == [JULY, AUGUST]  # as all answers, which say what waits
    settle(ledger, UTC)
    assert summed(ledger) == [AUGUST]
    with reading(ledger) as connection:
        assert set(connection.scalars(select(namespace_month.c.month_us))) == {AUGUST}
    keep_up(ledger, UTC, SEPTEMBER)
    assert summed(ledger) == [JULY, AUGUST]


def test_no_month_is_made_of_days_some_of_whose_postings_are_not_summed(ledger: Engine) -> None:
    """As in a ledger of an earlier version, whose days are summed one after the other."""
    keep_up(ledger, UTC, SEPTEMBER)
    month = Month(JULY, AUGUST)
    for table in (summed_day, namespace_day, posting_day):
        with writing(ledger) as connection:
            drop_months(connection, [JULY])
            connection.execute(delete(table).where(table.c.day_us == JULY + 9 * DAY_US))
            sum_month(connection, month)
        assert summed(ledger) == [AUGUST]
    keep_up(ledger, UTC, SEPTEMBER)
    assert summed(ledger) == [JULY, AUGUST]


def test_a_month_goes_with_the_first_of_its_days_that_is_too_old(ledger: Engine) -> None:
    keep_up(ledger, UTC, SEPTEMBER)
    policy = Policy(lines_us=DAY_US, posting_months=1, quarantine_us=DAY_US, quarantine_bytes=1)
    retention = Retention(ledger, UTC, policy, lambda: SEPTEMBER + HOUR_US)
    for _ in range(4):
        retention.turn()
        assert summed(ledger) == [AUGUST]
        Days(ledger, UTC, lambda: SEPTEMBER + HOUR_US).turn()


def test_who_makes_a_month_and_who_opens_a_day_of_it_wait_for_each_other(engine: Engine) -> None:
    if is_sqlite(engine):
        pytest.skip("SQLite has one writer at a time anyway")
    with writing(engine) as one, writing(engine) as other:
        lock_months(one)
        other.execute(text("SET LOCAL lock_timeout = 1"))
        with pytest.raises(OperationalError, match="lock"), other.begin_nested():
            sum_month(other, Month(JULY, AUGUST))
        with pytest.raises(OperationalError, match="lock"), other.begin_nested():
            drop_months(other, [JULY])


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_a_month_that_is_there_is_the_sum_of_its_days_whoever_opens_and_seals_them_at_once(
    database_url: str, ledger: Engine
) -> None:
    keep_up(ledger, UTC, SEPTEMBER)
    days = [first_us + day * DAY_US for first_us in (JULY, AUGUST) for day in range(9, 21)]
    late = [window(node=f"late-{us}", start_us=us) for us in days[::2] + days[::-2]]
    over = Event()

    def book_half(half: int) -> None:
        with replica(database_url) as mine:
            for at in range(half, len(late), 2):
                book(mine, [late[at]])

    def keep() -> None:
        with replica(database_url) as mine:
            turns = Days(mine, UTC, lambda: SEPTEMBER)
            while not over.is_set():
                turns.turn()
                with reading(mine) as connection:
                    check(connection)

    with ThreadPoolExecutor(4) as pool:
        keepers = [pool.submit(keep) for _ in range(2)]
        try:
            for writer in [pool.submit(book_half, half) for half in (0, 1)]:
                writer.result()
        finally:
            over.set()
        for keeper in keepers:
            keeper.result()
    keep_up(ledger, UTC, SEPTEMBER)
    assert summed(ledger) == [JULY, AUGUST]
    with reading(ledger) as connection:
        check(connection)


@contextmanager
def replica(database_url: str) -> Iterator[Engine]:
    """An engine of a collector's own."""
    engine = open_database(database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def check(connection: Connection) -> None:
    """That each month that is summed has what its days have, and all of them are sealed."""
    for month_us, end_us in connection.execute(select(summed_month)).all():
        of_month = summed_day.c.day_us >= month_us, summed_day.c.day_us < end_us
        assert set(connection.scalars(select(summed_day.c.sealed).where(*of_month))) == {1}
        of_days = namespace_day.c.day_us >= month_us, namespace_day.c.day_us < end_us
        of_itself = (namespace_month.c.month_us == month_us,)
        assert told(connection, namespace_month, of_itself) == told(connection, namespace_day, of_days)


def told(connection: Connection, table: Table, where: Sequence[ColumnElement[bool]]) -> object:
    """What a table has of each place, but for its edges."""
    sums = [func.sum(table.c[name]) for name in SUMS[2:]]
    return set(connection.execute(select(table.c.place_id, *sums).where(*where).group_by(table.c.place_id)).all())
