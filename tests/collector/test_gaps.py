"""The time that no window covers: found whatever the order, divided by hour, replaced by what arrives later."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select
from tests.databases import empty
from tests.gap_books import ANN, HOUR_US, at, booked, commit, dumped, held, modest
from tests.gap_model import DAY_US, gap_lines
from tests.windows import MINUTE_US, START_US, device, histories, pod, reserved, unallocated

from gputally.accounting.ledger_hour import hours
from gputally.accounting.line import Window
from gputally.accounting.states import Reason
from gputally.collector.database.engine import reading
from gputally.collector.database.schema import AMOUNTS, line, node, posting
from gputally.collector.database.schema import device as device_table
from gputally.collector.database.schema_gaps import FOREVER_US, gap
from gputally.collector.ledger.gaps import _alike
from gputally.collector.ledger.postings import pending, settle
from gputally.collector.ledger.silence import GRACE_US, book_silence


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


@given(st.lists(st.frozensets(st.integers(0, 6), min_size=1), min_size=1, max_size=4))
def test_devices_are_bundled_exactly_where_all_is_alike(sets: list[frozenset[int]]) -> None:
    """Each device is in one bundle, and shares it with those that are in the same sets, and only with them."""
    found = list(_alike(sets))
    bundles = [bundle for bundle, _ in found]
    assert sorted(device_id for bundle in bundles for device_id in bundle) == sorted(frozenset().union(*sets))
    for bundle in bundles:
        assert all(bundle <= each or not bundle & each for each in sets)
    places = [[bundle <= each for each in sets] for bundle in bundles]
    assert len({tuple(place) for place in places}) == len(bundles)
    assert [list(its) for _, its in found] == [[at for at, there in enumerate(place) if there] for place in places]
