"""FOCUS: rows that the specification accepts, what they refuse, and what the files say of themselves."""

import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.histories import Labelled
from tests.statements import AUGUST, JULY, UTC, apply, book, close, rows_of
from tests.windows import MINUTE_US, START_US, device, pod, reserved, unallocated, window

from gputally.accounting.keys import LineKey
from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import Basis, Source
from gputally.collector.exports.focus import Options, Unpriced, metadata_path, write_focus
from gputally.collector.exports.focus_check import check_file
from gputally.collector.exports.focus_columns import Version, columns
from gputally.collector.exports.focus_row import Biller
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.statement.ground import ground
from gputally.collector.statement.month import Month

HALF = MINUTE_US // 2


def written(engine: Engine, folder: Path, options: Options, month: Month = JULY) -> tuple[list[dict[str, str]], Path]:
    path = folder / "focus.csv"
    with ground(engine, UTC, month) as found:
        write_focus(found, path, options)
    return rows_of(path), path


def fleet() -> list[Window]:
    """Whole devices, a MIG instance whose rest is free, a device that nobody held."""
    third = MINUTE_US // 7 * 3
    slice_of = Line(LineKey("MIG-3", pod("vision"), Basis.RESERVATION), Source.GPM, third // 2, third - third // 2)
    whole = device(reserved(pod(), HALF, HALF, energy_mj=90_000), uuid="GPU-0")
    mig = device(slice_of, unallocated(MINUTE_US - third), uuid="GPU-1")
    return [window(whole, mig, device(unallocated(MINUTE_US), uuid="GPU-2"))]


@pytest.fixture
def filled(engine: Engine) -> Engine:
    book(engine, fleet())
    apply(engine)
    Labelled(engine).namespace(START_US - HOUR_US, "search", uid="uid-1", team="red", tier="gold")
    return engine


def test_each_state_is_a_row_and_energy_is_on_its_own(filled: Engine, tmp_path: Path) -> None:
    rows, _ = written(filled, tmp_path, Options())
    search = [row for row in rows if row["SubAccountName"] == "search"]
    assert [(row["SkuMeter"], row["x_UsageState"]) for row in search] == [
        ("GPU Energy", ""),
        ("GPU Energy Overhead", ""),
        ("GPU Reservation", "used"),
        ("GPU Reservation", "idle"),
    ]
    energy = search[0]
    assert (energy["x_EnergyDynamicKwh"], energy["PricingUnit"]) == ("0.000025000", "Kilowatt-Hours")
    assert search[2]["x_EnergyDynamicKwh"] == ""


def test_a_row_says_who_what_where_and_by_which_card(filled: Engine, tmp_path: Path) -> None:
    rows, _ = written(filled, tmp_path, Options(biller=Biller("Kube GPU")))
    row = next(row for row in rows if row["x_UsageState"] == "used" and row["SubAccountName"] == "search")
    expected = {
        "SubAccountId": "east/uid-1",
        "ResourceId": "east/node-a/GPU-0",
        "ResourceType": "GPU",
        "SkuId": "gpu-h100-80gb-hbm3",
        "SkuPriceId": "gpu-h100-80gb-hbm3:standard",
        "InvoiceId": "cb-2026-07-east",
        "ProviderName": "Kube GPU",
        "InvoiceIssuerName": "Kube GPU",
        "ChargePeriodStart": "2026-07-01T00:00:00Z",
        "ChargePeriodEnd": "2026-07-01T01:00:00Z",
        "BillingPeriodStart": "2026-07-01T00:00:00Z",
        "BillingPeriodEnd": "2026-08-01T00:00:00Z",
        "x_Team": "engines",
        "x_CostCenter": "4711",
        "x_RateVersion": "1",
        "x_Microseconds": str(HALF),
    }
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["Tags"]) == {"team": "red", "tier": "gold"}


def test_negotiated_prices_are_contracted_and_the_list_price_stays(filled: Engine, tmp_path: Path) -> None:
    rows, _ = written(filled, tmp_path, Options())
    row = next(row for row in rows if row["SubAccountName"] == "vision")
    assert (row["ListUnitPrice"], row["ContractedUnitPrice"]) == ("3.337000000", "1.123456789")
    assert Decimal(row["ListCost"]) == Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])


def test_the_platform_has_no_sub_account(filled: Engine, tmp_path: Path) -> None:
    rows, _ = written(filled, tmp_path, Options())
    platform = [row for row in rows if row["x_UsageState"] == "unallocated"]
    assert len(platform) == 2
    assert {(row["SubAccountId"], row["SubAccountName"], row["SubAccountType"]) for row in platform} == {("", "", "")}


def test_version_1_3_says_which_part_of_the_device_each_row_is(filled: Engine, tmp_path: Path) -> None:
    rows, path = written(filled, tmp_path, Options(Version.V1_3))
    assert check_file(path, Version.V1_3) == []
    mig = [row for row in rows if row["ResourceId"].endswith("GPU-1") and row["AllocatedMethodId"]]
    parts = [json.loads(row["AllocatedMethodDetails"], parse_float=Decimal)["Elements"][0] for row in mig]
    assert sum(part["AllocatedRatio"] for part in parts) == 1
    nobody = [row for row in mig if not row["AllocatedResourceId"]]
    assert [row["x_UsageState"] for row in nobody] == ["unallocated"]


@pytest.mark.parametrize("version", list(Version))
def test_every_version_has_its_columns_ours_last(filled: Engine, tmp_path: Path, version: Version) -> None:
    rows, path = written(filled, tmp_path, Options(version))
    assert tuple(rows[0]) == columns(version)
    assert check_file(path, version) == []


def test_time_without_a_price_is_refused_and_named(engine: Engine, tmp_path: Path) -> None:
    book(engine, [window(device(reserved(pod(), MINUTE_US, 0, energy_mj=5), model="NVIDIA L4"))])
    path = tmp_path / "focus.csv"
    with ground(engine, UTC, JULY) as found, pytest.raises(Unpriced, match=r"0\.017 GPU-hours of east NVIDIA L4"):
        write_focus(found, path, Options())
    assert not path.exists()


def test_what_is_skipped_stands_in_the_metadata(engine: Engine, tmp_path: Path) -> None:
    book(engine, [*fleet(), window(device(reserved(pod(), MINUTE_US, 0), model="NVIDIA L4"), node="node-b")])
    apply(engine)
    rows, path = written(engine, tmp_path, Options(skip_unpriced=True))
    metadata = json.loads(metadata_path(path).read_text())
    skipped = metadata["x_Skipped"]
    assert (skipped["Microseconds"], skipped["GpuHours"]) == (MINUTE_US, "0.016666667")
    exported = sum(int(row["x_Microseconds"] or 0) for row in rows)
    assert exported + skipped["Microseconds"] == 4 * MINUTE_US
    assert metadata["x_File"]["Sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [column["ColumnName"] for column in metadata["Schema"]["ColumnDefinition"]] == list(rows[0])


def test_what_is_skipped_is_counted_once_however_often_the_lines_are_looked_at(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two remainders told apart at a time, no figure is settled by the first look."""

    def parts(at: int) -> DeviceWindow:
        line = reserved(pod(f"ns-{at}"), HALF + at, HALF - at, energy_mj=5_001 + 7 * at, energy_idle_mj=3_000 + 13 * at)
        return device(line, uuid=f"GPU-{at}")

    book(engine, [window(*map(parts, range(20)), device(reserved(pod(), MINUTE_US, 0), uuid="L4", model="NVIDIA L4"))])
    apply(engine)
    _, path = written(engine, tmp_path, Options(skip_unpriced=True))
    before = path.read_bytes(), metadata_path(path).read_bytes()
    assert json.loads(before[1])["x_Skipped"]["Microseconds"] == MINUTE_US
    monkeypatch.setattr("gputally.collector.statement.rounding.MOST_BUCKETS", 2)
    written(engine, tmp_path, Options(skip_unpriced=True))
    assert (path.read_bytes(), metadata_path(path).read_bytes()) == before


CALLED_NOTHING = b"""\
version: 1
namespaces:
  - {namespace: "null", team: NA, cost_center: "None", valid_from: 2026-01-01}
"""


@pytest.mark.parametrize("version", list(Version))
def test_who_is_called_by_a_word_for_nothing_is_called_so(engine: Engine, tmp_path: Path, version: Version) -> None:
    """The specification wants no such word in the place of what is unknown; these are names."""
    named = window(device(reserved(pod("null", "null"), HALF, HALF)), cluster="NA", node="null")
    book(engine, [named, window(device(reserved(pod("nan", "none"), HALF, HALF), uuid="GPU-1"))])
    apply(engine)
    apply_file(engine, Kind.TEAMS, CALLED_NOTHING, "ann@laptop", 2)
    rows, path = written(engine, tmp_path, Options(version))
    assert check_file(path, version) == []
    names = {(row["BillingAccountId"], row["SubAccountName"], row["x_Team"], row["x_CostCenter"]) for row in rows}
    assert names == {("NA", "null", "NA", "None"), ("east", "nan", "", "")}
    assert {row["x_Pod"] for row in rows} == {"null", "none"}


def test_a_correction_is_billed_now_and_charged_when_it_was(filled: Engine, tmp_path: Path) -> None:
    close(filled)
    late = window(device(reserved(pod("vision"), MINUTE_US, 0), uuid="GPU-9"), node="node-b")
    book(filled, [late])
    rows, path = written(filled, tmp_path, Options(Version.V1_3), AUGUST)
    assert check_file(path, Version.V1_3) == []
    assert [(row["ChargeClass"], row["ChargePeriodStart"], row["BillingPeriodStart"]) for row in rows] == [
        ("Correction", "2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z")
    ]


def test_a_closed_month_gives_the_same_file_again(filled: Engine, tmp_path: Path) -> None:
    """I8."""
    close(filled)
    _, path = written(filled, tmp_path, Options())
    before = path.read_bytes(), metadata_path(path).read_bytes()
    apply(filled, card="version: 1\ncurrency: EUR\n# %s\n", at_us=JULY.end_us * 2)
    written(filled, tmp_path, Options())
    assert (path.read_bytes(), metadata_path(path).read_bytes()) == before
