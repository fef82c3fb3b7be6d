"""CSV, JSON and Parquet of lines: the same lines, whose integers are the ledger's and whose decimals add up."""

import csv
import io
import json
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.statements import AUGUST, JULY, UTC, apply, book, close, cost_of, lines_csv, lines_of
from tests.windows import MINUTE_US, START_US, device, pod, reserved, unallocated, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.database.engine import reading
from gputally.collector.exports.lines_json import write_json
from gputally.collector.exports.parquet import ParquetMissing, write_parquet
from gputally.collector.exports.record import COLUMNS
from gputally.collector.statement.ground import ground
from gputally.collector.statement.terms import read_terms

THIRD = MINUTE_US // 3


@pytest.fixture
def filled(engine: Engine) -> Engine:
    parts = [reserved(pod(), THIRD, 7), reserved(pod("vision"), 11, 13), unallocated(MINUTE_US - THIRD - 31)]
    book(engine, [window(device(*parts), start_us=START_US + at * MINUTE_US) for at in (0, 61, 200)])
    apply(engine)
    return engine


def records(engine: Engine) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(lines_csv(engine))))


def test_the_csv_adds_up_to_the_ledger(filled: Engine) -> None:
    """I9: microseconds exactly; hours and costs to the exact sum, rounded once."""
    found, lines = records(filled), lines_of(filled, JULY)
    assert list(found[0]) == [column.name for column in COLUMNS]
    us = sum(line.amounts.capacity_us for line in lines)
    assert sum(int(row["used_us"]) for row in found) == 3 * (THIRD + 11)
    assert sum(Decimal(row["gpu_hours"]) for row in found) == round(Decimal(us) / 3_600_000_000, 9)
    assert sum(Decimal(row["cost"]) for row in found) == round(Decimal(cost_of(lines)) / 3_600_000_000 / 10**9, 9)


def test_names_come_back_from_the_csv_as_they_are(engine: Engine) -> None:
    """Whatever stands in a name, it neither begins a field nor a line."""
    names = {"a,b", 'say "x"', "two\nlines", "return\rhere", "100 %s %", "=1+1", " ", "ü"}
    parts = [reserved(pod(name), 1, 1) for name in sorted(names)]
    book(engine, [window(device(*parts))])
    apply(engine)
    found = list(csv.DictReader(io.StringIO(lines_csv(engine), newline="")))
    assert {row["namespace"] for row in found} == names
    assert sum(int(row["used_us"]) for row in found) == len(names)


def test_json_has_the_lines_of_the_csv(filled: Engine) -> None:
    out = io.StringIO()
    with ground(filled, UTC, JULY) as found:
        write_json(found, out)
    document = json.loads(out.getvalue())
    texts = [{name: "" if value is None else str(value) for name, value in one.items()} for one in document["lines"]]
    assert texts == records(filled)
    assert (document["status"], document["content_hash"]) == ("open", None)


def test_json_of_a_month_without_lines_is_json(engine: Engine) -> None:
    out = io.StringIO()
    with ground(engine, UTC, AUGUST) as found:
        write_json(found, out)
    assert json.loads(out.getvalue())["lines"] == []


def test_parquet_has_the_lines_of_the_csv(filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several groups of rows; decimals as decimals."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'gputally[parquet]'")
    monkeypatch.setattr("gputally.collector.exports.parquet.ROWS", 4)
    path = tmp_path / "lines.parquet"
    with ground(filled, UTC, JULY) as found:
        write_parquet(found, path)
    table = parquet.read_table(path)
    assert parquet.ParquetFile(path).metadata.num_row_groups == 4
    assert sum(table["cost"].to_pylist()) == sum(Decimal(row["cost"]) for row in records(filled))
    assert table["used_us"].to_pylist() == [int(row["used_us"]) for row in records(filled)]


def test_without_pyarrow_the_line_says_what_to_install(
    filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with ground(filled, UTC, JULY) as found, pytest.raises(ParquetMissing, match=r"pip install 'gputally\[parquet\]'"):
        write_parquet(found, tmp_path / "lines.parquet")


def test_a_correction_names_the_month_that_it_corrects(filled: Engine) -> None:
    close(filled)
    book(filled, [window(device(reserved(pod(), MINUTE_US, 0)), node="node-b")])
    (row,) = csv.DictReader(io.StringIO(lines_csv(filled, AUGUST)))
    assert (row["month"], row["corrects"], row["hour"]) == ("2026-08", "2026-07", "2026-07-01T00:00:00Z")


def test_each_line_has_the_terms_of_its_hour(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they change in the middle of what is read at once, and where names were forgotten meanwhile."""
    parts = [
        [reserved(pod(name), MINUTE_US // 2 + len(name), 1) for name in names]
        for names in (("search", "vision"), ("vision",))
    ]
    hours = [START_US + at * HOUR_US for at in range(0, 30 * 24, 7)]
    book(engine, [window(device(*parts[at % 2]), start_us=us) for at, us in enumerate(hours)])
    apply(engine, "2026-07-14")
    whole = lines_of(engine, JULY)
    assert {line.terms.price for line in whole} == {3_337_000_000, 2_700_000_000, 1_123_456_789}
    monkeypatch.setattr("gputally.collector.statement.block.ROWS", 5)
    monkeypatch.setattr("gputally.collector.statement.live.MOST_ACCOUNTS", 1)
    assert lines_of(engine, JULY) == whole
    with reading(engine) as connection:
        terms = read_terms(connection, UTC)
    for line in whole:
        assert line.terms == terms.at(line.holding.place, line.hour_us)
