"""Committing windows: once and whole, whatever is repeated, reordered, cut or sent to two replicas at once."""

import random
import threading
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text, update
from tests.databases import empty
from tests.unkept import faults
from tests.windows import (
    MINUTE_US,
    START_US,
    all_received,
    device,
    histories,
    minutes,
    pod,
    received,
    reserved,
    unallocated,
    window,
)

from gputally.accounting.line import Window
from gputally.collector.database import schema
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.ingest import validity
from gputally.collector.ingest.admission import Outcome, Received, Refusal, RefusalReason, Verdict
from gputally.collector.ingest.columns import WindowColumns
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import dump, settle

NOW_US = START_US + 3600 * MINUTE_US
modest = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def committer(engine: Engine, max_age_us: int | None = None) -> Committer:
    """A committer of a deployment that bills in UTC."""
    return Committer(engine, UTC, max_age_us)


def verdicts(outcomes: Sequence[Outcome]) -> list[str]:
    """The verdicts as text, or the reason of a refusal."""
    return [outcome.refusal.reason.value if outcome.refusal else outcome.verdict.value for outcome in outcomes]


def commit(engine: Engine, group: Sequence[Received]) -> list[str]:
    """The verdicts of one group, committed by a collector that has just started."""
    return verdicts(committer(engine).commit(group, NOW_US))


def count(engine: Engine, table: Any) -> int:
    """The number of a table's rows."""
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def rows(engine: Engine, *columns: Any) -> list[tuple[Any, ...]]:
    """These columns of all rows, sorted."""
    with reading(engine) as connection:
        return sorted(tuple(row) for row in connection.execute(select(*columns)))


def ledger(engine: Engine) -> list[tuple[Any, ...]]:
    """The settled ledger, and the totals with it."""
    settle(engine, UTC)
    with reading(engine) as connection:
        totals = [tuple(row) for row in connection.execute(select(schema.namespace_total))]
        return dump(connection) + sorted(totals, key=str)


def total_of_lines(engine: Engine) -> list[tuple[Any, ...]]:
    """All lines summed by what the totals are kept by."""
    key = (schema.node.c.cluster, schema.owner.c.kind, schema.owner.c.namespace, schema.device.c.model)
    sums = (func.sum(schema.line.c[name]) for name in schema.AMOUNTS)
    joined = schema.line.join(schema.window).join(schema.node)
    joined = joined.join(schema.device, schema.device.c.id == schema.line.c.device_id).join(schema.owner)
    with reading(engine) as connection:
        found = connection.execute(select(*key, *sums).select_from(joined).group_by(*key))
        return sorted((tuple(row) for row in found), key=str)


def test_a_window_is_stored_with_all_that_it_says(engine: Engine) -> None:
    """Head, devices and lines, value by value; an energy that is unknown is NULL, not 0."""
    known = device(reserved(pod(), 45, 15, energy_mj=9), uuid="GPU-0")
    unknown = device(reserved(pod("vision", "serve-1"), 1, 2, burst_us=4), unallocated(57), uuid="GPU-1")
    content = window(known, unknown)
    assert commit(engine, [received(content, sequence=7)]) == ["accepted"]
    head = schema.window.c
    assert rows(engine, head.start_us, head.end_us, head.agent_id, head.sequence, head.accepted_us) == [
        (content.start_us, content.end_us, "agent-of-node-a", 7, NOW_US)
    ]
    part = schema.window_device.c
    assert rows(engine, part.capacity_us, part.energy_breaks) == [(60, 0), (60, 1)]
    line = schema.line.c
    stored = rows(engine, line.position, line.used_us, line.idle_us, line.unallocated_us, line.burst_us)
    assert stored == [(0, 45, 15, 0, 0), (1, 1, 2, 0, 4), (2, 0, 0, 57, 0)]
    assert rows(engine, line.position, line.energy_dynamic_mj) == [(0, 9), (1, None), (2, None)]
    assert rows(engine, line.basis, line.source, line.partition)[0] == ("", "none", "gpu")


def test_a_window_without_devices_is_accepted(engine: Engine) -> None:
    """The agent was there and saw no GPU: that is a statement too."""
    assert commit(engine, [received(Window("east", "a", START_US, START_US + 1, ()))]) == ["accepted"]


def test_a_device_may_have_no_lines(engine: Engine) -> None:
    """A device that took no time in the window is known all the same."""
    assert commit(engine, [received(window(device()))]) == ["accepted"]
    assert count(engine, schema.window_device) == 1


def test_the_same_bytes_again_are_acknowledged_and_nothing_is_written(engine: Engine) -> None:
    """In the same group, in the next one, and after a restart of the collector."""
    group = all_received(minutes(3))
    writer = committer(engine)
    assert verdicts(writer.commit([*group, group[0]], NOW_US)) == ["accepted"] * 3 + ["duplicate"]
    before = ledger(engine)
    assert verdicts(writer.commit(group, NOW_US)) == ["duplicate"] * 3
    assert commit(engine, group[::-1]) == ["duplicate"] * 3
    assert count(engine, schema.dirty_hour) == 0
    assert count(engine, schema.quarantine) == 0
    assert ledger(engine) == before


def test_another_content_for_the_same_start_is_a_conflict(engine: Engine) -> None:
    """The first stays, the second is kept in quarantine with its bytes."""
    first, second = received(window(), sequence=1), received(window(), sequence=2)
    assert commit(engine, [first, second]) == ["accepted", "conflict"]
    assert commit(engine, [second, first]) == ["conflict", "duplicate"]
    aside = schema.quarantine.c
    assert rows(engine, aside.cluster, aside.node, aside.start_us, aside.reason, aside.message) == [
        ("east", "node-a", START_US, "conflict", second.message)
    ]


@pytest.mark.parametrize("shift_us", [-1, 1, MINUTE_US - 1, 1 - MINUTE_US])
def test_overlap_with_an_accepted_window_of_the_node_is_a_conflict(engine: Engine, shift_us: int) -> None:
    """One node name used twice would bill the same time twice."""
    start_us = START_US + 10 * MINUTE_US
    other = received(window(start_us=start_us + shift_us))
    assert commit(engine, [received(window(start_us=start_us))]) == ["accepted"]
    assert commit(engine, [other]) == ["conflict"]


def test_windows_may_touch_and_other_nodes_may_share_their_time(engine: Engine) -> None:
    """Only an overlap on one node of one cluster is a conflict."""
    group = [
        window(start_us=START_US + MINUTE_US),
        window(start_us=START_US),
        window(start_us=START_US, node="node-b"),
        window(start_us=START_US, cluster="west"),
    ]
    assert commit(engine, all_received(group)) == ["accepted"] * 4


def test_a_window_that_breaks_a_rule_is_quarantined_once_and_the_rest_of_its_group_accepted(engine: Engine) -> None:
    """Its agent cannot make it right: it is kept for people, and acknowledged as refused."""
    bad = received(window(start_us=START_US + MINUTE_US, length_us=MINUTE_US + 1))
    good = received(window())
    assert commit(engine, [bad, good, bad]) == ["invalid", "accepted", "invalid"]
    assert commit(engine, [bad]) == ["invalid"]
    assert rows(engine, schema.quarantine.c.reason, schema.quarantine.c.message) == [("invalid", bad.message)]


def test_names_that_no_column_can_hold_are_quarantined_too(engine: Engine) -> None:
    """A NUL in a name must not keep the writer from everybody else's windows."""
    bad = received(window(node="a\0b"))
    assert commit(engine, [bad]) == ["invalid"]
    assert rows(engine, schema.quarantine.c.node) == [("a\ufffdb",)]


def test_what_is_older_than_the_kept_lines_is_quarantined(engine: Engine) -> None:
    """Its hour could not be recomputed; but a repeated old window was accepted in its time."""
    old, older = all_received(minutes(2)[::-1])
    writer = committer(engine, max_age_us=MINUTE_US)
    assert verdicts(writer.commit([old], old.window.end_us)) == ["accepted"]
    assert verdicts(writer.commit([old, older], old.window.end_us + 2 * MINUTE_US)) == ["duplicate", "too-old"]
    assert rows(engine, schema.quarantine.c.reason) == [("too-old",)]


def test_what_the_edge_refused_is_quarantined_unless_it_was_accepted_before(engine: Engine) -> None:
    """The clock is judged where the arrival is known; the ledger knows whether it matters."""
    refusal = Refusal(RefusalReason.CLOCK, "the clock is 400 s off")
    first, second = minutes(2)
    assert commit(engine, [received(first)]) == ["accepted"]
    assert commit(engine, [received(first, refusal=refusal), received(second, refusal=refusal)]) == [
        "duplicate",
        "clock",
    ]
    assert rows(engine, schema.quarantine.c.reason, schema.quarantine.c.detail) == [("clock", "the clock is 400 s off")]


def test_bytes_that_could_not_be_read_are_quarantined(engine: Engine) -> None:
    """The edge hands them over with what their head says, and without devices."""
    head = WindowColumns("east", "a", START_US, START_US + MINUTE_US)
    refusal = Refusal(RefusalReason.INVALID, "column used_us has 1 value for 2 lines")
    assert commit(engine, [Received(b"broken", head, "", "", 0, NOW_US, refusal)]) == ["invalid"]
    assert rows(engine, schema.quarantine.c.message) == [(b"broken",)]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite refuses no number
def test_values_that_the_database_refuses_cost_only_their_own_window(engine: Engine) -> None:
    """A total that would overflow stops neither the group nor the writer."""
    assert commit(engine, [received(window())]) == ["accepted"]
    with writing(engine) as connection:
        connection.execute(update(schema.namespace_total).values(used_us=2**63 - 1))
    other = window(device(reserved(pod("vision"), 1, 1)), start_us=START_US + 2 * MINUTE_US)
    assert commit(engine, all_received([window(start_us=START_US + MINUTE_US), other])) == ["invalid", "accepted"]
    assert rows(engine, schema.quarantine.c.detail)[0][0].startswith("the database refuses its values")


def test_sums_that_no_column_holds_cost_only_their_own_windows(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of one group may add up to more than a number of 8 bytes; SQLite's driver has an error of its own for
    it, which must not end the writer."""
    monkeypatch.setattr(validity, "MAX_AMOUNT", 2**62)  # in the place of a hundred thousand lines
    huge = [
        window(device(reserved(pod(), 1, 1, memory_byte_s=2**62)), start_us=START_US + at * MINUTE_US) for at in (0, 1)
    ]
    other = window(device(reserved(pod("vision"), 1, 1)), start_us=START_US + 2 * MINUTE_US)
    first, _, last = commit(engine, all_received([*huge, other]))
    assert (first, last) == ("accepted", "accepted")


def test_totals_know_the_difference_between_unknown_and_0(engine: Engine) -> None:
    """None + x = x, None + None = None, and 0 is a value."""
    total = schema.namespace_total.c
    for at, (energy, expected) in enumerate([(None, None), (0, 0), (None, 0), (7, 7), (None, 7)]):
        content = window(device(reserved(pod(), 1, 1, energy_mj=energy)), start_us=START_US + at * MINUTE_US)
        assert commit(engine, [received(content)]) == ["accepted"]
        assert rows(engine, total.used_us, total.energy_dynamic_mj) == [(at + 1, expected)]
        assert rows(engine, total.energy_idle_mj) == [(None,)]


def test_a_group_that_fails_leaves_nothing_and_can_be_committed_again(engine: Engine) -> None:
    """The ids that it made are not taken for granted afterwards."""
    writer = committer(engine)
    group = all_received(minutes(3))
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE namespace_total RENAME TO gone"))
    with pytest.raises(Exception, match="namespace_total"):
        writer.commit(group, NOW_US)
    for table in (schema.window, schema.line, schema.owner, schema.node):
        assert count(engine, table) == 0
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO namespace_total"))
    assert commit(engine, all_received(minutes(1, node="other"))) == ["accepted"]  # takes the ids that were free again
    assert verdicts(writer.commit(group, NOW_US)) == ["accepted"] * 3
    assert rows(engine, schema.node.c.name) == [("node-a",), ("other",)]
    assert total_of_lines(engine) == rows(engine, *schema.namespace_total.c)


def test_ids_of_a_server_that_is_gone_are_not_used_on_the_one_in_its_place(engine: Engine) -> None:
    """A standby may lack the last commits. The names are made anew there, since no foreign key would tell."""
    writer = committer(engine)
    group = all_received(minutes(2))
    assert verdicts(writer.commit(group[:1], NOW_US)) == ["accepted"]
    with writing(engine) as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    assert verdicts(writer.commit(group, NOW_US)) == ["accepted"] * 2
    assert total_of_lines(engine) == rows(engine, *schema.namespace_total.c) != []


@modest
@given(histories(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_replay_order_and_repetition_leave_the_same_ledger(
    engine: Engine, windows: list[Window], chance: random.Random, size: int
) -> None:
    """I4: one group in order; then shuffled, doubled and cut into groups by collectors that restart between them."""
    group = all_received(windows)
    empty(engine)
    assert set(commit(engine, group)) == {"accepted"}
    expected = ledger(engine)
    empty(engine)
    again = [*group, *chance.sample(group, chance.randint(0, len(group)))]
    chance.shuffle(again)
    for at in range(0, len(again), size):
        assert set(commit(engine, again[at : at + size])) <= {"accepted", "duplicate"}
        if chance.random() < 0.3:
            settle(engine, UTC)
    assert ledger(engine) == expected


@modest
@given(histories())
def test_totals_equal_the_sums_of_the_lines(engine: Engine, windows: list[Window]) -> None:
    """In the same transaction: there is no moment at which they differ."""
    empty(engine)
    for each in all_received(windows):
        commit(engine, [each])
        assert rows_by_text(engine) == total_of_lines(engine)


def rows_by_text(engine: Engine) -> list[tuple[Any, ...]]:
    """The totals in the order of `total_of_lines`."""
    with reading(engine) as connection:
        return sorted((tuple(row) for row in connection.execute(select(schema.namespace_total))), key=str)


def test_two_replicas_at_once_accept_every_window_once(database_url: str) -> None:
    """Both get all windows, in different orders and groups; none is counted twice, none fails."""
    group = all_received([content for node in ("a", "b", "c") for content in minutes(30, node)])
    shuffled = random.Random(7).sample(group, len(group))
    together = threading.Barrier(2)
    counted: list[str] = []

    def replica(mine: list[Received], size: int) -> None:
        engine = open_database(database_url)
        writer = committer(engine)
        together.wait(60)
        for at in range(0, len(mine), size):
            counted.extend(verdicts(writer.commit(mine[at : at + size], NOW_US)))
            settle(engine, UTC, limit=1)
        engine.dispose()

    threads = [threading.Thread(target=replica, args=mine) for mine in ((group, 4), (shuffled, 7))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(counted) == ["accepted"] * 90 + ["duplicate"] * 90
    engine = open_database(database_url)
    settle(engine, UTC)
    used, posted = schema.line.c.used_us, schema.posting.c.used_us
    assert sum(us for (us,) in rows(engine, used)) == sum(us for (us,) in rows(engine, posted)) == 90 * 45_000_000
    assert rows_by_text(engine) == total_of_lines(engine)
    with reading(engine) as connection:
        assert faults(connection) == []
    engine.dispose()


def test_two_replicas_never_accept_windows_that_overlap(database_url: str) -> None:
    """They start at different instants, so no unique key would catch them: the node's lock does."""
    starts = [START_US + at * MINUTE_US for at in range(20)]
    together = threading.Barrier(2)
    counted: list[str] = []

    def replica(shift_us: int) -> None:
        engine = open_database(database_url)
        writer = committer(engine)
        for start_us in starts:
            mine = received(window(start_us=start_us + shift_us, length_us=MINUTE_US // 2))
            together.wait(60)
            counted.extend(verdicts(writer.commit([mine], NOW_US)))
        engine.dispose()

    threads = [threading.Thread(target=replica, args=(shift_us,)) for shift_us in (0, 1_000_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(counted) == ["accepted"] * 20 + ["conflict"] * 20


def test_outcomes_stand_in_the_order_of_the_group(engine: Engine) -> None:
    """Every verdict belongs to its window, mixed as they may be."""
    first, second, third = minutes(3)
    bad = window(start_us=third.start_us, length_us=MINUTE_US + 1)
    outcomes = committer(engine).commit([received(first), received(bad), received(first), received(second)], NOW_US)
    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.ACCEPTED,
        Verdict.REFUSED,
        Verdict.DUPLICATE,
        Verdict.ACCEPTED,
    ]
