"""A report is the ledger, summed: nothing is lost, nothing is counted twice, whatever it is grouped by."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.windows import (
    MINUTE_US,
    MODEL,
    START_US,
    all_received,
    device,
    histories,
    minutes,
    pod,
    reserved,
    unallocated,
    window,
)

from gputally.accounting.keys import WHOLE_GPU, LineKey, Owner
from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Line, Window
from gputally.accounting.states import Basis, OwnerKind, Source
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.ingest.commit import Committer
from gputally.collector.report import By, Report, Row, ZoneMismatch, report

UTC = ZoneInfo("UTC")
END_US = START_US + 4 * HOUR_US  # after the last window of any history
every_history = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
# By state, time is told apart and nothing else can be; test_allocation has that.
groupings = st.lists(st.sampled_from([key for key in By if key is not By.STATE]), max_size=5)


def book(engine: Engine, windows: Sequence[Window], zone: ZoneInfo = UTC) -> None:
    """Commit windows; their hours are left for the report to settle."""
    Committer(engine, zone, max_age_us=None).commit(all_received(windows), now_us=END_US)


def whole(engine: Engine, *by: By) -> Report:
    return report(engine, UTC, START_US, END_US, by)


def row(found: Report, *keys: str, owner: str = "pod") -> Amounts:
    return next(row.amounts for row in found.rows if row.keys == keys and row.owner == owner)


def of_lines(windows: Sequence[Window]) -> Amounts:
    """What lines say, without a database."""
    lines = [line for content in windows for part in content.devices for line in part.lines]
    return summed(
        Amounts(
            line.used_us,
            line.idle_us,
            line.unallocated_us,
            line.unavailable_us,
            line.unobserved_us,
            (line.used_us + line.idle_us + line.unobserved_us) if line.key.basis is Basis.RESERVATION else 0,
            line.burst_us,
            line.intruder_us,
            line.energy_mj,
            0,
            line.memory_byte_s,
            *_quality(line),
        )
        for line in lines
    )


def _quality(line: Line) -> tuple[int | None, ...]:
    quality = line.quality
    if quality is None:
        return (None,) * 5
    return (quality.measured_us, quality.sm_us, quality.occupancy_us, quality.tensor_us, quality.dram_us)


def test_what_was_not_settled_yet_is_in_the_report(engine: Engine) -> None:
    book(engine, minutes(2))
    found = row(whole(engine, By.NAMESPACE), "search")
    assert (found.used_us, found.idle_us, found.reserved_us) == (90_000_000, 30_000_000, 120_000_000)
    assert found.energy_mj == 18_000


def test_time_that_nobody_held_is_the_platforms_and_never_a_namespaces(engine: Engine) -> None:
    book(engine, [window(device(unallocated(MINUTE_US)))])
    found = whole(engine, By.NAMESPACE)
    assert [(row.keys, row.owner) for row in found.rows] == [(("",), "platform")]
    assert found.rows[0].amounts.unallocated_us == MINUTE_US


def test_a_process_outside_pods_is_the_hosts_and_holds_nothing(engine: Engine) -> None:
    owner = Owner(OwnerKind.HOST, user="ann", unit="x.service")
    line = Line(LineKey(WHOLE_GPU, owner, Basis.PROCESS), Source.PROCESS_SAMPLES, used_us=MINUTE_US)
    book(engine, [window(device(line))])
    assert row(whole(engine, By.NAMESPACE), "", owner="host") == Amounts(used_us=MINUTE_US)


def test_a_pod_is_named_with_its_namespace(engine: Engine) -> None:
    book(engine, minutes(1))
    found = whole(engine, By.POD)
    assert found.by == (By.NAMESPACE, By.POD)
    assert found.rows[0].keys == ("search", "train-0")


def test_containers_of_a_pod_and_pods_of_one_name_are_one_row(engine: Engine) -> None:
    half = MINUTE_US // 2
    book(engine, [window(device(reserved(pod(container="a"), half, 0), reserved(pod(container="b"), 0, half)))])
    assert row(whole(engine, By.POD), "search", "train-0").reserved_us == MINUTE_US


def test_rows_follow_the_keys_asked_for_each_once(engine: Engine) -> None:
    book(engine, minutes(1))
    found = whole(engine, By.MODEL, By.NODE, By.MODEL, By.CLUSTER)
    assert found.by == (By.MODEL, By.NODE, By.CLUSTER)
    assert found.rows[0].keys == (MODEL, "node-a", "east")


def test_the_largest_capacity_comes_first(engine: Engine) -> None:
    parts = [device(reserved(pod(name), us, 0), uuid=f"GPU-{name}") for name, us in (("a", 1), ("b", 3), ("c", 2))]
    book(engine, [window(*parts)])
    assert [row.keys[0] for row in whole(engine, By.NAMESPACE).rows] == ["b", "c", "a"]


def test_energy_that_nobody_measured_is_unknown_and_not_0(engine: Engine) -> None:
    book(engine, [window(device(reserved(pod(), MINUTE_US, 0)))])
    found = whole(engine, By.NAMESPACE)
    assert found.rows[0].amounts.energy_mj is None
    assert found.total.amounts.energy_mj is None


def test_an_empty_ledger_has_no_rows_and_no_coverage(engine: Engine) -> None:
    found = whole(engine, By.NAMESPACE)
    assert found.rows == ()
    assert found.total == Row(("",), "total", Amounts())
    assert found.total.amounts.coverage is None


def test_coverage_is_the_part_that_was_observed() -> None:
    assert Amounts(used_us=3, unobserved_us=1).coverage == 0.75


def test_only_hours_of_the_period_count(engine: Engine) -> None:
    book(engine, [window(start_us=START_US - MINUTE_US), window(), window(start_us=START_US + HOUR_US)])
    found = report(engine, UTC, START_US, START_US + HOUR_US, [By.NAMESPACE])
    amounts = found.total.amounts
    assert (amounts.used_us, amounts.idle_us) == (45_000_000, 15_000_000)
    assert (amounts.capacity_us, amounts.gap_us) == (HOUR_US, HOUR_US - MINUTE_US)


def test_a_ledger_booked_in_other_hours_is_refused_before_anything_is_settled(engine: Engine) -> None:
    book(engine, minutes(1), ZoneInfo("Asia/Kolkata"))
    with pytest.raises(ZoneMismatch, match="--timezone"):
        report(engine, UTC, START_US - HOUR_US, END_US, [By.NAMESPACE])
    kolkata = ZoneInfo("Asia/Kolkata")
    found = report(engine, kolkata, START_US - HOUR_US // 2, END_US + HOUR_US // 2, [By.NAMESPACE])
    assert found.total.amounts.capacity_us == MINUTE_US


def test_a_zone_that_shares_the_hours_may_read_the_ledger(engine: Engine) -> None:
    """Berlin's hours are UTC's: its months differ, and can be asked for."""
    book(engine, minutes(1))
    assert report(engine, ZoneInfo("Europe/Berlin"), START_US, END_US, [By.NAMESPACE]).rows


@every_history
@given(windows=histories(), by=groupings, other=groupings, cut=st.integers(1, 3))
def test_whatever_is_in_a_ledger_reports_of_it_keep_the_rules(
    engine: Engine, windows: list[Window], by: list[By], other: list[By], cut: int
) -> None:
    """To fill a ledger takes longer than to ask it, so each is checked against all of them."""
    empty(engine)
    book(engine, windows)
    found = whole(engine, *by)
    it_is_the_sum_of_the_accepted_lines(found, windows)
    assert whole(engine, *other).total.amounts == found.total.amounts, "I6: every grouping has the same total"
    disjoint_periods_add_up(engine, found, by, START_US + cut * HOUR_US)
    states_sum_to_capacity_and_nothing_is_negative(found, windows)


def it_is_the_sum_of_the_accepted_lines(found: Report, windows: Sequence[Window]) -> None:
    """But for gaps, which no line tells of: their time is on top, and `gap_us` says how much of it."""
    total, lines = found.total.amounts, of_lines(windows)
    told = ["used_us", "idle_us", "unallocated_us", "burst_us", "intruder_us", "memory_byte_s", "quality_us", "sm_us"]
    assert [getattr(total, name) for name in told] == [getattr(lines, name) for name in told]
    assert total.capacity_us - total.gap_us == lines.capacity_us


def disjoint_periods_add_up(engine: Engine, found: Report, by: Sequence[By], middle_us: int) -> None:
    """I5, row by row: report(A ∪ B) = report(A) + report(B)."""
    parts = [report(engine, UTC, START_US, middle_us, by), report(engine, UTC, middle_us, END_US, by)]
    sums: dict[tuple[object, ...], Amounts] = {}
    for part in (row for of_part in parts for row in of_part.rows):
        key = (part.keys, part.owner)
        sums[key] = summed([sums.get(key, Amounts()), part.amounts])
    assert sums == {(row.keys, row.owner): row.amounts for row in found.rows}


def states_sum_to_capacity_and_nothing_is_negative(found: Report, windows: Sequence[Window]) -> None:
    """I1 and I3."""
    capacity = sum(part.capacity_us for content in windows for part in content.devices)
    assert sum(row.amounts.capacity_us - row.amounts.gap_us for row in found.rows) == capacity
    for amounts in (row.amounts for row in found.rows):
        assert min(value or 0 for value in amounts) >= 0
