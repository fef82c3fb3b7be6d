"""The checker finds what the specification forbids and public validators do not see."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.statements import JULY, UTC, apply, book, rows_of
from tests.windows import MINUTE_US, device, pod, reserved, unallocated, window

from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate
from gputally.collector.exports.focus import Options, write_focus
from gputally.collector.exports.focus_check import MOST_FINDINGS, Checker, check_file
from gputally.collector.exports.focus_columns import Version, columns
from gputally.collector.exports.focus_text import OWN, Rows, Shape, parts
from gputally.collector.statement.ground import ground

BROKEN = [
    ({"ListCost": "1.0"}, "ListCost is not ListUnitPrice x PricingQuantity"),
    ({"ContractedCost": "1.0"}, "ContractedCost is not ContractedUnitPrice x PricingQuantity"),
    ({"ChargePeriodStart": "2026-07-01T02:00:00+02:00"}, "is no instant in UTC"),
    ({"ChargePeriodEnd": "2026-06-30T23:00:00Z"}, "does not end after it starts"),
    ({"ChargePeriodEnd": "2026-08-02T00:00:00Z"}, "not within its billing period"),
    ({"PricingUnit": "gpu hours"}, "is no unit"),
    ({"ConsumedQuantity": ""}, "ConsumedQuantity is null, on usage"),
    ({"ChargeCategory": "Idle"}, "ChargeCategory: Idle is not in the list"),
    ({"ServiceCategory": "GPU"}, "ServiceCategory: GPU is not in the list"),
    ({"BilledCost": ""}, "BilledCost is null"),
    ({"BilledCost": "5"}, "5 is no decimal"),
    ({"ResourceName": "N/A"}, "instead of an empty field"),
    ({"ResourceType": ""}, "ResourceId and ResourceType go together"),
    ({"SubAccountName": ""}, "SubAccountId and SubAccountName go together"),
    ({"Tags": "{'a': 1}"}, "Tags: is no JSON object"),
    ({"Tags": '{"a": {"b": 1}}'}, "Tags: is not flat"),
    ({"SkuPriceDetails": '{"gpu_model": "x"}'}, "not in PascalCase"),
    ({"BillingCurrency": "euro"}, "is no currency"),
    ({"ProviderName": "Somebody else"}, "another than the provider issues the invoice"),
    ({"SkuId": "another"}, "has another SkuId than before"),
    ({"ChargeClass": "Correction"}, "a correction is not of an earlier period"),
    ({"x_LineId": ""}, "x_LineId does not ascend"),
    ({"AllocatedMethodDetails": ""}, "AllocatedMethodId and AllocatedMethodDetails go together"),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Rows of a file that is right."""
    folder = tmp_path_factory.mktemp("focus")
    engine = open_database(f"sqlite:///{folder / 'gputally.sqlite'}")
    migrate(engine)
    half = MINUTE_US // 2
    book(engine, [window(device(reserved(pod(), half // 2, half // 2), unallocated(half)))])
    apply(engine)
    with ground(engine, UTC, JULY) as found:
        write_focus(found, folder / "focus.csv", Options(Version.V1_3))
    engine.dispose()
    return rows_of(folder / "focus.csv")


def findings(rows: list[dict[str, str]]) -> str:
    checker = Checker(Version.V1_3)
    checker.header(columns(Version.V1_3))
    for row in rows:
        checker.row(row)
    return "; ".join(checker.finish())


def test_a_good_file_is_good(good: list[dict[str, str]]) -> None:
    assert findings(good) == ""


@pytest.mark.parametrize(("change", "finding"), BROKEN, ids=[next(iter(change)) for change, _ in BROKEN])
def test_each_mistake_is_found(good: list[dict[str, str]], change: dict[str, str], finding: str) -> None:
    owned = next(at for at, row in enumerate(good) if at and row["SubAccountId"])
    assert finding in findings([{**row, **change} if at == owned else row for at, row in enumerate(good)])


def test_parts_of_a_device_that_are_not_the_whole_are_found(good: list[dict[str, str]]) -> None:
    assert "the parts of 2026-07-01T00:00:00Z east/node-a/GPU-0 sum to" in findings(good[:-1])


def test_columns_are_missing_twice_or_out_of_place() -> None:
    checker = Checker(Version.V1_2)
    names = [name for name in columns(Version.V1_2) if name != "BilledCost"]
    checker.header(["x_Mine", *names, "Tags"])
    told = "; ".join(checker.finish())
    for finding in ("columns are missing: BilledCost", "after one of ours", "comes twice"):
        assert finding in told


def test_no_more_is_told_than_anybody_reads(good: list[dict[str, str]], tmp_path: Path) -> None:
    path = tmp_path / "focus.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, good[0].keys())
        writer.writeheader()
        writer.writerows([{**good[0], "BilledCost": ""}] * 500)
    assert len(check_file(path, Version.V1_3)) == MOST_FINDINGS


def rows_of_1_2(good: list[dict[str, str]], change: dict[str, str], at: int) -> Rows:
    """The same rows as they are checked many at a time: all but what is each row's own is shared."""
    rows = [{**row, **change} if number == at else row for number, row in enumerate(good)]
    names = columns(Version.V1_2)
    own = {name: [row[name] for row in rows] for name in OWN}
    found = [parts(names, row) for row in rows]
    shapes = {of: Shape(of) for of in found}
    return Rows(names, [shapes[of] for of in found], own)


@pytest.mark.parametrize("change", [{}, *(change for change, _ in BROKEN[:-1])], ids=str)
def test_many_rows_at_once_are_told_the_same(good: list[dict[str, str]], change: dict[str, str]) -> None:
    """What is looked at by columns finds what is found row by row, when shapes are new and when they are known."""
    owned = next(at for at, row in enumerate(good) if at and row["SubAccountId"])
    one_by_one, at_once, later = (Checker(Version.V1_2) for _ in range(3))
    for row in rows_of_1_2(good, change, owned):
        one_by_one.row(row)
    at_once.rows(rows_of_1_2(good, change, owned))
    assert at_once.finish() == one_by_one.finish()
    assert bool(at_once.finish()) == bool(change)
    known = rows_of_1_2(good, {}, 0)
    later.rows(known)
    assert not later.finish()
    own = {name: list(column) for name, column in known.own.items()}
    own["x_LineId"] = [f"2026-08-{number:09d}" for number in range(len(known.shapes))]
    later.rows(
        Rows(
            known.names,
            known.shapes,
            own | {name: [value] * len(good) for name, value in change.items() if name in own},
        )
    )
    assert bool(later.finish()) == bool(OWN.intersection(change))


NAMES = columns(Version.V1_2)
VALUES = [
    *("", "N/A", "NA", "null", "0", "5", "-1.000000000", "0.00", "0.000000000", "1.000000000", "0.000000000000000000"),
    *("٣.000000000", "1e3", "2026-07-01T00:00:00Z", "2026-07-32", "2026-09-01T00:00:00Z", "2026-08-000000009"),
    *("Usage", "Correction", "Tax", "gpu hours", "EUR", "{}", "[]", "Compute", "%s", "x"),
]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(NAMES), st.sampled_from(VALUES)), min_size=1, max_size=3),
    st.booleans(),
)
def test_whatever_a_row_has_in_a_column_is_judged_alike(
    good: list[dict[str, str]], changes: list[tuple[int, str, str]], known: bool
) -> None:
    """Many rows at once are right for the checker just where each of them is: also of shapes that were right before."""
    rows = [{**row, "x_LineId": f"2026-08-{number:09d}"} for number, row in enumerate(good)]
    for at, name, value in changes:
        rows[at % len(rows)][name] = value
    one_by_one, at_once = Checker(Version.V1_2), Checker(Version.V1_2)
    before, some = rows_of_1_2(good, {}, 0), rows_of_1_2(rows, {}, 0)
    if known:
        at_once.rows(before)
        for row in good:
            one_by_one.row(row)
    facts = {shape.parts: shape.facts for shape in before.shapes}  # None where they were not looked at
    for shape in some.shapes:
        shape.facts = facts.get(shape.parts)
    for row in rows:
        one_by_one.row(row)
    at_once.rows(some)
    assert at_once.finish() == one_by_one.finish()
