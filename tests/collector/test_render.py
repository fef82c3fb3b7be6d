"""Every format carries the same integers; what is rounded for people still adds up."""

import csv
import io
import json
import re
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.money import Money
from gputally.collector.rates.cost import CARBON_SCALE, SCALE
from gputally.collector.render import Format, as_csv, as_json, as_table, render
from gputally.collector.report import By, Report, Row

UTC = ZoneInfo("UTC")
START_US = 1_782_864_000_000_000  # 2026-07-01T00:00:00Z
HOUR_US = 3_600_000_000
AMOUNTS = [
    *("capacity_us", "used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us"),
    *("reserved_us", "burst_us", "intruder_us", "energy_mj"),
]
QUALITY = ["sm_activity", "sm_occupancy", "tensor_activity", "memory_bandwidth"]

SEARCH = Row(
    ("search",), "pod", Amounts(used_us=HOUR_US, idle_us=HOUR_US, reserved_us=2 * HOUR_US, energy_mj=7 * 10**9)
)
NOBODY = Row(("",), "platform", Amounts(unallocated_us=HOUR_US, unobserved_us=HOUR_US))
UNPRICED = Money(unpriced=(2 * HOUR_US, 0, 0, 0, 0))


def report(*rows: Row, by: tuple[By, ...] = (By.NAMESPACE,)) -> Report:
    return Report(START_US, START_US + 24 * HOUR_US, UTC, by, rows)


def printed(text: str) -> list[list[str]]:
    """The table's rows below its head, the total last: the names together, then each figure."""
    body = text.partition("───\n")[2].splitlines()
    return [_cells(line) for line in body if line]


def _cells(line: str) -> list[str]:
    *names, reserved, used, idle, unallocated, unavailable, unobserved, energy, coverage = line.split()
    return [" ".join(names), reserved, used, idle, unallocated, unavailable, unobserved, energy, coverage]


def test_json_has_the_keys_that_programs_read() -> None:
    document = json.loads(as_json(report(SEARCH, NOBODY)))
    assert list(document) == ["from", "to", "timezone", "by", "rows", "total", "coverage"]
    assert (document["from"], document["to"]) == ("2026-07-01T00:00:00+00:00", "2026-07-02T00:00:00+00:00")
    assert (document["timezone"], document["by"], document["coverage"]) == ("UTC", ["namespace"], 0.75)
    assert list(document["rows"][0]) == ["namespace", "owner", *AMOUNTS, *QUALITY]
    assert document["total"]["capacity_us"] == 4 * HOUR_US


def test_quality_is_the_mean_over_the_time_that_was_measured() -> None:
    """Beside the bill, for programs: half of the hour was measured, and the SMs were active for a third of that."""
    measured = Amounts(
        used_us=HOUR_US, quality_us=HOUR_US // 2, sm_us=HOUR_US // 6, occupancy_us=0, tensor_us=0, dram_us=0
    )
    row = json.loads(as_json(report(Row(("search",), "pod", measured))))["rows"][0]
    assert [row[name] for name in QUALITY] == [0.333333, 0.0, 0.0, 0.0]
    assert [json.loads(as_json(report(NOBODY)))["rows"][0][name] for name in QUALITY] == [None] * 4


def test_what_is_unknown_is_null_in_json_and_empty_in_csv_and_a_dash_for_people() -> None:
    unknown = report(NOBODY)
    assert json.loads(as_json(unknown))["rows"][0]["energy_mj"] is None
    assert as_csv(unknown).splitlines()[1].endswith(",")
    assert printed(as_table(unknown, None))[0][-2] == "–"


def test_csv_has_the_columns_of_json_and_ends_with_the_total() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(report(SEARCH, NOBODY)))))
    assert list(rows[0]) == ["namespace", "owner", *AMOUNTS, *QUALITY]
    assert [row["owner"] for row in rows] == ["pod", "platform", "total"]
    assert [row["namespace"] for row in rows] == ["search", "", ""]


def test_the_table_prints_hours_and_kilowatt_hours_with_one_decimal() -> None:
    search, nobody, total = printed(as_table(report(SEARCH, NOBODY), None))
    assert search == ["search", "2.0", "1.0", "1.0", "0.0", "0.0", "0.0", "1.9", "100.0%"]
    assert nobody == ["(platform)", "0.0", "0.0", "0.0", "1.0", "0.0", "1.0", "–", "50.0%"]
    assert total == ["total", "2.0", "1.0", "1.0", "1.0", "0.0", "1.0", "1.9", "75.0%"]


def test_the_owner_has_a_column_only_where_no_namespace_tells() -> None:
    by_node = (By.NODE,)
    names = [cells[0] for cells in printed(as_table(report(SEARCH, NOBODY, by=by_node), None))]
    assert names == ["search pod", "(platform)", "total"]
    by_pod = report(Row(("", ""), "host", Amounts(used_us=1)), by=(By.NAMESPACE, By.POD))
    assert printed(as_table(by_pod, None))[0][0] == "(host)"


def test_a_table_fits_the_usual_terminal_by_folding_names() -> None:
    row = Row(("search-team-with-a-very-long-name",), "pod", Amounts(used_us=1234 * HOUR_US, energy_mj=10**13))
    assert max(map(len, as_table(report(row), 80).splitlines())) <= 80


def test_no_figure_is_ever_cut_however_narrow_the_terminal() -> None:
    row = Row(("n",), "pod", Amounts(used_us=1_234_567 * HOUR_US, energy_mj=10**17))
    assert "1,234,567.0" in as_table(report(row), 20)


def test_full_coverage_is_printed_only_where_everything_was_observed() -> None:
    almost = Row(("a",), "pod", Amounts(used_us=10**12, unobserved_us=1))
    assert printed(as_table(report(almost), None))[0][-1] == "99.9%"


def test_a_name_is_printed_as_it_is_and_never_as_markup() -> None:
    assert printed(as_table(report(Row(("[red]x",), "pod", Amounts(used_us=1))), None))[0][0] == "[red]x"


def test_an_empty_period_says_so() -> None:
    text = as_table(report(), None)
    assert text == "No GPU time is booked from 2026-07-01 00:00 to 2026-07-02 00:00 UTC.\n"
    document = json.loads(as_json(report()))
    assert (document["rows"], document["coverage"], document["total"]["capacity_us"]) == ([], None, 0)
    assert document["total"]["energy_mj"] is None


amounts = st.builds(
    Amounts,
    *[st.integers(0, 10**13)] * 8,
    st.one_of(st.none(), st.integers(0, 10**13)),
)
reports = st.lists(
    st.builds(Row, st.tuples(st.sampled_from(["a", "b", "ü"])), st.just("pod"), amounts), min_size=1, max_size=7
)


@given(reports)
def test_totals_equal_the_sum_of_the_rows_in_every_format(rows: list[Row]) -> None:
    found = report(*rows)
    document = json.loads(as_json(found))
    *lines, last = csv.DictReader(io.StringIO(as_csv(found)))
    for name in AMOUNTS:
        assert document["total"][name] == _sum([row[name] for row in document["rows"]])
        assert _number(last[name]) == _sum([_number(line[name]) for line in lines])
        assert _number(last[name]) == document["total"][name]
    *body, foot = printed(as_table(found, None))
    for column in range(1, len(foot) - 1):
        assert _tenths(foot[column]) == _sum([_tenths(row[column]) for row in body])


@given(reports, st.integers(20, 200))
def test_every_format_ends_with_one_newline(rows: list[Row], width: int) -> None:
    for form in Format:
        text = render(report(*rows), form, width)
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


def _sum(values: list[int | None]) -> int | None:
    """The sum of what is known; None for an energy that no row knows."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _number(text: str) -> int | None:
    return int(text) if text else None


def _tenths(text: str) -> int | None:
    return None if text == "–" else int(text.replace(",", "").replace(".", ""))


def test_costs_stand_in_every_format_where_there_is_a_rate_card_and_add_up() -> None:
    priced = Money(by_state=(SCALE * 2, SCALE // 2, 0, 0, 0), priced=(HOUR_US, 0, 0, 0, 0))
    rows = (Row(("search",), "pod", SEARCH.amounts, priced), Row(("",), "platform", NOBODY.amounts, UNPRICED))
    found = Report(START_US, START_US + 24 * HOUR_US, UTC, (By.NAMESPACE,), rows, "EUR")
    document = json.loads(as_json(found))
    assert document["currency"] == "EUR"
    assert [(row["cost"], row["unpriced_us"]) for row in document["rows"]] == [("2.500000", 0), (None, 2 * HOUR_US)]
    assert (document["total"]["cost"], document["total"]["unpriced_us"]) == ("2.500000", 2 * HOUR_US)
    assert [row["cost"] for row in csv.DictReader(io.StringIO(as_csv(found)))] == ["2.500000", "", "2.500000"]
    lines = [line.split()[-1] for line in as_table(found, None).splitlines() if "%" in line]
    assert lines == ["2.50", "–", "2.50+"]
    assert "Carbon" not in as_table(found, None)


def test_carbon_stands_beside_costs_and_its_sum_below_the_table() -> None:
    """Energy without a factor is told beside it, and marked by a + for people."""
    rows = (
        Row(("search",), "pod", SEARCH.amounts, Money(carbon=420 * CARBON_SCALE)),
        Row(("vision",), "pod", SEARCH.amounts, Money(carbon=1_000_000 * CARBON_SCALE)),
        Row(("",), "platform", NOBODY.amounts, Money(no_factor_mj=7)),
    )
    found = Report(START_US, START_US + 24 * HOUR_US, UTC, (By.NAMESPACE,), rows, "EUR")
    document = json.loads(as_json(found))
    carbon = [(row["carbon_g"], row["no_factor_mj"]) for row in (*document["rows"], document["total"])]
    assert carbon == [("420.000000", 0), ("1000000.000000", 0), (None, 7), ("1000420.000000", 7)]
    assert [row["carbon_g"] for row in csv.DictReader(io.StringIO(as_csv(found)))] == [it[0] or "" for it in carbon]
    assert as_table(found, None).endswith("\nCarbon: 1,000.4+ kg CO2e\n")


def test_with_costs_the_month_of_a_small_fleet_still_fits_the_usual_terminal() -> None:
    times = Amounts(
        used_us=1_446 * HOUR_US,
        idle_us=1_530 * HOUR_US,
        unallocated_us=1_987 * HOUR_US,
        unobserved_us=99 * HOUR_US,
        reserved_us=2_960 * HOUR_US,
        energy_mj=1_098 * HOUR_US,
    )
    cost = Money(by_state=(11_940 * SCALE, 0, 0, 0, 0), priced=(HOUR_US, 0, 0, 0, 0))
    found = Report(START_US, START_US + 1, UTC, (By.NAMESPACE,), (Row(("namespaces",), "pod", times, cost),), "EUR")
    assert max(map(len, as_table(found, 80).splitlines())) <= 80


@pytest.mark.parametrize("width", [None, 60, 200])
def test_headings_are_whole_words_that_end_where_their_figures_end(width: int | None) -> None:
    """A word that is wider than its column stands a line higher than its neighbour, and is never cut."""
    times = Amounts(used_us=1_446 * HOUR_US, idle_us=HOUR_US, reserved_us=1_447 * HOUR_US, energy_mj=HOUR_US)
    found = Report(START_US, START_US + 1, UTC, (By.CLUSTER, By.NAMESPACE), (Row(("east", "a"), "pod", times),))
    lines = as_table(found, width).splitlines()
    rule = next(at for at, line in enumerate(lines) if "──" in line)
    words = {word[0]: word.end() for line in lines[2:rule] for word in re.finditer(r"\S+", line)}
    assert "-" not in "".join(words)
    ends = [figure.end() for figure in re.finditer(r"\S+", lines[-1])][1:]
    headings = "reserved", "used", "idle", "unallocated", "unavailable", "unobserved", "kWh", "coverage"
    assert [words[heading] for heading in headings] == ends
