"""What is forgotten, and what is not: hours that wait, windows beside gaps, and everything that is billed from."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from threading import Barrier, Thread
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, Table, delete, func, insert, select
from tests.unkept import faults
from tests.watched_pods import learn
from tests.windows import MINUTE_US, START_US, all_received, device, minutes, pod, received, reserved, window

from gputally.accounting.keys import Holding
from gputally.accounting.line import Window
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.schema import dirty_hour, line, node, posting, quarantine, window_device
from gputally.collector.database.schema import window as window_table
from gputally.collector.database.schema_billing import node_presence
from gputally.collector.database.schema_gaps import gap
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.ingest.admission import ACCEPTED, Refusal, RefusalReason
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import dump, settle
from gputally.collector.ledger.retention import Policy, Removed, Retention
from gputally.collector.ledger.silence import book_silence

DAY_US = 86_400_000_000
HOUR_US = 60 * MINUTE_US
KEEP = Policy(lines_us=14 * DAY_US, posting_months=25, quarantine_us=90 * DAY_US, quarantine_bytes=1 << 20)
PAST_US = START_US + 15 * DAY_US  # when the first day's lines are past their time


def commit(engine: Engine, windows: Sequence[Window], now_us: int = START_US + DAY_US) -> None:
    """Have the windows accepted, all of them."""
    outcomes = Committer(engine, UTC, 14 * DAY_US).commit(all_received(windows), now_us)
    assert outcomes == [ACCEPTED] * len(windows)


def forget(engine: Engine, now_us: int, policy: Policy = KEEP) -> Removed:
    """Turns until nothing more is due."""
    retention = Retention(engine, UTC, policy, lambda: now_us)
    for _ in range(8):
        retention.turn()
    return retention.removed


def count(engine: Engine, table: Table) -> int:
    """Rows of a table."""
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def dumped(engine: Engine) -> list[tuple[Any, ...]]:
    """The ledger by names."""
    with reading(engine) as connection:
        return dump(connection)


def test_lines_go_after_their_days_and_postings_stay(engine: Engine) -> None:
    """The hour that is still within its days stays whole."""
    commit(engine, minutes(5) + minutes(5, first_us=PAST_US - 14 * DAY_US), PAST_US - DAY_US)
    settle(engine, UTC)
    before = dumped(engine)
    assert forget(engine, PAST_US).windows == 4
    assert (count(engine, line), count(engine, posting)) == (5, len(before))
    assert dumped(engine) == before
    assert forget(engine, PAST_US) == Removed()


def test_what_a_gap_lies_between_stays_without_its_lines(engine: Engine) -> None:
    """A device that returns after the retention is billed by what was known when it left."""
    held = replace(
        device(reserved(pod(), MINUTE_US, 0)), end_holders=(Holding(pod()),), start_holders=(Holding(pod()),)
    )
    commit(engine, [window(held)])
    settle(engine, UTC)
    forget(engine, PAST_US)
    assert (count(engine, window_table), count(engine, window_device), count(engine, line)) == (1, 1, 0)
    commit(engine, [window(held, start_us=PAST_US)], PAST_US)
    settle(engine, UTC)
    with reading(engine) as connection:
        booked = connection.execute(select(func.min(posting.c.hour_us)).where(posting.c.gap_us > 0)).scalar_one()
        assert booked == START_US + DAY_US
        assert connection.execute(select(func.sum(posting.c.gap_us))).scalar_one() == 14 * DAY_US


def test_nothing_of_an_hour_that_waits_is_deleted(engine: Engine) -> None:
    """Else its postings would be recomputed from nothing."""
    commit(engine, minutes(5))
    assert forget(engine, PAST_US).windows == 0
    settle(engine, UTC)
    assert forget(engine, PAST_US).windows == 4


def test_a_mark_on_an_hour_without_lines_changes_nothing(engine: Engine) -> None:
    """Whoever set it: the postings are all that is left of the hour."""
    commit(engine, minutes(5))
    settle(engine, UTC)
    before = dumped(engine)
    forget(engine, PAST_US)
    with writing(engine) as connection:
        connection.execute(insert(dirty_hour).values(hour_us=START_US, node_id=1))
    assert settle(engine, UTC) == 1
    assert dumped(engine) == before
    assert count(engine, dirty_hour) == 0


@pytest.mark.parametrize("lines_us", [30 * DAY_US, None])
def test_a_window_of_an_hour_that_is_closed_for_good_is_refused(engine: Engine, lines_us: int | None) -> None:
    """Lines are kept for longer since a restart, or on another replica: accepted, it would never be booked."""
    commit(engine, [*minutes(1), *minutes(1, first_us=START_US + DAY_US)])
    settle(engine, UTC)
    forget(engine, PAST_US)
    before = dumped(engine)
    late = received(window(start_us=START_US + 5 * MINUTE_US))
    (outcome,) = Committer(engine, UTC, lines_us).commit([late], PAST_US)
    assert outcome.refusal is not None
    assert outcome.refusal.reason is RefusalReason.TOO_OLD
    settle(engine, UTC)
    assert (dumped(engine), count(engine, quarantine)) == (before, 1)


def test_gaps_that_end_before_the_lines_begin_are_forgotten(engine: Engine) -> None:
    """They cannot change any more; the gap that reaches further stays."""
    commit(engine, [window(start_us=START_US + at * MINUTE_US) for at in (0, 2, 4, 6)])
    assert count(engine, gap) == 5
    settle(engine, UTC)
    forget(engine, PAST_US)
    assert count(engine, gap) == 1


def test_where_a_device_went_is_known_for_as_long_as_its_silence_lasts(engine: Engine) -> None:
    """It stands in another node that is still watched: else, once lines are gone, it would be silent here again."""
    commit(engine, [window(), window(node="node-b", start_us=START_US + HOUR_US)])
    there = {"cluster": "east", "node": "node-a", "from_us": 1, "uid": "u"}
    with writing(engine) as connection:
        connection.execute(insert(node_presence).values(there))
    settle(engine, UTC)
    for days in (1, 16, 17):
        book_silence(engine, UTC, START_US + days * DAY_US, DAY_US)
        settle(engine, UTC)
        forget(engine, START_US + days * DAY_US)
    silent = select(func.sum(posting.c.gap_us)).join(node).where(node.c.name == "node-a")
    with reading(engine) as connection:
        assert connection.execute(silent).scalar_one() == HOUR_US - MINUTE_US


def test_zero_days_keep_lines_for_ever(engine: Engine) -> None:
    commit(engine, minutes(5))
    settle(engine, UTC)
    assert forget(engine, START_US + 1000 * DAY_US, replace(KEEP, lines_us=None)).windows == 0


def test_many_windows_go_in_small_transactions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gputally.collector.ledger.retention._WINDOWS", 7)
    commit(engine, minutes(59) + minutes(59, node="b"))
    settle(engine, UTC)
    assert forget(engine, PAST_US).windows == 2 * 58


def test_two_replicas_may_do_it_at_once(database_url: str) -> None:
    """Each window is deleted by one of them."""
    engine = open_database(database_url)
    nodes = [f"node-{at}" for at in range(12)]
    commit(engine, [each for node in nodes for each in minutes(20, node=node)])
    settle(engine, UTC)
    together = Barrier(2)
    removed: list[int] = []

    def replica() -> None:
        mine = open_database(database_url)
        together.wait(60)
        removed.append(forget(mine, PAST_US).windows)
        mine.dispose()

    threads = [Thread(target=replica) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(removed) == 12 * 19
    with reading(engine) as connection:
        assert faults(connection) == []
    engine.dispose()


def test_postings_go_after_their_months(engine: Engine) -> None:
    """Whole months of the billing time zone, an hour in a turn."""
    for start_us in (START_US, START_US + 31 * DAY_US):
        commit(engine, [window(start_us=start_us)], start_us)
    settle(engine, UTC)
    with writing(engine) as connection:
        connection.execute(delete(posting).where(posting.c.gap_us > 0))
    zone = ZoneInfo("Europe/Berlin")
    policy = replace(KEEP, lines_us=None, posting_months=2)
    # July's first hour in UTC is the third of July in Berlin, and July is kept to the end of September.
    end_of_september = START_US + (92 * 24 - 2) * HOUR_US
    assert Retention(engine, zone, policy, lambda: end_of_september - 1).turn().postings == 0
    retention = Retention(engine, zone, policy, lambda: end_of_september)
    assert [retention.turn().postings for _ in range(3)] == [1, 0, 0]


def test_whose_work_a_pod_was_goes_with_its_postings(engine: Engine) -> None:
    """A pod that is still there, or was in a month that is kept, stays known."""
    commit(engine, [window()], START_US)
    settle(engine, UTC)
    september_us = START_US + 62 * DAY_US
    learn(engine, "old", "Job/x", seen_us=START_US)
    learn(engine, "kept", "Job/x", seen_us=september_us - 1)
    policy = replace(KEEP, lines_us=None, posting_months=1)
    assert Retention(engine, UTC, policy, lambda: september_us - 1).turn().postings == 0
    assert count(engine, pod_workload) == 2
    assert Retention(engine, UTC, policy, lambda: september_us).turn().postings == 1
    assert count(engine, pod_workload) == 1


def refuse(engine: Engine, windows: int, received_us: int = START_US) -> int:
    """Quarantine so many windows; how many bytes one has."""
    refusal = Refusal(RefusalReason.CLOCK, "the clock is off")
    group = [
        replace(received(window(start_us=START_US + at * MINUTE_US), refusal=refusal), received_us=received_us + at)
        for at in range(windows)
    ]
    Committer(engine, UTC, None).commit(group, received_us)
    return len(group[0].message)


def test_refused_windows_go_after_their_days(engine: Engine) -> None:
    refuse(engine, 3)
    assert forget(engine, START_US + 90 * DAY_US + 2).quarantined == 2
    assert count(engine, quarantine) == 1


def test_refused_windows_are_bounded_by_bytes_the_oldest_first(engine: Engine) -> None:
    """A node with a broken clock cannot fill the disk."""
    size = refuse(engine, 10)
    assert forget(engine, START_US, replace(KEEP, quarantine_bytes=4 * size + size // 2)).quarantined == 6
    with reading(engine) as connection:
        assert connection.execute(select(func.min(quarantine.c.received_us))).scalar_one() == START_US + 6
