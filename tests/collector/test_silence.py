"""Devices whose agent says nothing any more: booked hour by hour, until they are absent or come back."""

from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, insert, select
from tests.databases import empty
from tests.gap_books import HOUR_US, arrived, at, booked, commit, dumped, held, marked, modest
from tests.gap_model import DAY_US
from tests.windows import MINUTE_US, START_US, window

from gputally.accounting.line import DeviceWindow
from gputally.collector.cluster.history import ClusterHistory
from gputally.collector.cluster.watch import Listing, ObjectKind, Seen
from gputally.collector.database.engine import reading, writing
from gputally.collector.database.schema import dirty_hour, node, posting
from gputally.collector.database.schema_billing import node_presence
from gputally.collector.database.schema_gaps import gap
from gputally.collector.ingest.admission import ACCEPTED
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.ledger.silence import GRACE_US, book_silence, rebook_node


def test_a_silent_device_is_booked_once_its_hour_is_over(engine: Engine) -> None:
    """A quarter of an hour is left to what is on its way; the platform pays, nobody knows who still holds it."""
    commit(engine, [at(0)])
    assert book_silence(engine, UTC, START_US + HOUR_US + GRACE_US - 1, DAY_US) == 0
    assert booked(engine) == {}
    assert book_silence(engine, UTC, START_US + HOUR_US + GRACE_US, DAY_US) == 1
    assert booked(engine) == {0: (59 * MINUTE_US, "platform")}
    assert book_silence(engine, UTC, START_US + HOUR_US + GRACE_US, DAY_US) == 0


def test_after_a_day_of_silence_it_is_absent(engine: Engine) -> None:
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 100 * HOUR_US, DAY_US)
    found = booked(engine)
    assert sum(us for us, _ in found.values()) == DAY_US
    assert max(found) == 24


def test_what_is_long_absent_is_left_alone_by_a_late_window(engine: Engine) -> None:
    """Hours in which nothing can be booked are not recomputed, or an old spool would cost all hours up to now. Of the
    day until it is absent only those are in which something is another: the window's, and where that day ends."""
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 100 * HOUR_US, DAY_US)
    booked(engine)
    commit(engine, [at(1)])
    assert marked_hours(engine) == {0, 24}
    assert sum(us for us, _ in booked(engine).values()) == DAY_US


def marked_hours(engine: Engine) -> set[int]:
    """Which wait, by their number since the start."""
    with reading(engine) as connection:
        found = connection.execute(select(dirty_hour.c.hour_us)).scalars()
        return {(hour_us - START_US) // HOUR_US for hour_us in found}


def test_a_node_is_watched_by_its_own_cluster_only(engine: Engine) -> None:
    """Neither another node of its cluster nor one of its name elsewhere says when it was there: a late window moves the
    end of the day after which it is absent."""
    others = [("east", "node-b"), ("west", "node-a")]
    there = [{"cluster": cluster, "node": name, "from_us": 1, "uid": "u"} for cluster, name in others]
    with writing(engine) as connection:
        connection.execute(insert(node_presence), there)
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 100 * HOUR_US, DAY_US)
    booked(engine)
    commit(engine, [at(120)])
    assert sum(us for us, _ in booked(engine).values()) == DAY_US + 119 * MINUTE_US


@pytest.mark.parametrize(
    "late", [replace(held(), unavailable_at_end=True), replace(held(), profiles={"gpu": "1g.10gb"})]
)
def test_a_gap_whose_beginning_says_something_else_is_divided_anew(engine: Engine, late: DeviceWindow) -> None:
    """Whether the device was unavailable, and the profile of the whole device, are booked in all of its hours."""
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 30 * HOUR_US, DAY_US)
    booked(engine)
    commit(engine, [at(1, late)])
    assert marked_hours(engine) == {*range(25)}
    settle(engine, UTC)
    by_increments = dumped(engine)
    empty(engine)
    commit(engine, [at(0), at(1, late)])
    book_silence(engine, UTC, START_US + 30 * HOUR_US, DAY_US)
    settle(engine, UTC)
    assert dumped(engine) == by_increments


def test_a_gap_of_a_device_that_is_known_elsewhere_is_divided_anew(engine: Engine) -> None:
    """It ended where the device was seen; behind a later window it ends where it is seen next, if ever."""
    windows = [at(0), replace(at(90), node="node-b"), at(300)]
    commit(engine, windows[:2])
    book_silence(engine, UTC, START_US + 30 * HOUR_US, DAY_US)
    booked(engine)
    commit(engine, windows[2:])
    settle(engine, UTC)
    by_increments = dumped(engine)
    empty(engine)
    commit(engine, windows)
    book_silence(engine, UTC, START_US + 30 * HOUR_US, DAY_US)
    settle(engine, UTC)
    assert dumped(engine) == by_increments


def test_another_limit_is_kept_from_then_on_for_all_gaps(engine: Engine) -> None:
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 100 * HOUR_US, DAY_US)
    booked(engine)
    book_silence(engine, UTC, START_US + 100 * HOUR_US, 2 * HOUR_US)
    assert sum(us for us, _ in booked(engine).values()) == 2 * HOUR_US


def test_an_agent_that_returns_replaces_what_was_booked(engine: Engine) -> None:
    """The pod was there on both sides, and the node in the same life: all of the time is the pod's."""
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 100 * HOUR_US, DAY_US)
    booked(engine)
    commit(engine, [at(90 * 60)])
    found = booked(engine)
    assert sum(us for hour, (us, _) in found.items() if hour < 90) == 90 * HOUR_US - MINUTE_US
    assert {kind for hour, (_, kind) in found.items() if hour < 90} == {"pod"}
    assert sum(us for hour, (us, _) in found.items() if hour >= 90) == 9 * HOUR_US - MINUTE_US


def test_a_node_that_returns_in_another_life_was_absent_after_a_day(engine: Engine) -> None:
    """Nobody knows whether it was switched off."""
    commit(engine, [at(0)])
    commit(engine, [at(90 * 60)], boot_id="boot-2")
    found = booked(engine)
    assert sum(us for us, _ in found.values()) == DAY_US
    assert {kind for _, kind in found.values()} == {"pod"}


def test_a_step_says_nothing_about_time_before_the_window_ahead_of_it(engine: Engine) -> None:
    """It is longer than the window before it, as only a wrong report is: the gap before that window is whole."""
    short = window(held(1), start_us=START_US + 2 * MINUTE_US, length_us=1)
    after = replace(window(held(7), start_us=short.end_us, length_us=7), skipped_us=5)
    commit(engine, [at(0), short, after, at(10)])
    assert booked(engine)[0] == (9 * MINUTE_US - 8, "pod")


def test_lives_that_are_not_known_are_not_one(engine: Engine) -> None:
    """An agent that cannot read the boot's id says nothing, and nothing is not the same as nothing."""
    commit(engine, [at(0)], boot_id="")
    commit(engine, [at(90 * 60)], boot_id="")
    assert sum(us for us, _ in booked(engine).values()) == DAY_US


def test_a_node_that_kubernetes_saw_go_is_booked_until_then(engine: Engine) -> None:
    """And one that is there is not absent, however long its agent is silent."""
    commit(engine, [at(0)])
    there = {"cluster": "east", "node": "node-a", "from_us": START_US - HOUR_US, "uid": "u"}
    with writing(engine) as connection:
        connection.execute(insert(node_presence).values(there))
        rebook_node(connection, "east", "node-a", START_US, UTC)
    book_silence(engine, UTC, START_US + 40 * HOUR_US + GRACE_US, DAY_US)
    assert sum(us for us, _ in booked(engine).values()) == 40 * HOUR_US - MINUTE_US
    with writing(engine) as connection:
        connection.execute(node_presence.update().values(gone_us=START_US + 90 * MINUTE_US))
        rebook_node(connection, "east", "node-a", START_US, UTC)
    assert booked(engine) == {0: (59 * MINUTE_US, "platform"), 1: (30 * MINUTE_US, "platform")}


def test_what_the_cluster_tells_of_a_node_is_booked_anew(engine: Engine) -> None:
    """Its first sight takes the limit of a day away, and a node that was taken for gone was there all the while."""
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 40 * HOUR_US + GRACE_US, DAY_US)
    assert sum(us for us, _ in booked(engine).values()) == DAY_US
    early, late = (
        ClusterHistory(engine, "east", UTC, lambda hour=hour: START_US + hour * HOUR_US) for hour in (39, 40)
    )
    node_a = Seen("node-a", "u", START_US - HOUR_US, 1, {}, {})
    early.replace(ObjectKind.NODE, Listing([node_a], "1"))
    assert sum(us for us, _ in booked(engine).values()) == 40 * HOUR_US - MINUTE_US
    early.put(ObjectKind.NODE, replace(node_a, version=2, labels={"zone": "a"}))
    assert marked(engine) == 0  # other labels are no other presence
    late.delete(ObjectKind.NODE, node_a)
    book_silence(engine, UTC, START_US + 50 * HOUR_US + GRACE_US, DAY_US)
    assert sum(us for us, _ in booked(engine).values()) == 40 * HOUR_US - MINUTE_US
    late.replace(ObjectKind.NODE, Listing([replace(node_a, version=3)], "3"))
    assert sum(us for us, _ in booked(engine).values()) == 50 * HOUR_US - MINUTE_US


def test_a_device_that_moves_leaves_no_silence_behind(engine: Engine) -> None:
    """Its UUID is on another node: where it was, its time ends there."""
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 10 * HOUR_US + GRACE_US, DAY_US)
    assert sum(us for us, _ in booked(engine).values()) == 10 * HOUR_US - MINUTE_US
    commit(engine, [replace(at(90), node="node-b")])
    settle(engine, UTC)
    query = select(node.c.name, func.sum(posting.c.gap_us)).join(node).where(posting.c.gap_us > 0).group_by(node.c.name)
    with reading(engine) as connection:
        found = {name: int(us) for name, us in connection.execute(query)}
    assert found == {"node-a": 89 * MINUTE_US, "node-b": 10 * HOUR_US - 91 * MINUTE_US}


@modest
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), min_size=1, max_size=6), st.data())
def test_a_device_has_each_instant_once_wherever_it_moves(
    engine: Engine, stands: list[tuple[str, int]], data: st.DataObject
) -> None:
    """I4, I7: whatever the order, and whatever was settled in between; nothing is booked in two places."""
    windows = [replace(at(minute), node=name) for minute, name in {minute: name for name, minute in stands}.items()]
    until_us, first_us = START_US + 6 * HOUR_US, min(content.start_us for content in windows)
    ledgers = []
    for order in (windows, data.draw(st.permutations(windows))):
        empty(engine)
        for content in order:
            book_silence(engine, UTC, data.draw(st.integers(START_US, until_us)), 100 * DAY_US)
            commit(engine, [content])
            if data.draw(st.booleans()):
                settle(engine, UTC)
        book_silence(engine, UTC, until_us + GRACE_US, 100 * DAY_US)
        settle(engine, UTC)
        ledgers.append(dumped(engine))
    assert ledgers[0] == ledgers[1]
    whole = select(func.sum(posting.c.used_us + posting.c.idle_us + posting.c.unobserved_us))
    with reading(engine) as connection:
        assert connection.execute(whole).scalar_one() == until_us - first_us


def test_a_healthy_fleet_marks_no_hour_but_its_own(engine: Engine) -> None:
    """The live case costs nothing: silence is looked for once an hour, and only among devices that are silent."""
    commit(engine, [at(minute) for minute in range(130)])
    settle(engine, UTC)
    book_silence(engine, UTC, START_US + 2 * HOUR_US + GRACE_US, DAY_US)
    commit(engine, [at(130)])
    with reading(engine) as connection:
        marks = connection.execute(select(dirty_hour.c.hour_us)).scalars().all()
        assert marks == [START_US + 2 * HOUR_US]
        assert connection.execute(select(func.count()).select_from(gap)).scalar() == 2


@pytest.mark.parametrize("days", [1, 20])
def test_hours_whose_lines_may_be_gone_are_left_alone(engine: Engine, days: int) -> None:
    """The age rule: a gap that begins before it is divided again only from there on."""
    commit(engine, [at(0)])
    settle(engine, UTC)
    late = at(days * 24 * 60)
    committer = Committer(engine, UTC, 14 * DAY_US)
    assert committer.commit([arrived(late, "boot-1")], late.end_us) == [ACCEPTED]
    with reading(engine) as connection:
        first = connection.execute(select(func.min(dirty_hour.c.hour_us))).scalar()
    assert first == START_US + (0 if days == 1 else 6 * DAY_US)
