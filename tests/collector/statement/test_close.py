"""Closing: refused while something is open, in order, once; what is late corrects; what was frozen is watched over."""

import threading
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, select, update
from tests.statements import (
    AUGUST,
    CARD,
    EVERYTHING,
    JULY,
    LATER_US,
    UTC,
    apply,
    book,
    close,
    cost_of,
    lines_of,
    month_of,
    renderings,
)
from tests.windows import MINUTE_US, START_US, all_received, device, pod, reserved, unallocated, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.collector.allocation.period import Period
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.schema import dirty_hour, posting
from gputally.collector.database.schema_statement import statement, statement_line
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger import postings
from gputally.collector.ledger.state import State, write_state
from gputally.collector.statement import close as close_module
from gputally.collector.statement.close import Allowance, NotClosed, Request, close_month
from gputally.collector.statement.content import read_open
from gputally.collector.statement.month import following, parse_month
from gputally.collector.statement.read import Tampered, read_differences, read_statement
from gputally.collector.statement.register import ZoneChanged, closed_months, status_of

AUGUST_US = AUGUST.start_us
LATE_JULY_US = AUGUST_US - 3 * HOUR_US  # all hours between two windows of a node are recomputed: here a few


def used(start_us: int = START_US, model: str = "NVIDIA H100 80GB HBM3", node: str = "node-a") -> Window:
    """A minute that the namespace search used."""
    return window(device(reserved(pod(), MINUTE_US, 0, energy_mj=90_000), model=model), node=node, start_us=start_us)


def refused(engine: Engine, *allow: Allowance, month: object = JULY, now_us: int | None = None) -> str:
    with pytest.raises(NotClosed) as error:
        close(engine, month, allow=allow, now_us=now_us)  # type: ignore[arg-type]
    return str(error.value)


def test_a_month_that_is_not_over_stays_open(engine: Engine) -> None:
    book(engine, [used()])
    apply(engine)
    assert "is not over: it ends at 2026-08-01" in refused(engine, *EVERYTHING, now_us=JULY.end_us - 1)


def test_unpriced_time_keeps_a_month_open_and_what_was_allowed_is_recorded(engine: Engine) -> None:
    book(engine, [used(), used(model="NVIDIA L4", node="node-b")])
    apply(engine)
    assert refused(engine) == "unpriced: 0.0 GPU-hours of NVIDIA L4 (--allow-unpriced closes all the same)"
    close(engine, allow=[Allowance.UNPRICED, Allowance.DIRTY])
    closing = read_statement(engine, UTC, JULY).statement.closing
    assert closing is not None
    assert closing.allowed == ("unpriced",)


def test_silent_nodes_that_are_not_booked_keep_a_month_open(engine: Engine) -> None:
    book(engine, [used()])
    apply(engine)
    with writing(engine) as connection:
        write_state(connection, State(booked_until_us=JULY.end_us - 1))
    assert "the time of silent nodes is booked only until 2026-07-31T23:59:59" in refused(engine)
    with writing(engine) as connection:
        write_state(connection, State(booked_until_us=JULY.end_us))
    close(engine, allow=[])


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_hours_that_another_replica_is_recomputing_keep_a_month_open(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, and where it does not end the month is not frozen without what it recomputes."""
    monkeypatch.setattr(postings, "_WAIT_S", 0.1)
    apply(engine)
    book(engine, [used()])
    Committer(engine, UTC, max_age_us=None).commit(all_received([used(START_US + HOUR_US)]), now_us=LATER_US)
    other = open_database(database_url)
    with writing(other) as connection:
        connection.execute(select(dirty_hour).with_for_update())
        assert " hours of nodes wait to be recomputed" in refused(engine)
    assert close(engine, allow=[]).month == "2026-07"
    other.dispose()


def test_hours_of_closed_months_that_wait_keep_the_next_one_open(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What corrects them belongs into it."""
    apply(engine)
    book(engine, [used(LATE_JULY_US), used(AUGUST_US)])
    close(engine, allow=[])
    Committer(engine, UTC, max_age_us=None).commit(all_received([used(LATE_JULY_US + HOUR_US)]), now_us=LATER_US)
    with monkeypatch.context() as patched:
        patched.setattr(close_module, "catch_up", lambda *_: None)
        assert " hours of nodes in closed months wait to be recomputed" in refused(engine, month=AUGUST)
    close(engine, AUGUST, allow=[])
    assert any(item.key.corrects for item in read_statement(engine, UTC, AUGUST).statement.items)


def test_months_are_closed_once_and_in_order(engine: Engine) -> None:
    book(engine, [used(LATE_JULY_US), used(AUGUST_US)])
    apply(engine)
    close(engine)
    assert "2026-07 is closed already" in refused(engine, *EVERYTHING)
    assert "2026-08 is next" in refused(engine, *EVERYTHING, month=parse_month("2026-09", UTC))
    close(engine, AUGUST)
    with reading(engine) as connection:
        assert [one.month for one in closed_months(connection)] == ["2026-07", "2026-08"]


def test_of_two_closes_at_once_one_closes(engine: Engine) -> None:
    book(engine, [used(START_US + at * MINUTE_US) for at in range(20)])
    apply(engine)
    together, found = threading.Barrier(2), []

    def run() -> None:
        together.wait(60)
        try:
            found.append(close(engine).content_hash)
        except NotClosed as error:
            found.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    hashes = [text for text in found if "closed already" not in text]
    assert (len(found), len(hashes)) == (2, 1)
    with reading(engine) as connection:
        assert [one.content_hash for one in closed_months(connection)] == hashes


def test_late_usage_corrects_its_hour_in_the_next_month_at_the_price_of_its_time(engine: Engine) -> None:
    book(engine, [used()])
    apply(engine)
    close(engine)
    apply(engine, card=CARD.replace("3.337", "99"), at_us=JULY.end_us + 48 * HOUR_US)
    book(engine, [used(START_US + 5 * MINUTE_US, node="node-b")])
    (late,) = lines_of(engine, AUGUST)
    assert (late.hour_us, late.amounts.used_us, late.terms.price) == (START_US, MINUTE_US, 3_337_000_000)
    items = read_open(engine, UTC, AUGUST).items
    assert {item.key.corrects for item in items} == {"2026-07"}
    assert sum(item.cost or 0 for item in items) == cost_of([late])
    assert lines_of(engine, following(AUGUST, UTC)) == []  # only the next month takes them


def test_time_that_was_booked_to_the_wrong_owner_is_taken_back(engine: Engine) -> None:
    """A gap that was nobody's is the holder's once its window comes: one line below 0, and one above."""
    held = window(device(reserved(pod(), MINUTE_US, 0)), start_us=START_US)
    after = window(device(reserved(pod("vision"), MINUTE_US, 0)), start_us=START_US + 2 * MINUTE_US)
    book(engine, [held, after])
    apply(engine)
    close(engine)
    between = window(device(reserved(pod("vision"), MINUTE_US, 0)), start_us=START_US + MINUTE_US)
    book(engine, [between])
    found = {(line.holding.kind, line.amounts.unobserved_us): line.amounts.used_us for line in lines_of(engine, AUGUST)}
    assert found == {("platform", -MINUTE_US): 0, ("pod", 0): MINUTE_US}
    assert sum(line.amounts.capacity_us for line in lines_of(engine, AUGUST)) == 0
    assert [line.hour_us for line in read_differences(engine, UTC, JULY)[1]] == [START_US] * 2


def test_postings_that_are_deleted_by_age_correct_nothing(engine: Engine) -> None:
    book(engine, [used(), used(START_US + 3 * HOUR_US)])
    apply(engine)
    close(engine)
    with writing(engine) as connection:
        connection.execute(posting.delete().where(posting.c.hour_us == START_US))
    assert lines_of(engine, AUGUST) == []
    with writing(engine) as connection:
        connection.execute(posting.delete())
    assert lines_of(engine, AUGUST) == []


def test_hours_that_were_final_at_the_last_close_are_not_read_again(engine: Engine) -> None:
    """A month is not compared for ever: what could not change any more when its corrections were frozen is skipped."""
    book(engine, [used()])
    apply(engine)
    with writing(engine) as connection:
        write_state(connection, State(lines_from_us=START_US + HOUR_US))
    close(engine)
    with writing(engine) as connection:
        connection.execute(update(posting).values(used_us=1))
    assert lines_of(engine, AUGUST) == []
    assert len(read_differences(engine, UTC, JULY)[1]) == 1  # but whoever asks is told


def test_a_price_that_changes_after_the_close_changes_nothing(engine: Engine) -> None:
    book(engine, [used()])
    apply(engine)
    close(engine)
    before = renderings(engine)
    apply(engine, card=CARD.replace("3.337", "99"), at_us=JULY.end_us + 48 * HOUR_US)
    assert renderings(engine) == before
    assert lines_of(engine, AUGUST) == []


def test_what_was_frozen_is_not_shown_once_somebody_changed_it(engine: Engine) -> None:
    book(engine, [used()])
    apply(engine)
    close(engine)
    with writing(engine) as connection:
        connection.execute(update(statement_line).values(used_us=1))
    with pytest.raises(Tampered, match="lines"):
        read_differences(engine, UTC, JULY)
    with writing(engine) as connection:
        connection.execute(update(statement).values(document="{}"))
    with pytest.raises(Tampered, match="not the one that was frozen"):
        read_statement(engine, UTC, JULY)


def test_a_failed_close_leaves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    book(engine, [used()])
    apply(engine)

    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("gputally.collector.statement.close._keep", fail)
    with pytest.raises(OSError, match="no"):
        close(engine)
    with reading(engine) as connection:
        assert connection.execute(statement_line.select()).all() == []


def test_months_closed_in_another_zone_are_named(engine: Engine) -> None:
    book(engine, [used()])
    apply(engine)
    close(engine)
    berlin = ZoneInfo("Europe/Berlin")
    with pytest.raises(ZoneChanged, match="--timezone UTC"):
        close_month(engine, berlin, Request(month_of(AUGUST_US, berlin), "me", AUGUST.end_us * 2))


def test_a_period_is_open_closed_or_partly_closed(engine: Engine) -> None:
    book(engine, [used(LATE_JULY_US), window(device(unallocated(MINUTE_US)), start_us=AUGUST_US)])
    apply(engine)
    close(engine)
    periods = {
        "closed": Period(START_US, START_US + HOUR_US),
        "partly-closed": Period(START_US, AUGUST.end_us),
        "open": AUGUST.period,
    }
    with reading(engine) as connection:
        for status, period in periods.items():
            assert status_of(connection, period) == status
