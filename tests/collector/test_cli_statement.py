"""`gputally statement` and `gputally export`: formats, statuses, files that are whole or not there."""

import csv
import hashlib
import io
import json
import tempfile
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.statements import JULY, apply, book
from tests.windows import MINUTE_US, device, pod, reserved, unallocated, window
from typer.testing import CliRunner, Result

from gputally.collector.cli.main import app


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with no setting of whoever runs the tests, in a time when every month is over."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("GPUTALLY_TIMEZONE", raising=False)
    monkeypatch.setattr("gputally.collector.cli.statement.now_us", lambda: JULY.end_us * 2)
    return tmp_path


@pytest.fixture
def filled(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("GPUTALLY_DATABASE_URL", database_url)
    half = MINUTE_US // 2
    book(engine, [window(device(reserved(pod(), half // 2, half // 2), unallocated(half)))])
    apply(engine)
    return engine


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def unpriced(engine: Engine) -> None:
    book(engine, [window(device(reserved(pod("vision"), MINUTE_US, 0), model="NVIDIA L4"), node="node-b")])


def test_every_format_is_printed(filled: Engine) -> None:
    table = run("statement", "show", "2026-07")
    assert "Statement 2026-07 (open)" in table.stdout
    assert "The dearest waste" in table.stdout
    rows = list(csv.DictReader(io.StringIO(run("statement", "show", "2026-07", "--format", "csv").stdout)))
    assert [row["state"] for row in rows] == ["used", "idle", "unallocated"]
    document = json.loads(run("statement", "show", "2026-07", "--format", "json", "--namespace", "search").stdout)
    assert {item["namespace"] for item in document["items"]} == {"search"}
    page = run("statement", "show", "2026-07", "--format", "html", "--spread", "even").stdout
    assert page.startswith("<!doctype html>")
    assert "http" not in page  # nothing comes from elsewhere


def test_a_page_cannot_be_made_to_run_what_a_name_says(filled: Engine) -> None:
    book(filled, [window(device(reserved(pod("<script>x</script>"), 0, MINUTE_US)), node="node-b")])
    page = run("statement", "show", "2026-07", "--format", "html").stdout
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_hash_of_a_closed_month_is_that_of_its_json(filled: Engine) -> None:
    assert run("statement", "list").stdout == "No month is closed yet.\n"
    closed = run("statement", "close", "2026-07").stdout
    document = run("statement", "show", "2026-07", "--format", "json").stdout
    digest = hashlib.sha256(document.encode()).hexdigest()
    assert closed == f"2026-07 is closed: {digest}\n"
    assert digest in run("statement", "list").stdout
    assert "1 frozen lines" not in run("statement", "diff", "2026-07").stdout
    assert "2 frozen lines, intact; the ledger says the same" in run("statement", "diff", "2026-07").stdout


def test_what_came_late_is_told_hour_by_hour(filled: Engine) -> None:
    run("statement", "close", "2026-07")
    book(filled, [window(device(reserved(pod("vision"), MINUTE_US, 0)), node="node-b")])
    told = run("statement", "diff", "2026-07").stdout.splitlines()
    assert "1 postings differ" in told[0]
    assert told[-1].split()[:4] == ["2026-07-01T00:00:00+00:00", "vision", "train-0", "node-b"]
    assert "corrections of 2026-07" in run("statement", "show", "2026-08").stdout


def test_a_month_that_cannot_be_closed_says_why_and_what_helps(filled: Engine) -> None:
    unpriced(filled)
    done = run("statement", "close", "2026-07")
    assert done.exit_code == 1
    assert "unpriced: 0.0 GPU-hours of NVIDIA L4 (--allow-unpriced closes all the same)" in done.stderr
    assert run("statement", "close", "2026-07", "--allow-unpriced").exit_code == 0
    assert "in spite of: unpriced" in run("statement", "show", "2026-07").stdout
    again = run("statement", "close", "2026-07")
    assert (again.exit_code, "closed already" in again.stderr) == (1, True)


def test_mistakes_are_told_at_once(filled: Engine) -> None:
    done = run("statement", "show", "July", "--format", "xls", "--spread", "evn")
    assert done.exit_code == 2
    for part in ("July: expected a month", "--format xls", "did you mean even?"):
        assert part in done.stderr
    assert run("statement", "diff", "2026-07").exit_code == 1
    assert "give --out FILE" in run("export", "2026-07", "--format", "focus").stderr


def test_lines_are_exported_to_a_file_and_to_the_terminal(filled: Engine, tmp_path: Path) -> None:
    file = tmp_path / "lines.csv"
    assert run("export", "2026-07", "--out", str(file)).exit_code == 0
    assert file.read_text() == run("export", "2026-07").stdout
    assert json.loads(run("export", "2026-07", "--format", "json").stdout)["month"] == "2026-07"
    assert run("export", "2026-07", "--format", "parquet", "--out", str(tmp_path / "lines.parquet")).exit_code == 0


def test_focus_ends_with_3_where_something_has_no_price_and_leaves_nothing(filled: Engine, tmp_path: Path) -> None:
    unpriced(filled)
    file = tmp_path / "focus" / "focus.csv"
    file.parent.mkdir()
    command = ("export", "2026-07", "--format", "focus", "--out", str(file))
    done = run(*command)
    assert done.exit_code == 3
    assert "0.017 GPU-hours of east NVIDIA L4" in done.stderr
    assert list(file.parent.iterdir()) == []
    assert run(*command, "--skip-unpriced").exit_code == 0
    assert sorted(path.name for path in file.parent.iterdir()) == ["focus.csv", "focus.csv.metadata.json"]


def test_a_folder_that_is_not_there_is_told(filled: Engine, tmp_path: Path) -> None:
    done = run("export", "2026-07", "--out", str(tmp_path / "nowhere" / "lines.csv"))
    assert (done.exit_code, "cannot be written" in done.stderr) == (1, True)


@pytest.mark.parametrize("out", ["-", "lines.csv"])
def test_a_full_disk_for_temporary_files_is_told(
    filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(Path("/dev/full").open, "r+b", buffering=0))
    done = run("export", "2026-07", "--out", out)
    assert (done.exit_code, list(tmp_path.glob("lines*"))) == (1, [])
    assert "cannot be written: No space left on device. Set TMPDIR to a folder with room" in done.stderr


def test_months_closed_in_another_zone_are_told(filled: Engine) -> None:
    run("statement", "close", "2026-07")
    done = run("statement", "show", "2026-08", "--timezone", "Europe/Berlin")
    assert (done.exit_code, "--timezone UTC" in done.stderr) == (2, True)
