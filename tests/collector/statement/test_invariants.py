"""I5 to I9 for statements, over any history in any zone: what is closed stays, what is late is billed once."""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.statements import (
    CARD,
    MOMENTS,
    apply,
    book,
    close,
    cost_of,
    lines_of,
    month_of,
    moved,
    postings,
    renderings,
    rows_of,
    summed,
)
from tests.windows import histories

from gputally.accounting.line import Window
from gputally.collector.allocation.allocation import allocate
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.exports.focus import Options, write_focus
from gputally.collector.exports.focus_check import check_file
from gputally.collector.exports.focus_columns import Version
from gputally.collector.rates.cost import SCALE
from gputally.collector.statement.content import Statement, read_open
from gputally.collector.statement.ground import ground
from gputally.collector.statement.item import Item
from gputally.collector.statement.month import Month, following
from gputally.collector.statement.read import read_differences, read_statement
from gputally.collector.statement.view import View, Who

every_history = settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
zones = pytest.mark.parametrize("name", MOMENTS)
NANO = Decimal(10) ** 9


def fill(engine: Engine, name: str, windows: Sequence[Window]) -> tuple[ZoneInfo, list[Window]]:
    """A ledger of the windows around a moment of a zone, with rates that change there."""
    empty(engine)
    zone, middle_us = ZoneInfo(name), MOMENTS[name]
    apply(engine, change="2026-08-01" if name in ("UTC", "Asia/Kolkata") else "2026-10-10")
    return zone, moved(windows, middle_us)


def first_month(windows: Sequence[Window], zone: ZoneInfo) -> Month:
    return month_of(min(one.start_us for one in windows), zone)


def exact(items: Sequence[Item]) -> tuple[int, int]:
    """Microseconds, and what they and the energy cost."""
    us = sum(item.quantity for item in items if item.key.is_time)
    return us, sum(item.cost or 0 for item in items)


def rounded_once(cost: int, digits: int) -> Decimal:
    units = (2 * cost * 10**digits + SCALE) // (2 * SCALE)
    return Decimal(units) / 10**digits


@zones
@every_history
@given(windows=histories(), spread=st.sampled_from(list(Spread)), version=st.sampled_from(list(Version)))
def test_whatever_is_in_a_ledger_statements_of_it_keep_the_rules(
    engine: Engine, tmp_path: Path, name: str, windows: list[Window], spread: Spread, version: Version
) -> None:
    """To fill a ledger takes longer than to ask it, so each is checked against all of them."""
    zone, there = fill(engine, name, windows)
    book(engine, there, zone)
    month = first_month(there, zone)
    the_items_of_a_month_are_the_ledger_of_its_period(engine, zone, month)
    months_add_up_to_the_period_of_both(engine, zone, month)
    parts_add_up_to_the_whole_however_the_platform_is_spread(read_open(engine, zone, month), spread)
    focus_with_what_it_skips_is_the_ledger(engine, zone, month, version, tmp_path / "focus.csv")
    statements_of_open_and_closed_months_are_the_same(engine, zone, month)


def the_items_of_a_month_are_the_ledger_of_its_period(engine: Engine, zone: ZoneInfo, month: Month) -> None:
    """I6 and I9; and the printed items add up to the exact total, rounded once."""
    found = read_open(engine, zone, month)
    whole = allocate(engine, zone, Query(month.period, zone))
    money = whole.money
    cost = sum(money.by_state) + (money.energy or 0) + (money.overhead or 0)
    assert exact(found.items) == (whole.amounts.capacity_us, cost)
    assert View(found).unpriced_us == money.unpriced_us
    assert Decimal(View(found).amount or 0) / 100 == rounded_once(cost, 2)
    assert found.energy_mj == whole.amounts.energy_mj
    assert wasted(found) == held_idle(found)


def wasted(of: Statement) -> dict[tuple[str, str, str], tuple[int, int]]:
    """The kinds of idle time added up, by cluster, namespace and team: time and cost."""
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for one in of.waste.kinds if of.waste else ():
        us, cost = sums.get(one[:3], (0, 0))
        sums[one[:3]] = us + one.us, cost + one.cost
    return sums


def held_idle(of: Statement) -> dict[tuple[str, str, str], tuple[int, int]]:
    """The same of the items: what pods held idle."""
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for item in of.items:
        key = (item.key.cluster, item.key.namespace, item.key.team)
        if (item.key.payer, item.key.state, item.key.corrects) == ("pod", "idle", ""):
            us, cost = sums.get(key, (0, 0))
            sums[key] = us + item.quantity, cost + (item.cost or 0)
    return sums


def months_add_up_to_the_period_of_both(engine: Engine, zone: ZoneInfo, one: Month) -> None:
    """I5: a month and the next one are what the two together are."""
    other = following(one, zone)
    parts = [exact(read_open(engine, zone, month).items) for month in (one, other)]
    both = allocate(engine, zone, Query(Period(one.start_us, other.end_us), zone))
    cost = sum(both.money.by_state) + (both.money.energy or 0) + (both.money.overhead or 0)
    assert tuple(map(sum, zip(*parts, strict=True))) == (both.amounts.capacity_us, cost)


def parts_add_up_to_the_whole_however_the_platform_is_spread(found: Statement, spread: Spread) -> None:
    """I6 in print: all namespaces, the hosts and the platform have the whole's amount, to the last cent."""
    whole = View(found, spread=spread)
    assert sum(share.us for share in whole.shares) == 0
    assert sum(share.cost for share in whole.shares) == 0
    assert sum(share.amount for share in whole.shares) == 0
    names = {item.key.namespace for item in found.items if item.key.payer == "pod"}
    owned = sum(View(found, Who(namespace=one), spread).amount or 0 for one in names)
    rest = sum(item.amount or 0 for item in found.items if item.key.payer != "pod")
    rest += sum(share.amount for share in whole.shares if not share.namespace)
    assert owned + rest == (whole.amount or 0) == (View(found).amount or 0)


def focus_with_what_it_skips_is_the_ledger(
    engine: Engine, zone: ZoneInfo, month: Month, version: Version, path: Path
) -> None:
    """I9: hours, energy and costs of the rows are those of the lines rounded once; the checker finds nothing."""
    with ground(engine, zone, month) as found:
        totals = write_focus(found, path, Options(version, skip_unpriced=True))
        lines = list(found.lines())
    assert check_file(path, version) == []
    rows = rows_of(path)
    unpriced_us = sum(line.amounts.capacity_us for line in lines if line.terms.price is None)
    exported_us = sum(int(row["x_Microseconds"]) for row in rows if row["x_Microseconds"])
    assert exported_us + unpriced_us == sum(line.amounts.capacity_us for line in lines)
    billed = sum((Decimal(row["BilledCost"]) for row in rows), Decimal(0))
    assert billed == rounded_once(cost_of(lines), 9) == Decimal(totals.billed) / NANO
    time = sum((Decimal(row["PricingQuantity"]) for row in rows if row["x_Microseconds"]), Decimal(0))
    assert time == Decimal((2 * exported_us * 5 + 18) // 36) / NANO


def statements_of_open_and_closed_months_are_the_same(engine: Engine, zone: ZoneInfo, month: Month) -> None:
    """Closing freezes what was shown before it, and nothing else."""
    before = read_open(engine, zone, month)
    lines = lines_of(engine, month, zone)
    close(engine, month, zone)
    after = read_statement(engine, zone, month).statement
    assert (after.items, after.workloads, after.rates) == (before.items, before.workloads, before.rates)
    assert lines_of(engine, month, zone) == lines


@zones
@every_history
@given(windows=histories(), data=st.data())
def test_what_is_closed_stays_and_what_is_late_is_billed_once(
    engine: Engine, name: str, windows: list[Window], data: st.DataObject
) -> None:
    """I7 and I8: lines frozen plus their corrections are the ledger, after any late windows, prices and closes."""
    zone, there = fill(engine, name, windows)
    cuts = sorted(data.draw(st.integers(0, len(there))) for _ in range(2))
    book(engine, there[: cuts[0]], zone)
    first = first_month(there, zone)
    second = following(first, zone)
    third = following(second, zone)
    closed = close(engine, first, zone)
    printed = renderings(engine, first, zone)
    assert hashlib.sha256(printed[0].encode()).hexdigest() == closed.content_hash

    book(engine, there[cuts[0] : cuts[1]], zone)
    apply(engine, card=CARD.replace("3.337", "5"), at_us=closed.closed_us + 1)
    of_first = lambda lines: [line for line in lines if line.hour_us < first.end_us]  # noqa: E731
    billed = lines_of(engine, first, zone) + of_first(lines_of(engine, second, zone))
    assert summed(billed) == postings(engine, first, zone)
    assert len(read_differences(engine, zone, first)[1]) == len(of_first(lines_of(engine, second, zone)))
    close(engine, second, zone)
    assert read_differences(engine, zone, first)[1] == []
    assert lines_of(engine, third, zone) == []

    book(engine, there[cuts[1] :], zone)
    months = [first, second, third]
    billed = [line for month in months for line in lines_of(engine, month, zone)]
    ledger = {key: value for month in months for key, value in postings(engine, month, zone).items()}
    assert summed(billed) == ledger
    assert renderings(engine, first, zone) == printed
