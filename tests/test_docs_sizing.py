"""docs/operations.md, "Sizing": each figure stands in the page of results that it names, and the rest follows."""

import re

import pytest
from tests.pages import ROOT, section

TEXT = section((ROOT / "docs" / "operations.md").read_text(), "Sizing")
TABLES = re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE)
ROWS = [[[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]] for table in TABLES]
(RESULTS,) = re.findall(r"\(\.\./(benchmarks/results/\S+?\.txt)\)", TEXT)
DAYS_OF_LINES, MONTHS_OF_POSTINGS, DAYS_OF_A_MONTH, LINES = 14, 25, 30.44, 16
GPUS_OF_A_NODE = 8


def bytes_of(what: str) -> int:
    (figure,) = (row[1] for row in ROWS[0] if what in row[0])
    return int(figure.split()[0].replace(",", ""))


@pytest.mark.parametrize("row", ROWS[0], ids=lambda row: row[0])
def test_figures_stand_in_the_results(row: list[str]) -> None:
    page = (ROOT / RESULTS).read_text()
    figures = re.findall(r"\d[\d,.]*\d", row[1].partition(";")[0])
    assert figures
    assert [figure for figure in figures if not re.search(rf"(?<![\d,.]){re.escape(figure)}(?![\d,.])", page)] == []


@pytest.mark.parametrize("row", ROWS[1], ids=lambda row: row[0])
def test_what_a_fleet_takes_follows_from_them(row: list[str]) -> None:
    nodes = int(row[0].replace(",", "")) / GPUS_OF_A_NODE
    lines = nodes * DAYS_OF_LINES * 24 * 60 * LINES * bytes_of("the same in PostgreSQL") / 1e9
    postings = nodes * MONTHS_OF_POSTINGS * DAYS_OF_A_MONTH * 24 * LINES * bytes_of("a posting (") / 1e9
    written = [float(cell.split()[0]) for cell in row[1:5]]
    assert written == pytest.approx([nodes / 60, lines, postings, lines + postings], rel=0.06)
