"""The time that no window covers: found whatever the order, divided by hour, replaced by what arrives later."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, insert, select
from tests.databases import empty
from tests.gap_model import DAY_US, gap_lines
from tests.windows import MINUTE_US, START_US, device, histories, pod, received, reserved, unallocated, window

from gputally.accounting.keys import Holding
from gputally.accounting.ledger_hour import hours
from gputally.accounting.line import DeviceWindow, Window
from gputally.accounting.states import Reason
from gputally.collector.cluster.history import ClusterHistory
from gputally.collector.cluster.watch import Listing, ObjectKind, Seen
from gputally.collector.database.engine import reading, writing
from gputally.collector.database.schema import AMOUNTS, dirty_hour, line, node, owner, posting
from gputally.collector.database.schema import device as device_table
from gputally.collector.database.schema_billing import node_presence
from gputally.collector.database.schema_gaps import FOREVER_US, gap
from gputally.collector.ingest.admission import ACCEPTED, Received
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import dump, pending, settle
from gputally.collector.ledger.silence import GRACE_US, book_silence, rebook_node

HOUR_US = 60 * MINUTE_US
NOW_US = START_US + 90 * 24 * HOUR_US
modest = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ANN = (Holding(pod()),)


def commit(engine: Engine, windows: Sequence[Window], boot_id: str = "boot-1", zone: tzinfo = UTC) -> None:
    """Have the windows accepted, all of them, in one group."""
    group = [_received(content, boot_id) for content in windows]
    assert Committer(engine, zone, None).commit(group, NOW_US) == [ACCEPTED] * len(group)


def _received(content: Window, boot_id: str) -> Received:
    return replace(received(content), boot_id=boot_id)


def held(us: int = MINUTE_US, energy: tuple[int, int] | None = None, uuid: str = "GPU-0") -> DeviceWindow:
    """A device that one pod holds for all of a window, and on both sides of it."""
    part = device(reserved(pod(), us, 0, energy[1] - energy[0] if energy else None), uuid=uuid)
    if energy:
        part = replace(part, energy_start_mj=energy[0], energy_end_mj=energy[1])
    return replace(part, start_holders=ANN, end_holders=ANN)


def at(minute: int, *devices: DeviceWindow, skipped_us: int = 0) -> Window:
    """A window of that minute."""
    return replace(window(*(devices or (held(),)), start_us=START_US + minute * MINUTE_US), skipped_us=skipped_us)


def booked(engine: Engine) -> dict[int, tuple[int, str]]:
    """Per hour since the start, the gap time of its postings and whose it is."""
    settle(engine, UTC)
    query = select(posting.c.hour_us, posting.c.gap_us, owner.c.kind).join(owner).where(posting.c.gap_us > 0)
    with reading(engine) as connection:
        return {(hour - START_US) // HOUR_US: (us, kind) for hour, us, kind in connection.execute(query)}


def gap_rows(engine: Engine) -> list[tuple[Any, ...]]:
    """The table by names."""
    columns = (node.c.name, device_table.c.uuid, device_table.c.model, gap.c.start_us, gap.c.end_us)
    query = select(node.c.cluster, *columns).select_from(gap).join(node).join(device_table)
    with reading(engine) as connection:
        return sorted(tuple(row) for row in connection.execute(query))


def complement(windows: Sequence[Window]) -> list[tuple[Any, ...]]:
    """What no window covers, one device after the other."""
    stands: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for content in windows:
        for part in content.devices:
            if part.capacity_us:
                key = (content.cluster, content.node, part.uuid, part.model)
                stands.setdefault(key, []).append((content.end_us - part.capacity_us, content.end_us))
    rows = []
    for key, spans in stands.items():
        edges = [0, *(edge for span in sorted(spans) for edge in span), FOREVER_US]
        rows += [(*key, a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
    return sorted(rows)


@modest
@given(histories(), st.lists(st.integers(0, 12), max_size=3))
def test_gaps_are_what_the_windows_leave_whatever_their_order_and_groups(
    engine: Engine, windows: list[Window], cuts: list[int]
) -> None:
    empty(engine)
    edges = [0, *sorted(cuts), len(windows)]
    for start, end in pairwise(edges):
        if windows[start:end]:
            commit(engine, windows[start:end])
    assert gap_rows(engine) == complement(windows)


@modest
@given(histories(), st.sampled_from(["UTC", "Asia/Kolkata"]), st.integers(0, 12), st.data())
def test_the_ledger_does_not_depend_on_when_windows_came(
    engine: Engine, windows: list[Window], name: str, cut: int, data: st.DataObject
) -> None:
    """I4, I7: settled and booked in between or only at the end, in any order, it is the same; and its time is that of
    the lines and of the gaps."""
    zone = ZoneInfo(name)
    later_us = max(content.end_us for content in windows) + data.draw(st.sampled_from([0, 2, 30])) * HOUR_US
    empty(engine)
    commit(engine, windows, zone=zone)
    book_silence(engine, zone, later_us, DAY_US)
    settle(engine, zone)
    reference = dumped(engine)
    empty(engine)
    for group in (windows[cut:][::-1], windows[:cut]):
        if group:
            commit(engine, group, zone=zone)
        book_silence(engine, zone, data.draw(st.integers(START_US, later_us)), DAY_US)
        settle(engine, zone)
    book_silence(engine, zone, later_us, DAY_US)
    settle(engine, zone)
    assert dumped(engine) == reference
    until_us = hour_before(later_us, zone)
    gap_us = sum(each.line.capacity_us for each in gap_lines(windows, zone, until_us))
    states = AMOUNTS[:5]
    with reading(engine) as connection:
        of_lines = connection.execute(select(sum(func.coalesce(func.sum(line.c[name]), 0) for name in states))).scalar()
        of_postings = connection.execute(
            select(sum(func.coalesce(func.sum(posting.c[name]), 0) for name in states))
        ).scalar()
        memo = connection.execute(select(func.coalesce(func.sum(posting.c.gap_us), 0))).scalar()
    assert (of_postings, memo) == ((of_lines or 0) + gap_us, gap_us)


def hour_before(now_us: int, zone: tzinfo) -> int:
    """The end of the last ledger hour that is over, and out of its grace."""
    return next(hours(now_us - GRACE_US, now_us, zone))[0]


def dumped(engine: Engine) -> list[tuple[Any, ...]]:
    """The ledger by names."""
    with reading(engine) as connection:
        return dump(connection)


def test_who_held_the_device_on_both_sides_pays_for_the_hours_between(engine: Engine) -> None:
    """An agent that was away for two hours, while a pod went on."""
    commit(engine, [at(0), at(150)])
    assert booked(engine) == {0: (59 * MINUTE_US, "pod"), 1: (60 * MINUTE_US, "pod"), 2: (30 * MINUTE_US, "pod")}


def test_a_late_window_takes_its_time_back_in_every_hour(engine: Engine) -> None:
    """What an hour's gap is divided by may change although no window of that hour came."""
    commit(engine, [at(0), at(150)])
    settle(engine, UTC)
    nobody = device(unallocated(MINUTE_US))
    commit(engine, [at(100, nobody)])
    with reading(engine) as connection:
        assert pending(connection) == 3
    assert booked(engine) == {
        0: (59 * MINUTE_US, "platform"),
        1: (59 * MINUTE_US, "platform"),
        2: (30 * MINUTE_US, "platform"),
    }


def test_a_device_that_left_while_the_node_goes_on_is_silent(engine: Engine) -> None:
    """Windows that lack it cover nothing of its time."""
    others = [at(minute, held(uuid="GPU-1")) for minute in range(1, 5)]
    commit(engine, [at(0, held(), held(uuid="GPU-1")), *others, at(5, held(), held(uuid="GPU-1"))])
    assert booked(engine) == {0: (4 * MINUTE_US, "pod")}


def test_a_device_that_came_in_the_middle_of_a_window_was_not_there_before(engine: Engine) -> None:
    """Capacity begins with the first sample."""
    commit(engine, [at(0, held(20_000_000)), at(1)])
    assert booked(engine) == {}
    commit(engine, [at(3, held(20_000_000))])
    assert booked(engine) == {0: (MINUTE_US + 40_000_000, "pod")}


def test_what_a_clock_skipped_is_no_gap(engine: Engine) -> None:
    """Nobody lived through it: neither a device that was sampled, nor one that was away."""
    commit(engine, [at(0, held(), held(uuid="GPU-1")), at(200, held(), skipped_us=199 * MINUTE_US)])
    assert booked(engine) == {}
    commit(engine, [at(203, held(uuid="GPU-1"))])
    assert booked(engine) == {3: (3 * MINUTE_US, "pod")}


def test_a_clock_step_that_arrives_late_takes_gap_time_away(engine: Engine) -> None:
    """In whatever order the windows of the node come (I4)."""
    windows = [at(0, held(uuid="GPU-1")), at(200, held(), skipped_us=150 * MINUTE_US), at(203, held(uuid="GPU-1"))]
    for each in (windows[0], windows[2], windows[1]):
        commit(engine, [each])
        settle(engine, UTC)
    assert booked(engine) == {0: (49 * MINUTE_US, "pod"), 3: (3 * MINUTE_US, "pod")}


def test_gap_energy_is_the_counters_difference(engine: Engine) -> None:
    """Spread by time over the hours, to the millijoule."""
    commit(engine, [at(0, held(energy=(5, 10))), at(150, held(energy=(110, 120)))])
    settle(engine, UTC)
    query = select(posting.c.energy_dynamic_mj).where(posting.c.gap_us > 0).order_by(posting.c.hour_us)
    with reading(engine) as connection:
        assert connection.execute(query).scalars().all() == [39, 40, 21]


def test_a_restart_of_the_node_has_no_gap_energy(engine: Engine) -> None:
    commit(engine, [at(0, held(energy=(5, 10)))])
    commit(engine, [at(150, held(energy=(110, 120)))], boot_id="boot-2")
    settle(engine, UTC)
    with reading(engine) as connection:
        energies = connection.execute(select(posting.c.energy_dynamic_mj).where(posting.c.gap_us > 0)).scalars().all()
    assert energies == [None, None, None]


def test_a_gap_that_begins_unavailable_stays_so(engine: Engine) -> None:
    commit(engine, [at(0, replace(held(), unavailable_at_end=True)), at(10)])
    settle(engine, UTC)
    with reading(engine) as connection:
        row = connection.execute(select(posting).where(posting.c.gap_us > 0)).one()
    assert (row.unavailable_us, row.unobserved_us, row.gap_us, row.reason) == (9 * MINUTE_US, 0, 9 * MINUTE_US, "")


def test_a_gap_is_added_to_the_posting_that_the_lines_made(engine: Engine) -> None:
    """The agent may have booked unobserved time of the same holder itself."""
    key = replace(reserved(pod(), 0, 0).key, reason=Reason.NO_SAMPLE)
    unseen = replace(reserved(pod(), 0, 0), key=key, unobserved_us=MINUTE_US)
    part = replace(device(unseen), start_holders=ANN, end_holders=ANN)
    commit(engine, [at(0, part), at(2, part)])
    settle(engine, UTC)
    with reading(engine) as connection:
        row = connection.execute(select(posting)).one()
    assert (row.unobserved_us, row.gap_us) == (3 * MINUTE_US, MINUTE_US)


# Silence: devices whose agent says nothing any more.


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
    """Hours in which nothing can be booked are not recomputed, or an old spool would cost all hours up to now."""
    commit(engine, [at(0)])
    book_silence(engine, UTC, START_US + 100 * HOUR_US, DAY_US)
    booked(engine)
    commit(engine, [at(1)])
    with reading(engine) as connection:
        marked = set(connection.execute(select(dirty_hour.c.hour_us)).scalars())
    assert marked == {START_US + hour * HOUR_US for hour in range(25)}
    assert sum(us for us, _ in booked(engine).values()) == DAY_US


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


def marked(engine: Engine) -> int:
    """Hours that wait."""
    with reading(engine) as connection:
        return pending(connection)


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
    assert committer.commit([_received(late, "boot-1")], late.end_us) == [ACCEPTED]
    with reading(engine) as connection:
        first = connection.execute(select(func.min(dirty_hour.c.hour_us))).scalar()
    assert first == START_US + (0 if days == 1 else 6 * DAY_US)
