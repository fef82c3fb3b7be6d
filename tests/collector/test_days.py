"""Sums of days: any answer is the same from them and from postings, whatever arrived when, and whoever sums."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select, text
from sqlalchemy.exc import OperationalError
from tests.databases import empty
from tests.histories import Labelled
from tests.windows import START_US, all_received, histories, minutes, window

from gputally.accounting.ledger_hour import HOUR_US, hour_start, to_us
from gputally.accounting.line import Window
from gputally.accounting.states import State
from gputally.collector.allocation.allocation import Allocation, allocate
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, QueryError, Scope, Spread
from gputally.collector.allocation.steps import Step
from gputally.collector.database.engine import is_sqlite, reading, writing
from gputally.collector.database.schema_day import namespace_day, place, posting_day, summed_day
from gputally.collector.database.schema_month import namespace_month, summed_month
from gputally.collector.days.calendar import day_of
from gputally.collector.days.locks import lock_day, share_day
from gputally.collector.days.upkeep import Days
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.statement.month import parse_month
from gputally.collector.statement.read import read_statement

UTC = ZoneInfo("UTC")
DAY_US = 24 * HOUR_US
TABLES = (summed_month, namespace_month, summed_day, namespace_day, posting_day, place)
# A day has 24, 23 or 25 hours there, or begins at half past in UTC.
MOMENTS = {
    "UTC": START_US,
    "Asia/Kolkata": START_US,
    "Europe/Berlin": to_us(datetime(2026, 10, 24, 1, tzinfo=UTC)),
    "Australia/Lord_Howe": to_us(datetime(2026, 10, 2, 15, tzinfo=UTC)),
}
CARD = """\
version: 1
currency: EUR
models: {h100: [NVIDIA H100 80GB HBM3]}
prices:
  - {match: {model: h100}, valid_from: 2026-01-01, per_gpu_hour: 3.30}
  - {match: {model: h100}, valid_from: "%s", per_gpu_hour: 2.70}
  - {match: {model: h100, team: finders}, valid_from: 2026-01-01, per_gpu_hour: 1.10}
%s
energy:
  - {valid_from: 2026-01-01, per_kwh: 0.31, pue: 1.3}
"""
BY_LABEL = "  - {match: {node_labels: {zone: b}}, valid_from: 2026-01-01, per_gpu_hour: 1.70}"
questions = st.fixed_dictionaries(
    {
        "by": st.lists(st.sampled_from(list(By)), max_size=3).map(tuple),
        "step": st.sampled_from([None, None, Step.DAY, Step.HOUR]),
        "where": st.sampled_from(
            [
                "",
                "",
                'namespace:"search"',
                'namespace!:"vision"+kind:"pod"',
                'team:"finders"',
                'pod<~:"train"',
                'source:"gpm"',
            ]
        ).map(parse_filter),
        "states": st.sampled_from([tuple(State), (State.USED, State.IDLE)]),
        "spread": st.sampled_from([Spread.NONE, Spread.NONE, Spread.PROPORTIONAL]),
        "scope": st.sampled_from([Scope(), Scope(), Scope(frozenset({"search"})), Scope(None, frozenset({"east"}))]),
    }
)


def book(engine: Engine, windows: Sequence[Window], zone: ZoneInfo = UTC) -> None:
    now_us = max(window.end_us for window in windows) + HOUR_US
    Committer(engine, zone, max_age_us=None).commit(all_received(windows), now_us=now_us)


def keep_up(engine: Engine, zone: ZoneInfo, now_us: int, turns: int = 8) -> None:
    days = Days(engine, zone, lambda: now_us)
    for _ in range(turns):
        days.turn()


def forget(engine: Engine) -> None:
    """As if no day had ever been summed."""
    with writing(engine) as connection:
        for table in TABLES:
            connection.execute(delete(table))


def sealed(engine: Engine) -> list[int]:
    """Of each summed day whether it is sealed, the oldest first."""
    with reading(engine) as connection:
        return list(connection.scalars(select(summed_day.c.sealed).order_by(summed_day.c.day_us)))


def dumped(engine: Engine) -> list[list[tuple[object, ...]]]:
    """All sums; of places by their names."""
    with reading(engine) as connection:
        named = select(namespace_day, place).join(place, place.c.id == namespace_day.c.place_id)
        tables = [select(posting_day), named, select(summed_day)]
        rows = [[tuple(row._mapping.items()) for row in connection.execute(table)] for table in tables]
    ids = ("id", "place_id", "id_1")
    return [sorted((tuple(pair for pair in row if pair[0] not in ids) for row in of), key=str) for of in rows]


def told(found: Allocation) -> object:
    return sorted(found.rows, key=str), found.amounts, found.money, found.everything, found.currency


def asked(engine: Engine, zone: ZoneInfo, query: Query) -> object:
    try:
        return told(allocate(engine, zone, query))
    except QueryError as error:
        return str(error)


def spread_over_days(windows: Sequence[Window], days: Sequence[int], start_us: int) -> list[Window]:
    """The windows on other days: the same time of day, so that those of a node do not overlap."""
    moved = []
    for at, one in enumerate(windows):
        later_us = days[at % len(days)] * DAY_US + start_us - START_US
        moved.append(replace(one, start_us=one.start_us + later_us, end_us=one.end_us + later_us))
    return moved


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    windows=histories(most=8),
    days=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    zone=st.sampled_from(sorted(MOMENTS)),
    change=st.integers(0, 80),
    by_label=st.booleans(),
    cut=st.tuples(st.integers(0, 30), st.integers(40, 100)),
    several=st.lists(questions, min_size=3, max_size=3),
)
def test_every_answer_is_the_same_from_sums_and_from_postings(
    engine: Engine,
    windows: list[Window],
    days: list[int],
    zone: str,
    change: int,
    by_label: bool,
    cut: tuple[int, int],
    several: list[dict[str, object]],
) -> None:
    """With prices, teams and labels of nodes that change at any hour, and periods that begin at any."""
    empty(engine)
    billing, start_us = ZoneInfo(zone), MOMENTS[zone]
    book(engine, spread_over_days(windows, days, start_us), billing)
    change_us, first_us = hour_start(start_us + change * HOUR_US, billing), day_of(start_us, billing).start_us
    at = datetime.fromtimestamp(change_us / 1e6, UTC).isoformat()
    apply_file(engine, Kind.RATES, (CARD % (at, BY_LABEL if by_label else "")).encode(), "ann@laptop", 1)
    cluster = Labelled(engine, zone=billing)
    cluster.namespace(start_us - DAY_US, "search", team="finders")
    cluster.namespace(change_us, "search", team="engines")
    cluster.namespace(change_us + 2 * HOUR_US, "vision", team="finders")
    cluster.node(start_us - DAY_US, "a", zone="a")
    cluster.node(change_us, "a", zone="b")
    settle(engine, billing)
    keep_up(engine, billing, start_us + 3 * DAY_US)
    edges = [hour_start(first_us + hours * HOUR_US, billing) for hours in (0, 96, *cut)]
    periods = [Period(*edges[:2]), Period(*edges[2:])]
    queries = [Query(period, billing, **one) for period in periods for one in several]  # type: ignore[arg-type]
    from_sums = [asked(engine, billing, query) for query in queries]
    forget(engine)
    assert [asked(engine, billing, query) for query in queries] == from_sums


def test_what_comes_late_opens_a_day_again(engine: Engine) -> None:
    book(engine, [window(), window(start_us=START_US + DAY_US)])
    settle(engine, UTC)
    keep_up(engine, UTC, START_US + 2 * DAY_US)
    assert sealed(engine)[:2] == [1, 1]
    book(engine, [window(start_us=START_US + 5 * HOUR_US)])
    settle(engine, UTC)
    assert sealed(engine)[:2] == [0, 1]
    month = Query(Period(START_US, START_US + 31 * DAY_US), UTC, (By.NAMESPACE,))
    found = told(allocate(engine, UTC, month))
    keep_up(engine, UTC, START_US + 2 * DAY_US)
    assert sealed(engine)[:2] == [1, 1]
    assert told(allocate(engine, UTC, month)) == found


def test_a_day_that_runs_is_not_sealed_and_one_that_waits_to_be_settled_neither(engine: Engine) -> None:
    book(engine, [window()])
    settle(engine, UTC)
    keep_up(engine, UTC, START_US + DAY_US - 1)
    assert sealed(engine) == [0]
    book(engine, [window(start_us=START_US + HOUR_US)])
    keep_up(engine, UTC, START_US + 2 * DAY_US)
    assert sealed(engine) == [0]


def test_days_that_an_earlier_version_has_booked_are_summed_one_in_a_turn_the_newest_first(engine: Engine) -> None:
    book(engine, [window(start_us=START_US + day * DAY_US) for day in range(3)])
    settle(engine, UTC)
    keep_up(engine, UTC, START_US + 9 * DAY_US)
    before = dumped(engine)
    forget(engine)
    days = Days(engine, UTC, lambda: START_US + 9 * DAY_US)
    newest = select(func.min(summed_day.c.day_us))
    for left in (2, 1, 0, 0):
        days.turn()
        with reading(engine) as connection:
            assert connection.execute(newest).scalar_one() == START_US + left * DAY_US
    keep_up(engine, UTC, START_US + 9 * DAY_US)
    assert dumped(engine) == before


def test_a_day_without_sums_is_summed_whole_when_one_of_its_hours_is_settled(engine: Engine) -> None:
    """Other hours and nodes of it, too: a row for the day means all of it."""
    book(engine, [window(), window(node="node-b", start_us=START_US + 3 * HOUR_US)])
    settle(engine, UTC)
    forget(engine)
    late = window(start_us=START_US + 7 * HOUR_US)
    book(engine, [late])
    settle(engine, UTC)
    before = dumped(engine)
    forget(engine)
    keep_up(engine, UTC, START_US)
    assert dumped(engine) == before


def test_the_hash_of_a_ledger_stays_when_its_days_are_sealed(engine: Engine) -> None:
    book(engine, minutes(3))
    month = Query(Period(START_US, START_US + 31 * DAY_US), UTC)
    before = allocate(engine, UTC, month).ground
    keep_up(engine, UTC, START_US + 3 * DAY_US)
    assert allocate(engine, UTC, month).ground == before
    assert allocate(engine, UTC, replace(month, by=(By.SOURCE, By.POD))).ground == before


def test_a_statement_is_the_same_from_sums_and_from_postings(engine: Engine) -> None:
    """A namespace that is another's from the middle of a day on, and was there before."""
    book(engine, [*minutes(3), *minutes(3, first_us=START_US + 20 * HOUR_US)])
    apply_file(engine, Kind.RATES, (CARD % ("2026-07-01T20:00:00Z", BY_LABEL)).encode(), "ann@laptop", 1)
    cluster = Labelled(engine)
    cluster.namespace(START_US - DAY_US, "search", team="finders")
    cluster.namespace(START_US + 4 * HOUR_US, "search", team="engines")
    cluster.node(START_US + 6 * HOUR_US, "node-a", zone="b")
    settle(engine, UTC)
    keep_up(engine, UTC, START_US + 3 * DAY_US)
    month = parse_month("2026-07", UTC)
    found = read_statement(engine, UTC, month).statement
    assert len(found.items) > 3
    assert found.workloads
    forget(engine)
    assert read_statement(engine, UTC, month).statement == found


def test_who_makes_a_day_anew_and_who_recomputes_a_part_wait_for_each_other(engine: Engine) -> None:
    if is_sqlite(engine):
        pytest.skip("SQLite has one writer at a time anyway")
    with writing(engine) as one, writing(engine) as other:
        share_day(one, START_US)
        share_day(other, START_US)
        lock_day(other, START_US + DAY_US)
        other.execute(text("SET LOCAL lock_timeout = 1"))
        with pytest.raises(OperationalError, match="lock"), other.begin_nested():
            lock_day(other, START_US)
